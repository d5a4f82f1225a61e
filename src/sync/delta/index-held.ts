/** What a site holds, made searchable: indexes that are kept are read, missing ones are computed and kept. */
import { limits } from '../../limits.ts';
import type { BlobReader, Digest } from '../../repo/blobs/blob-store.ts';
import { appendToChunkFile, readChunkFile } from './chunk-file.ts';
import { indexChunks } from './chunk-index.ts';
import { HeldChunks } from './held-chunks.ts';

export interface IndexHeldOptions {
  /** As BlobStore.open, but gives undefined for what is not stored here (any more). What it gives is closed here. */
  readonly open: (digest: Digest) => Promise<BlobReader | undefined>;
  /** Called with the number of bytes read of blobs since the last call; may throw to stop. What was done is kept. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * @param file where indexes are kept; made if it is not there
 * @param blobs that the site holds, the most promising first: once limits.delta.chunks is reached, others do not count.
 *   Slices need not be among them, where the blob is in which they lie. Small ones are passed over.
 * @throws what `open` and the sources throw, and what the system says
 */
export async function indexHeld(
  file: string,
  blobs: Iterable<{ readonly digest: Digest; readonly size: number }>,
  { open, onBytes }: IndexHeldOptions,
): Promise<HeldChunks> {
  const missing = new Set<Digest>();
  for (const { digest, size } of blobs) if (size >= limits.delta.leastBlob) missing.add(digest);
  const held = new HeldChunks();
  for await (const index of readChunkFile(file, (digest) => missing.has(digest))) {
    held.add(index);
    missing.delete(index.digest);
  }
  for (const digest of missing) {
    if (held.count >= limits.delta.chunks) break;
    const reader = await open(digest);
    if (reader === undefined) continue;
    try {
      const index = await indexChunks(digest, reader, onBytes);
      await appendToChunkFile(file, index);
      held.add(index);
    } finally {
      await reader.close();
    }
  }
  return held;
}
