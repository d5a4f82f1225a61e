/** The chunks of one blob, kept small: 20 bytes for each. */
import type { ByteSource, Digest } from '../../repo/blobs/blob-store.ts';
import { chunksOf } from './chunker.ts';

export interface ChunkIndex {
  readonly digest: Digest;
  /** In the order of the blob: the chunks' hashes, one after the other, and their lengths, which add up to its size. */
  readonly hashes: Buffer;
  readonly lengths: Uint32Array;
}

/**
 * Reads a blob once.
 * @param onBytes called with the number of bytes done since the last call; may throw to stop
 * @throws what the source and `onBytes` throw
 */
export async function indexChunks(
  digest: Digest,
  source: ByteSource,
  onBytes?: (bytes: number) => void,
): Promise<ChunkIndex> {
  const hashes: string[] = [];
  const lengths: number[] = [];
  for await (const chunk of chunksOf(source)) {
    hashes.push(chunk.hash);
    lengths.push(chunk.length);
    onBytes?.(chunk.length);
  }
  return { digest, hashes: Buffer.from(hashes.join(''), 'binary'), lengths: Uint32Array.from(lengths) };
}
