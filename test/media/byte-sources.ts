import { open } from 'node:fs/promises';
import type { ByteSource } from '../../src/repo/blobs/blob-store.ts';

/** Thrown by a source that is read more often than a test allows: whoever reads it does not come to an end. */
class TooManyReads extends Error {}

export interface CountingSource extends ByteSource {
  /** Calls of readAt so far. */
  reads: number;
  /** Bytes given so far. */
  bytes: number;
  /** Largest buffer that was to be filled. */
  largest: number;
}

/**
 * A source in memory that counts. It may claim to be larger than `content`; the rest is zeros.
 * @param options.maxReads throws TooManyReads beyond
 */
export function countingSource(
  content: Uint8Array,
  options: { readonly size?: number; readonly maxReads?: number } = {},
): CountingSource {
  const { size = content.length, maxReads = 1_000_000 } = options;
  return {
    size,
    reads: 0,
    bytes: 0,
    largest: 0,
    async readAt(into: Uint8Array, position: number): Promise<number> {
      this.reads += 1;
      if (this.reads > maxReads) throw new TooManyReads(`more than ${maxReads} reads`);
      const length = Math.max(0, Math.min(into.byteLength, size - position));
      this.bytes += length;
      this.largest = Math.max(this.largest, into.byteLength);
      const part = content.subarray(Math.min(position, content.length), position + length);
      into.fill(0, 0, length);
      into.set(part, 0);
      return length;
    },
  };
}

/** A file on disk as a source. The caller closes it. */
export async function openFileSource(file: string): Promise<ByteSource & { close(): Promise<void> }> {
  const handle = await open(file);
  const { size } = await handle.stat();
  return {
    size,
    readAt: async (into, position) => (await handle.read(into, 0, into.byteLength, position)).bytesRead,
    close: () => handle.close(),
  };
}
