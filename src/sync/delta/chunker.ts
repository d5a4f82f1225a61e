/**
 * Cuts bytes where their content says so: what was put in or taken out somewhere moves no cut but those beside it, so
 * equal stretches of two files fall into equal chunks wherever they lie (FastCDC: Xia et al., USENIX ATC 2016).
 *
 * Indexes that are kept rest on these cuts: another table, mask or size makes all of them worthless, and asks for another
 * version of their file (chunk-file.ts).
 */
import { createHash, hash as sha256 } from 'node:crypto';
import type { ByteRange, ByteSource } from '../../repo/blobs/blob-store.ts';

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
  /**
   * SHA-256, the first 16 bytes of it, each as a character: no two that are equal ever meet by chance, and whoever makes
   * some spoils a delta, nothing else, for the digest of the whole is checked at the end.
   */
  readonly hash: string;
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

/** Bytes that are read at once. */
const PIECE = 2 ** 20;

/** Memory for `chunksOf`: who reads many ranges, one after the other, has one for all of them. */
export interface Scratch {
  /** What is being cut. */
  readonly window: Buffer;
  /** What is being read meanwhile. */
  readonly next: Buffer;
}

export function newScratch(): Scratch {
  return { window: Buffer.allocUnsafe(PIECE + COARSE.most), next: Buffer.allocUnsafe(PIECE) };
}

export interface ChunksOptions {
  /** Default: 64 KiB on average. */
  readonly grain?: Grain;
  /** Default: all of the source. */
  readonly range?: ByteRange;
  readonly scratch?: Scratch;
}

/**
 * The chunks of a range, read once, in order.
 * @throws what the source throws, RangeError if it ends before the range
 */
export async function* chunksOf(
  source: ByteSource,
  { grain = COARSE, range = { start: 0, end: source.size }, scratch = newScratch() }: ChunksOptions = {},
): AsyncGenerator<Chunk, void, undefined> {
  const { window, next } = scratch;
  let unread = range.start;
  const readNext = (): Promise<number> => {
    const wanted = Math.min(PIECE, range.end - unread);
    unread += wanted;
    return wanted === 0 ? Promise.resolve(0) : readWhole(source, next.subarray(0, wanted), unread - wanted);
  };
  let reading = readNext();
  try {
    for (let offset = range.start, filled = 0; ; ) {
      const read = await reading;
      next.copy(window, filled, 0, read);
      filled += read;
      const isLast = unread === range.end;
      reading = readNext();
      let start = 0;
      while (isLast ? start < filled : filled - start >= grain.most) {
        const end = cutAfter(window, start, filled, grain);
        const hash = sha256('sha256', window.subarray(start, end), 'binary').slice(0, HASH_BYTES);
        yield { offset: offset + start, length: end - start, hash };
        start = end;
      }
      if (isLast) return;
      window.copyWithin(0, start, filled);
      offset += start;
      filled -= start;
    }
  } finally {
    await reading.catch(() => undefined); // the caller may stop early, and use the memory for something else
  }
}

async function readWhole(source: ByteSource, into: Buffer, position: number): Promise<number> {
  if ((await source.readAt(into, position)) === into.length) return into.length;
  throw new RangeError('a file that is being cut into chunks ended early');
}
