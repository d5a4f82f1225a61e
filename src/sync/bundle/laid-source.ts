/**
 * A volume to be read at any position, before it is written anywhere: the very bytes that `writeVolume` writes. Parity
 * needs all volumes of a bundle side by side.
 */
import { pack } from 'tar-stream';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { BLOCK, type LaidEntry, type LaidVolume } from './layout.ts';
import { headerOf, type OpenEntry } from './write-volume.ts';

/**
 * Holds nothing open between reads: a bundle may have thousands of volumes.
 * @param created stands in the headers
 */
export function laidSource(open: OpenEntry, { size, entries }: LaidVolume, created: Date): ByteSource {
  return {
    size,
    async readAt(into, position) {
      const wanted = into.subarray(0, Math.max(0, size - position)).fill(0);
      const end = position + wanted.byteLength;
      for (let index = firstReaching(entries, position); index < entries.length; index += 1) {
        const entry = entries[index];
        if (entry === undefined || entry.offset - BLOCK >= end) break;
        await readEntry(entry, { open, created, wanted, position });
      }
      return wanted.byteLength;
    },
  };
}

interface Reading {
  readonly open: OpenEntry;
  readonly created: Date;
  /** Bytes of the volume from `position` on. */
  readonly wanted: Uint8Array;
  readonly position: number;
}

async function readEntry(entry: LaidEntry, { open, created, wanted, position }: Reading): Promise<void> {
  const { offset, length, from, digest } = entry;
  const ahead = offset - position;
  if (ahead > 0) {
    const header = await headerBytes(entry, created);
    const skip = Math.max(0, BLOCK - ahead);
    const at = Math.max(0, ahead - BLOCK);
    wanted.set(header.subarray(skip, skip + wanted.byteLength - at), at);
  }
  const skip = Math.max(0, -ahead);
  const into = wanted.subarray(Math.max(0, ahead), Math.max(0, ahead) + Math.max(0, length - skip));
  if (into.byteLength === 0) return;
  const blob = await open(digest, entry.entry);
  try {
    await blob.readAt(into, from + skip);
  } finally {
    await blob.close();
  }
}

/** As tar-stream lays it out. */
async function headerBytes(entry: LaidEntry, created: Date): Promise<Buffer> {
  const tar = pack();
  const content = tar.entry(headerOf(entry, created));
  content.on('error', () => undefined); // its content never comes
  try {
    for await (const piece of tar) return (piece as Buffer).subarray(0, BLOCK);
    throw new Error('a tar without a header');
  } finally {
    tar.destroy();
  }
}

/** The first entry that ends after a position. */
function firstReaching(entries: readonly LaidEntry[], position: number): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const { offset, length } = entries[middle] ?? { offset: 0, length: 0 };
    if (offset + length > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
