import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readJson } from '../../../src/repo/policies/json-text.ts';
import { lint } from '../../../src/repo/policies/lint.ts';

const of = (text: string | Uint8Array) =>
  lint(Buffer.from(text)).findings.map(({ level, rule, message }) => `${level} ${rule}: ${message}`);

const statement = '{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}';
const policy = (statements: string, version = '"Version":"2012-10-17",') => `{${version}"Statement":[${statements}]}`;

test('a good policy', () => {
  assert.deepEqual(of(policy(statement)), []);
  assert.deepEqual(lint(Buffer.from(policy(statement))).format, 'aws');
});

const CASES: [text: string, finding: RegExp][] = [
  ['', /error empty/],
  [' \n', /error empty/],
  ['{"Statement": [}', /error json: Line 1: .*Unexpected token '}'\.$/],
  ['{\n"a": 1,\n}', /error json: Line 3/],
  ['{\n"a": [1,\n{"b": tru}\n]\n}', /error json: Line 3/],
  ['{\n"a": "\\u12x"\n}', /error json: Line 2/],
  ['{\n"a": -,\n"b": 1.}', /error json: Line 2/],
  ['{\n"a": 1\n"b": 2\n}', /error json: Line 3/],
  ['{}\n\n}', /error json: Line 3/],
  ['{"Statement"', /error json: Line 1/],
  ['{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', /duplicate-key: Line 1: "Version"/],
  [policy(''), /error statement: It has no statement/],
  [policy('7'), /error statement: Statement 1: it is no object/],
  [policy(statement, ''), /warning version/],
  [policy(statement, '"Version":"2008-10-17",'), /warning version/],
  [policy(statement, '"Version":"2012-10-18",'), /error version/],
  [policy(`${statement.replace('{', '{"Sid":"A",')},${statement.replace('{', '{"Sid":"A",')}`), /error sid.*1, 2/],
  [policy(statement.replace('{', '{"Sid":"A b",')), /error sid/],
  [policy(statement.replace('Allow', 'allow')), /error effect/],
  [policy(statement.replace('{', '{"NotAction":"a:b",')), /error action.*exclude/],
  [policy('{"Effect":"Allow","Action":"s3:GetObject"}'), /error resource.*missing/],
  [policy(statement.replace('"s3:GetObject"', '[]')), /error action.*empty/],
  [policy(statement.replace('s3:', 's3 ')), /error action.*no action/],
  [policy(statement.replace('s3:', '*:')), /error action.*no action/],
  [policy(statement.replace('"s3:GetObject"', '["s3:Get*","s3:GetObject"]')), /warning action.*part of "s3:Get\*"/],
  [policy(statement.replace('"s3:GetObject"', '["s3:Get*","S3:GET*"]')), /warning action.*twice/],
  [policy(`${statement},${statement.replace('Allow', 'Deny').replace('GetObject', '*')}`), /never allowed/],
  [policy('{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}'), /warning action.*NotAction/],
  [policy(statement.replace('"*"', '"bucket"')), /error resource/],
  [policy(statement.replace('}', ',"Condition":{"IpAdress":{"aws:SourceIp":"1"}}}')), /error condition/],
  [policy(statement.replace('}', ',"Condition":{"IpAddress":{"aws:SourceIp":"<IP>"}}}')), /warning placeholder.*<IP>/],
  [policy(statement.replace('}', ',"Comment":"x"}')), /error element/],
  [policy(statement).replace('s3:GetObject', `s3:${'a'.repeat(6144)}`), /error size/],
  ['﻿{}', /warning encoding/],
  ['Allow group <YOUR GROUP NAME> to manage x', /warning placeholder/],
];

for (const [text, finding] of CASES) {
  test(`${finding}`, () => {
    assert.ok(
      of(text).some((each) => finding.test(each)),
      of(text).join('\n'),
    );
  });
}

test('no UTF-8', () => {
  assert.match(of(Uint8Array.of(0x7b, 0xff)).join(), /error encoding/);
});

test('white space does not count to the size', () => {
  assert.ok(!of(policy(`${' '.repeat(7000)}${statement}`)).some((each) => each.includes('size')));
});

test('JSON that is nested deeply is refused before it is parsed', () => {
  for (const depth of [10_000, 5_000_000]) {
    const reading = readJson(`\n${'['.repeat(depth)}`);
    assert.deepEqual(reading.ok === false && [reading.isTooDeep, reading.line], [true, 2]);
  }
  assert.equal(readJson(`"${'['.repeat(10_000)}"`).ok, true);
  assert.equal(readJson('{"a":{"b":1},"b":2}').ok && readJson('{"a":{"b":1},"b":2}').ok, true);
});

test('10 MB of anything are read in time', () => {
  const size = 10_000_000;
  for (const text of [
    '"\\"'.repeat(size / 3),
    '"'.repeat(size),
    `{"Version":"2012-10-17","Statement":"${'x'.repeat(size)}"}`,
  ]) {
    assert.ok(lint(Buffer.from(text)).characters > size / 2);
  }
});
