import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import { truncated } from './iso-fault.ts';

/**
 * Reads exactly `length` bytes. The length is checked against the size of the image before memory is taken.
 * @param what names the bytes in the message
 * @throws iso.truncated; what the source throws
 */
export async function readExactly(source: ByteSource, position: number, length: number, what: string): Promise<Buffer> {
  if (position + length > source.size) throw truncated(what, position + length, source.size);
  const bytes = Buffer.alloc(length);
  await fill(source, bytes, position, what);
  return bytes;
}

/**
 * Fills the whole of `into`.
 * @throws iso.truncated if the source ends before; what the source throws
 */
export async function fill(source: ByteSource, into: Uint8Array, position: number, what: string): Promise<void> {
  const read = await source.readAt(into, position);
  if (read < into.byteLength) throw truncated(what, position + into.byteLength, Math.min(position + read, source.size));
}

/** The bytes of `ranges` of `image`, one after another, as a source of its own. It holds nothing open. */
export function joinRanges(image: ByteSource, ranges: readonly ByteRange[], what: string): ByteSource {
  const size = ranges.reduce((sum, range) => sum + range.end - range.start, 0);
  return {
    size,
    async readAt(into: Uint8Array, position: number): Promise<number> {
      let skip = position;
      let done = 0;
      for (const { start, end } of ranges) {
        if (done === into.byteLength) break;
        const length = end - start;
        if (skip >= length) {
          skip -= length;
          continue;
        }
        const part = into.subarray(done, done + Math.min(length - skip, into.byteLength - done));
        await fill(image, part, start + skip, what);
        done += part.byteLength;
        skip = 0;
      }
      return done;
    },
  };
}
