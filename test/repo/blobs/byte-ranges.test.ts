import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ByteRanges } from '../../../src/repo/blobs/byte-ranges.ts';

const SIZE = 60;
const range = fc.tuple(fc.nat(SIZE), fc.nat(SIZE)).map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));
const ranges = fc.array(range, { maxLength: 20 });

/** The naive set: one flag per byte. */
function bitmapOf(list: readonly { start: number; end: number }[]): boolean[] {
  const bits = new Array<boolean>(SIZE).fill(false);
  for (const { start, end } of list) bits.fill(true, start, end);
  return bits;
}

describe('byte ranges', () => {
  test('hold what was added, ascending, disjoint, not touching', () => {
    fc.assert(
      fc.property(ranges, (list) => {
        const set = new ByteRanges(list);
        const got = set.list();
        assert.deepEqual(bitmapOf(got), bitmapOf(list));
        for (const [index, { start, end }] of got.entries()) {
          assert.ok(start < end);
          assert.ok(index === 0 || (got[index - 1]?.end ?? 0) < start);
        }
        assert.equal(set.end, bitmapOf(list).lastIndexOf(true) + 1);
      }),
    );
  });

  test('know what they cover and where the first gap is', () => {
    fc.assert(
      fc.property(ranges, range, (list, { start, end }) => {
        const set = new ByteRanges(list);
        const bits = bitmapOf(list);
        assert.equal(set.covers(start, end), bits.slice(start, end).every(Boolean));
        const gap = bits.indexOf(false, start);
        assert.equal(set.firstGap(start), gap === -1 ? Math.max(SIZE, start) : gap);
      }),
    );
  });

  test('can be cut', () => {
    fc.assert(
      fc.property(ranges, fc.nat(SIZE), (list, size) => {
        const set = new ByteRanges(list);
        set.clip(size);
        const expected = bitmapOf(list).fill(false, size);
        assert.deepEqual(bitmapOf(set.list()), expected);
        assert.deepEqual(set.list(), new ByteRanges(set.list()).list());
      }),
    );
  });

  test('give away a copy', () => {
    const set = new ByteRanges([{ start: 0, end: 5 }]);
    const before = set.list();
    set.add(3, 9);
    assert.deepEqual(before, [{ start: 0, end: 5 }]);
  });

  test('refuse what is no range', () => {
    const set = new ByteRanges();
    for (const [start, end] of [
      [-1, 5],
      [5, 4],
      [0.5, 2],
      [0, 2 ** 53],
      [Number.NaN, 1],
    ] as const) {
      assert.throws(() => set.add(start, end), { code: 'internal' });
    }
    set.add(7, 7);
    assert.deepEqual(set.list(), []);
  });
});
