import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../../src/limits.ts';
import { parseRange } from '../../../src/repo/http/ranges.ts';

const WHOLE = { type: 'whole' };
const NONE = { type: 'unsatisfiable' };
const ranges = (...pairs: [number, number][]) => ({
  type: 'ranges',
  ranges: pairs.map(([start, end]) => ({ start, end })),
});

describe('the Range field', () => {
  const cases: [string, number, object][] = [
    ['bytes=0-0', 100, ranges([0, 1])],
    ['bytes=10-', 100, ranges([10, 100])],
    ['bytes=-10', 100, ranges([90, 100])],
    ['bytes=-1000', 100, ranges([0, 100])],
    ['bytes=90-1000', 100, ranges([90, 100])],
    ['BYTES=0-1', 100, ranges([0, 2])],
    ['bytes=-0', 100, NONE],
    ['bytes=100-', 100, NONE],
    ['bytes=0-', 0, NONE],
    ['bytes=-5', 0, WHOLE],
    ['bytes=5-2', 100, WHOLE],
    ['bytes=0-1,5-2', 100, WHOLE],
    ['bytes=', 100, WHOLE],
    ['bytes=,', 100, WHOLE],
    ['bytes=-', 100, WHOLE],
    ['bytes=a-b', 100, WHOLE],
    ['bytes=0x1-2', 100, WHOLE],
    ['bytes=0-1;5-6', 100, WHOLE],
    ['bytes 0-1', 100, WHOLE],
    ['bytes =0-1', 100, WHOLE],
    ['items=0-1', 100, WHOLE],
    ['', 100, WHOLE],
    ['bytes=18446744073709551616-', 100, NONE],
    ['bytes=18446744073709551616-18446744073709551615', 100, WHOLE],
    ['bytes=0-18446744073709551616', 100, ranges([0, 100])],
    ['bytes=-18446744073709551616', 100, ranges([0, 100])],
    [`bytes=${'9'.repeat(5000)}-`, 100, NONE],
    ['bytes=0-0, 50-50 ,,98-', 100, ranges([0, 1], [50, 51], [98, 100])],
    ['bytes=50-59,0-9', 100, ranges([50, 60], [0, 10])],
    ['bytes=0-9,5-14', 100, ranges([0, 15])],
    ['bytes=0-9,10-14', 100, ranges([0, 15])],
    ['bytes=0-0,200-300', 100, ranges([0, 1])],
    ['bytes=0-,0-', 100, ranges([0, 100])],
    ['bytes=0-,0-,0-', 100, WHOLE],
  ];
  for (const [field, size, expected] of cases) {
    test(`${field.slice(0, 60)} of ${size}`, () => assert.deepEqual(parseRange(field, size), expected));
  }

  test('1,300 overlapping ranges are ignored, as are more parts than allowed', () => {
    const overlapping = `bytes=${Array.from({ length: 1300 }, (_, i) => `0-${i + 5000}`).join(',')}`;
    assert.deepEqual(parseRange(overlapping, 10_000), WHOLE);
    const parts = (count: number) => `bytes=${Array.from({ length: count }, (_, i) => `${2 * i}-${2 * i}`).join(',')}`;
    assert.deepEqual(parseRange(parts(limits.http.ranges + 1), 10_000), WHOLE);
    assert.equal(parseRange(parts(limits.http.ranges), 10_000).type, 'ranges');
  });

  test('agrees with a model that marks every byte', () => {
    const number = fc.oneof(fc.nat(60), fc.constantFrom(2n ** 64n, 2n ** 64n + 1n, 0n));
    const specifier = fc.oneof(
      fc.tuple(number, number).map(([a, b]) => `${a}-${b}`),
      number.map((a) => `${a}-`),
      number.map((a) => `-${a}`),
    );
    fc.assert(
      fc.property(fc.array(specifier, { minLength: 1, maxLength: 8 }), fc.nat(50), (specifiers, size) => {
        const parsed = parseRange(`bytes=${specifiers.join(', ')}`, size);
        const model = mark(specifiers, size);
        if (model === 'invalid') assert.deepEqual(parsed, WHOLE);
        else if (parsed.type === 'unsatisfiable') assert.equal(model.marked.size, 0);
        else if (parsed.type === 'whole') assert.ok(model.asked > 2 * size || size === 0);
        else
          assert.deepEqual(
            bytesOf(parsed.ranges),
            [...model.marked].sort((a, b) => a - b),
          );
      }),
    );
  });
});

/** Which bytes are asked for, found byte by byte, with numbers of any size. */
function mark(specifiers: readonly string[], size: number): { marked: Set<number>; asked: number } | 'invalid' {
  const marked = new Set<number>();
  let asked = 0;
  for (const specifier of specifiers) {
    const [first = '', last = ''] = specifier.split('-');
    if (first !== '' && last !== '' && BigInt(last) < BigInt(first)) return 'invalid';
    for (let byte = 0; byte < size; byte += 1) {
      const isFromEnd = first === '' && BigInt(size - byte) <= BigInt(last);
      const isBetween = first !== '' && byte >= BigInt(first) && (last === '' || byte <= BigInt(last));
      if (!isFromEnd && !isBetween) continue;
      marked.add(byte);
      asked += 1;
    }
  }
  return { marked, asked };
}

function bytesOf(parts: readonly { start: number; end: number }[]): number[] {
  const bytes = parts.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
  assert.equal(new Set(bytes).size, bytes.length, 'the parts overlap');
  return bytes.sort((a, b) => a - b);
}
