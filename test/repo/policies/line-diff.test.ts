import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { lineDiff } from '../../../src/repo/policies/line-diff.ts';

const marks = (older: string, newer: string) =>
  lineDiff(older, newer).lines.map(({ change, line }) => `${{ added: '+', removed: '-', same: ' ' }[change]}${line}`);

test('what was put in and taken out, with what stands beside it', () => {
  assert.deepEqual(marks('a\nb\nc\nd\ne\nf\n', 'a\nb\nc\nX\ne\nf\n'), [' b', ' c', '-d', '+X', ' e', ' f']);
  assert.deepEqual(marks('a\n', 'a\n'), []);
  assert.deepEqual(marks('', 'a\n'), ['+a']);
  assert.deepEqual(marks('a\n', 'a'), ['-a', '+a (no line feed at the end)']);
});

test('texts that have nothing in common are told whole', () => {
  const lines = (prefix: string) => Array.from({ length: 3000 }, (_, at) => `${prefix}${at}\n`).join('');
  const told = lineDiff(lines('a'), lines('b'));
  assert.deepEqual([told.lines.length, told.more], [6000, 0]);
});

test('of very long texts, the beginnings are told, and how much is not', () => {
  const told = lineDiff('a\n'.repeat(20_000), 'b\n'.repeat(7_000));
  assert.deepEqual([told.lines.length, told.more], [10_000, 17_000]);
});

const text = fc
  .array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 })
  .map((lines) => lines.map((line) => `${line}\n`).join(''));

test('property: as few lines as there can be, and in order', () => {
  fc.assert(
    fc.property(text, text, (older, newer) => {
      const diff = lineDiff(older, newer).lines;
      const of = (change: string) => diff.filter((each) => each.change === change).map(({ line }) => line);
      const [a, b] = [older.split('\n').slice(0, -1), newer.split('\n').slice(0, -1)];
      const shared = longestShared(a, b);
      assert.equal(of('removed').length, a.length - shared);
      assert.equal(of('added').length, b.length - shared);
      assert.ok(isSubsequence(of('removed'), a) && isSubsequence(of('added'), b));
    }),
  );
});

function longestShared(a: readonly string[], b: readonly string[]): number {
  let row: number[] = b.map(() => 0);
  for (const line of a) {
    const next: number[] = [];
    for (const [at, other] of b.entries()) {
      const diagonal = row[at - 1] ?? 0;
      next.push(line === other ? diagonal + 1 : Math.max(row[at] ?? 0, next[at - 1] ?? 0));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

function isSubsequence(few: readonly string[], many: readonly string[]): boolean {
  let at = 0;
  for (const line of many) if (few[at] === line) at += 1;
  return at === few.length;
}
