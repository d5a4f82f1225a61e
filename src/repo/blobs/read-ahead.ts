import { limits } from '../../limits.ts';
import type { ByteRange, ByteSource } from './blob-store.ts';

/**
 * Reads a range in order, the next pieces while the caller works on this one. A few small buffers, which stay in the
 * processor's cache, serve for all of it, so each piece is the caller's only until the next one is asked for.
 * Ends early, without an error, where the source ends: whoever needs all of the range counts.
 * @param chunk bytes of a piece; the last one may be shorter
 * @throws whatever `source.readAt` throws
 */
export async function* readAhead(
  source: Pick<ByteSource, 'readAt'>,
  range: ByteRange,
  chunk: number = limits.readAhead.chunk,
): AsyncGenerator<Uint8Array, void, undefined> {
  const length = Math.max(1, Math.min(chunk, range.end - range.start));
  const buffers = Array.from({ length: limits.readAhead.depth + 1 }, () => Buffer.allocUnsafe(length));
  const reading: Promise<Uint8Array>[] = [];
  let next = range.start;
  const readNext = (): void => {
    const buffer = buffers.shift();
    if (buffer === undefined || next >= range.end) return;
    const wanted = Math.min(length, range.end - next);
    const piece = source.readAt(buffer.subarray(0, wanted), next).then((read) => buffer.subarray(0, read));
    piece.catch(() => undefined); // awaited below; this only says that nobody has to hear of it twice
    reading.push(piece);
    buffers.push(buffer);
    next += wanted;
  };

  try {
    for (let ahead = 0; ahead < limits.readAhead.depth; ahead += 1) readNext();
    for (let first = reading.shift(); first !== undefined; first = reading.shift()) {
      const piece = await first;
      if (piece.length === 0) return;
      readNext();
      yield piece;
      if (piece.length < length) return;
    }
  } finally {
    await Promise.allSettled(reading); // the caller may stop early, and close the source next
  }
}
