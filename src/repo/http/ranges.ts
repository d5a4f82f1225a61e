/**
 * The Range header field (RFC 9110, section 14): what a client asks for, against the size of what there is.
 */
import { limits } from '../../limits.ts';
import type { ByteRange } from '../blobs/blob-store.ts';

/**
 * `whole`: the field is to be ignored. `ranges`: what to send, within the content, disjoint, in the order asked for.
 */
export type RangeRequest =
  | { readonly type: 'whole' }
  | { readonly type: 'unsatisfiable' }
  | { readonly type: 'ranges'; readonly ranges: readonly [ByteRange, ...ByteRange[]] };

const WHOLE = { type: 'whole' } as const;
const UNSATISFIABLE = { type: 'unsatisfiable' } as const;

/**
 * Reads a Range field.
 *
 * Ignored, as section 14.2 allows or demands: units other than bytes, anything malformed (`5-2`), and requests that
 * would cost more than they are worth: more than limits.http.ranges parts after joining those that touch, or
 * ranges that overlap so much that twice the content was asked for.
 * @param size of the whole content, bytes
 */
export function parseRange(field: string, size: number): RangeRequest {
  const specifiers = /^[ \t]*bytes=(.*)$/is.exec(field)?.[1];
  if (specifiers === undefined) return WHOLE;
  const ranges: ByteRange[] = [];
  let count = 0;
  let total = 0;
  for (const specifier of specifiers.split(',')) {
    const text = specifier.trim();
    if (text === '') continue; // lists may have empty elements (section 5.6.1.2)
    const range = resolve(text, size);
    if (range === undefined) return WHOLE;
    count += 1;
    if (range.start >= range.end) continue;
    ranges.push(range);
    total += range.end - range.start;
  }
  if (count === 0) return WHOLE;
  const [first, ...rest] = ranges.length === 1 ? ranges : coalesce(ranges);
  // A suffix of empty content is satisfiable (section 14.1.2), but no Content-Range can say so.
  if (first === undefined) return size === 0 && /(^|,)[ \t]*-0*[1-9]/.test(specifiers) ? WHOLE : UNSATISFIABLE;
  if (rest.length >= limits.http.ranges || total > 2 * size) return WHOLE;
  return { type: 'ranges', ranges: [first, ...rest] };
}

/** @returns the bytes meant, an empty range where there are none, undefined if it is not a range at all */
function resolve(specifier: string, size: number): ByteRange | undefined {
  const match = /^(\d*)-(\d*)$/.exec(specifier);
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return undefined;
  if (first === '') return { start: Math.max(0, size - Number(last)), end: size };
  if (last !== '' && compareDecimals(last, first) < 0) return undefined;
  const end = last === '' ? size : Math.min(size, Number(last) + 1);
  return { start: Math.min(Number(first), size), end };
}

/** Numbers of any length: a Number could not tell 2^64 from 2^64 + 1. */
function compareDecimals(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')];
  if (x.length !== y.length) return x.length - y.length;
  return x < y ? -1 : Number(x > y);
}

/** Joins ranges that overlap or touch; a joined one stands where its first part stood. */
function coalesce(ranges: readonly ByteRange[]): ByteRange[] {
  const sorted = ranges.map((range, order) => ({ ...range, order })).sort((a, b) => a.start - b.start);
  const joined: { start: number; end: number; order: number }[] = [];
  for (const range of sorted) {
    const last = joined.at(-1);
    if (last === undefined || range.start > last.end) {
      joined.push(range);
    } else {
      last.end = Math.max(last.end, range.end);
      last.order = Math.min(last.order, range.order);
    }
  }
  return joined.sort((a, b) => a.order - b.order).map(({ start, end }) => ({ start, end }));
}
