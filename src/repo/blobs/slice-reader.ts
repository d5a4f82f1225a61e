import type { BlobReader, BlobStat, Digest } from './blob-store.ts';

/** Where the bytes of a slice lie. */
export interface SliceOf {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Of its first byte in the container. */
  readonly start: number;
}

/** What the store can tell of a slice: it is as untouched as its container is. */
export function sliceStat(container: BlobStat, { digest, size, start }: SliceOf): BlobStat {
  return { digest, size, stamp: `${container.stamp}@${start}` };
}

/**
 * A part of a blob, read as if it were a blob of its own. Closing it closes the container.
 * @param container ends where it ends: a slice that reaches further is short
 */
export function sliceReader(container: BlobReader, slice: SliceOf): BlobReader {
  return {
    ...sliceStat(container, slice),
    async readAt(into, position) {
      const left = Math.max(0, slice.size - position);
      const wanted = into.byteLength > left ? into.subarray(0, left) : into;
      return wanted.byteLength === 0 ? 0 : await container.readAt(wanted, slice.start + position);
    },
    close: () => container.close(),
  };
}
