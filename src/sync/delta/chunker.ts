/**
 * Cuts bytes where their content says so: what was put in or taken out somewhere moves no cut but those beside it, so
 * equal stretches of two files fall into equal chunks wherever they lie (FastCDC: Xia et al., USENIX ATC 2016).
 *
 * Indexes that are kept rest on these cuts: another table, mask or size makes all of them worthless, and asks for another
 * version of their file (chunk-file.ts).
 */
import { createHash, hash } from 'node:crypto';
import type { ByteRange, ByteSource } from '../../repo/blobs/blob-store.ts';
import { readAhead } from '../../repo/blobs/read-ahead.ts';

/** How finely is cut. Bytes. */
export interface Grain {
  readonly least: number;
  /** Up to here a cut is rare, from here on frequent: so that sizes do not scatter. */
  readonly usual: number;
  readonly most: number;
  /** The rarer cut takes place where the upper bits of the rolling hash are zero: how many are left over. */
  readonly rareShift: number;
  readonly frequentShift: number;
}

/** 64 KiB on average: for indexes that are kept of whole blobs. */
export const COARSE: Grain = { least: 16_384, usual: 49_152, most: 262_144, rareShift: 14, frequentShift: 18 };
/** 2 KiB on average: for what is left of blobs that are alike. */
export const MEDIUM: Grain = { least: 512, usual: 1_536, most: 8_192, rareShift: 19, frequentShift: 23 };
/** 500 bytes on average: for the last that is left of them, such as small files in another order. */
export const FINE: Grain = { least: 128, usual: 384, most: 2_048, rareShift: 21, frequentShift: 25 };

export interface Chunk {
  /** Of the first byte, in the source. */
  readonly offset: number;
  readonly length: number;
  /** SHA-256, the first 16 bytes of it: nobody meets two equal ones by chance, and whoever makes some spoils a delta, not
   * a delivery, for the digest of the whole is checked at the end. */
  readonly hash: Buffer;
}

export const HASH_BYTES = 16;

/** A number for each byte, drawn once. */
const GEAR = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256').update(`airlock gear 1 ${byte}`).digest().readInt32LE(0),
);

/** @returns where the chunk ends that begins at `start`; `end` if no cut comes before it */
export function cutAfter(bytes: Uint8Array, start: number, end: number, grain: Grain): number {
  const last = Math.min(end, start + grain.most);
  const middle = Math.min(last, start + grain.usual);
  const { rareShift, frequentShift } = grain;
  const gear = GEAR;
  let rolling = 0;
  let at = start + grain.least;
  for (; at < middle; at += 1) {
    rolling = ((rolling << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (rolling >>> rareShift === 0) return at + 1;
  }
  for (; at < last; at += 1) {
    rolling = ((rolling << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (rolling >>> frequentShift === 0) return at + 1;
  }
  return last;
}

/** Bytes that are looked at together; several times the longest chunk. */
const WINDOW = 4 * 2 ** 20;

/**
 * The chunks of a range, read once, in order.
 * @throws what the source throws
 */
export async function* chunksOf(
  source: ByteSource,
  grain: Grain = COARSE,
  range: ByteRange = { start: 0, end: source.size },
): AsyncGenerator<Chunk, void, undefined> {
  const window = Buffer.allocUnsafe(Math.min(WINDOW, range.end - range.start) + grain.most);
  let offset = range.start;
  let filled = 0;
  for await (const piece of readAhead(source, range)) {
    for (let taken = 0; taken < piece.length; ) {
      const part = Math.min(piece.length - taken, window.length - filled);
      window.set(piece.subarray(taken, taken + part), filled);
      taken += part;
      filled += part;
      if (filled < window.length) break;
      let start = 0;
      for (; filled - start >= grain.most; ) {
        const end = cutAfter(window, start, filled, grain);
        yield chunkOf(window, start, end, offset);
        start = end;
      }
      window.copyWithin(0, start, filled);
      offset += start;
      filled -= start;
    }
  }
  for (let start = 0; start < filled; ) {
    const end = cutAfter(window, start, filled, grain);
    yield chunkOf(window, start, end, offset);
    start = end;
  }
}

function chunkOf(window: Buffer, start: number, end: number, offset: number): Chunk {
  const digest = hash('sha256', window.subarray(start, end), 'buffer');
  return { offset: offset + start, length: end - start, hash: digest.subarray(0, HASH_BYTES) };
}
