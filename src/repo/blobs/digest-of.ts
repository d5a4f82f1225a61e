import { createHash } from 'node:crypto';
import type { ByteSource, Digest } from './blob-store.ts';
import { readAhead } from './read-ahead.ts';

/**
 * The digest of all bytes of a source, read once, in two buffers.
 * @param onBytes called with the number of bytes hashed since the last call; may throw to stop
 * @throws what the source and `onBytes` throw
 */
export async function digestOf(source: ByteSource, onBytes?: (bytes: number) => void): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const piece of readAhead(source, { start: 0, end: source.size })) {
    hash.update(piece);
    onBytes?.(piece.byteLength);
  }
  return `sha256:${hash.digest('hex')}`;
}

/** The digest of bytes in memory. */
export function digestOfBytes(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
