import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatTable } from '../../src/commands/format.ts';

test('sizes have three digits and a unit that fits', () => {
  const expected: [number, string][] = [
    [0, '0 B'],
    [1, '1 B'],
    [999, '999 B'],
    [999.6, '1.00 kB'],
    [1000, '1.00 kB'],
    [1023, '1.02 kB'],
    [99_949, '99.9 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [999_999, '1.00 MB'],
    [999_999_999, '1.00 GB'],
    [4_346_347_520, '4.35 GB'],
    [999_999_999_999_999, '1.00 PB'],
    [2 ** 60 * 10, '11529 PB'],
  ];
  for (const [bytes, text] of expected) assert.equal(formatBytes(bytes), text, String(bytes));
});

test('a table may be long', () => {
  const rows = Array.from({ length: 200_000 }, (_, n) => [`row ${n}`, 'x']);
  const lines = formatTable(['Name', 'Value'], rows).split('\n');
  assert.equal(lines.length, 200_003);
  assert.equal(lines[1], ' Name         Value');
  assert.equal(lines.at(-1), ' row 199999   x');
});

test('what a terminal would act on is shown, not done, and does not shift the columns', () => {
  const table = formatTable(
    ['Reason', 'By'],
    [
      ['import \u001b[2J\u001b]0;x\u0007.iso', 'a'],
      ['one\ntwo \u202egpj', 'b'],
      ['plain', 'c'],
    ],
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(table, /[\u0000-\u0009\u000b-\u001f\u202e]/);
  const lines = table.split('\n');
  assert.equal(lines.length, 6);
  assert.equal(lines[3]?.indexOf(' a'), lines[5]?.indexOf(' c'));
});
