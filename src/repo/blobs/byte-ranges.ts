import { AirlockError } from '../../errors.ts';
import type { ByteRange } from './blob-store.ts';

/**
 * A set of byte positions, kept as ascending, disjoint ranges that do not touch.
 * Memory grows with the number of ranges, so whoever writes out of order does it on a grid of its own choosing
 * (limits.chunk), not where somebody outside says.
 */
export class ByteRanges {
  readonly #ranges: ByteRange[] = [];

  constructor(ranges: Iterable<ByteRange> = []) {
    for (const { start, end } of ranges) this.add(start, end);
  }

  /** Adds `start` up to, not including, `end`; an empty range adds nothing. */
  add(start: number, end: number): void {
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
      throw new AirlockError('internal', `Not a byte range: ${start} to ${end}. Please report this with the command.`);
    }
    if (start === end) return;
    const first = this.#firstEndingAtOrAfter(start);
    let after = first;
    let merged: ByteRange = { start, end };
    for (let range = this.#ranges[after]; range !== undefined && range.start <= end; range = this.#ranges[++after]) {
      merged = { start: Math.min(merged.start, range.start), end: Math.max(merged.end, range.end) };
    }
    this.#ranges.splice(first, after - first, merged);
  }

  /** Forgets everything from `size` on. */
  clip(size: number): void {
    const first = this.#firstEndingAtOrAfter(size);
    const cut = this.#ranges[first];
    this.#ranges.length = Math.min(this.#ranges.length, first);
    if (cut !== undefined && cut.start < size) this.#ranges.push({ start: cut.start, end: size });
  }

  /** A copy, ascending, disjoint, not touching. */
  list(): readonly ByteRange[] {
    return [...this.#ranges];
  }

  /** True if every byte from `start` up to, not including, `end` is in the set. */
  covers(start: number, end: number): boolean {
    return start >= end || this.firstGap(start) >= end;
  }

  /** The first position at or after `from` that is not in the set. */
  firstGap(from = 0): number {
    const range = this.#ranges[this.#firstEndingAtOrAfter(from)];
    return range === undefined || range.start > from ? from : range.end;
  }

  /** The position after the last byte, 0 for the empty set. */
  get end(): number {
    return this.#ranges.at(-1)?.end ?? 0;
  }

  /** Index of the first range whose end is not before `position`. */
  #firstEndingAtOrAfter(position: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.end ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
