/** Two versions of a text: encodings, line ends, and texts that are large on purpose. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { comparePolicies, formatOf, wideningBetween } from '../../../src/repo/policies/compare.ts';
import { readJson } from '../../../src/repo/policies/json-text.ts';
import { lint } from '../../../src/repo/policies/lint.ts';

const statements = (count: number, actions: number) =>
  Array.from({ length: count }, (_, at) => ({
    Effect: 'Allow',
    Action: Array.from({ length: actions }, (_each, index) => `service${at}:Action${index}`),
    Resource: '*',
  }));
const policy = (Statement: unknown) => JSON.stringify({ Version: '2012-10-17', Statement }, null, 1);
const small = policy(statements(1, 2));
const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le');

test('encodings and line ends change no policy', () => {
  const older = Buffer.from(small);
  for (const newer of [
    Buffer.from(`\ufeff${small}`),
    Buffer.from(small.replaceAll('\n', '\r\n')),
    utf16(small),
    utf16(small).swap16(),
  ]) {
    const { by, widening, changes, lines, notes } = comparePolicies(older, newer);
    assert.deepEqual([by, widening, changes, lines], ['statements', 'no', [], []]);
    assert.deepEqual(notes, ['The text differs, and what it allows and denies does not.']);
    assert.equal(wideningBetween(older, newer), 'no');
  }
});

test('nor do they change other texts', () => {
  const older = Buffer.from('Allow group <GROUP> to manage x\nAllow y\n');
  for (const newer of [Buffer.from(`\ufeff${older}`), Buffer.from(String(older).replaceAll('\n', '\r\n'))]) {
    const { by, widening, lines, notes, sameBytes } = comparePolicies(older, newer);
    assert.deepEqual([by, widening, lines, sameBytes], ['lines', 'no', [], false]);
    assert.deepEqual(notes, ['The texts differ in their encoding or in their line ends only.']);
  }
  assert.equal(wideningBetween(older, Buffer.from('Allow z\n')), 'unknown');
  assert.deepEqual(comparePolicies(older, older).notes, []);
});

test('UTF-16 is no format that clouds take, and lint says so', () => {
  assert.equal(formatOf(utf16(small)), 'text');
  const rules = (bytes: Uint8Array) => lint(bytes).findings.map(({ level, rule, message }) => [level, rule, message]);
  const is16 = ['error', 'encoding', 'It is UTF-16, and AWS takes UTF-8 only. Save it as UTF-8.'];
  assert.deepEqual(rules(utf16(small)), [is16]);
  assert.deepEqual(rules(utf16('')), [is16, ['error', 'empty', 'It is empty.']]);
  assert.match(String(rules(utf16(small).subarray(2))), /error,encoding,It has NUL characters/);
  assert.deepEqual(rules(Buffer.from(small.replaceAll('\n', '\r\n'))), []);
  assert.equal(lint(utf16(small)).characters, lint(Buffer.from(small)).characters);
});

test('policies of megabytes are compared by lines, within bounds', () => {
  const older = Buffer.from(policy(statements(500, 200)));
  const newer = Buffer.from(String(older).replaceAll('Action7', 'Action7*'));
  assert.ok(older.length > 2_000_000);
  const { by, widening, notes, lines } = comparePolicies(older, newer);
  assert.deepEqual([by, widening], ['lines', 'unknown']);
  assert.match(notes.join(), /too large to be compared by meaning/);
  assert.match(notes.join(), /There is more: \d+ lines that differ are not shown/);
  assert.ok(lines.length > 0 && lines.length <= 10_004);
});

test('colons behind a long string are no keys, and a key stands before each colon of an object', () => {
  const long = `"${'a'.repeat(2_000_000)}"`;
  const reading = readJson(`${long}${':'.repeat(100_000)}`);
  assert.deepEqual([reading.ok, !reading.ok && reading.line], [false, 1]);
  assert.equal(readJson(`{${long}${':'.repeat(100_000)}1}`).ok, false);
  const twice = readJson('{"a": [":", {"b": ":"}],\n "a": {"a": "a"}}');
  assert.deepEqual(twice.ok && twice.duplicates, [{ key: 'a', line: 2 }]);
});
