import type { BlobReader, ByteSource, Digest } from '../../../src/repo/blobs/blob-store.ts';
import { digestOfBytes } from '../../../src/repo/blobs/digest-of.ts';
import { indexChunks } from '../../../src/sync/delta/chunk-index.ts';
import { HeldChunks } from '../../../src/sync/delta/held-chunks.ts';

/** Bytes as a source. */
export function sourceOf(bytes: Buffer): ByteSource {
  return { size: bytes.length, readAt: async (into, position) => bytes.subarray(position).copy(into) };
}

/** Blobs in memory that count how many of their readers are open. */
export class MemoryBlobs {
  readonly blobs = new Map<Digest, Buffer>();
  openReaders = 0;

  constructor(contents: readonly Buffer[]) {
    for (const bytes of contents) this.blobs.set(digestOfBytes(bytes), bytes);
  }

  readonly open = async (digest: Digest): Promise<BlobReader> => {
    const bytes = this.blobs.get(digest);
    if (bytes === undefined) throw new Error(`no blob ${digest}`);
    this.openReaders += 1;
    const close = async () => {
      this.openReaders -= 1;
    };
    return { ...sourceOf(bytes), digest, stamp: '', close };
  };

  async held(): Promise<HeldChunks> {
    const held = new HeldChunks();
    for (const [digest, bytes] of this.blobs) held.add(await indexChunks(digest, sourceOf(bytes)));
    return held;
  }
}

/** The same bytes for the same seed: what no compression makes smaller. */
export function noise(size: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = (seed * 0x9e3779b9 + 0x6d2b79f5) | 0;
  for (let at = 0; at < words.length; at += 1) {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    words[at] = mixed ^ (mixed >>> 14);
  }
  return Buffer.from(words.buffer, 0, size);
}
