import { limits } from '../../limits.ts';
import type { ByteRange, ByteSource } from './blob-store.ts';

/**
 * Reads a range in order, the next piece while the caller works on this one. Two buffers serve for all of it, so each
 * piece is the caller's only until the next one is asked for.
 * Ends early, without an error, where the source ends: whoever needs all of the range counts.
 * @param chunk bytes of a piece; the last one may be shorter
 * @throws whatever `source.readAt` throws
 */
export async function* readAhead(
  source: Pick<ByteSource, 'readAt'>,
  range: ByteRange,
  chunk: number = limits.chunk,
): AsyncGenerator<Uint8Array, void, undefined> {
  const length = Math.min(chunk, range.end - range.start);
  let [spare, filling] = [Buffer.allocUnsafe(length), Buffer.allocUnsafe(length)];
  let position = range.start;
  const readNext = () => source.readAt(filling.subarray(0, Math.max(0, range.end - position)), position);

  let reading = readNext();
  try {
    for (let read = await reading; read > 0; read = await reading) {
      const piece = filling.subarray(0, read);
      [spare, filling] = [filling, spare];
      position += read;
      reading = position < range.end ? readNext() : Promise.resolve(0);
      reading.catch(() => undefined); // awaited above; this only says that nobody has to hear of it twice
      yield piece;
    }
  } finally {
    await reading.catch(() => undefined); // the caller may stop early, and close the source next
  }
}
