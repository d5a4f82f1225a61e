/**
 * Writes a volume: the same bytes each time, for the same layout, wherever they go.
 */
import { createHash } from 'node:crypto';
import type { Writable } from 'node:stream';
import { type EntryHeader, pack } from 'tar-stream';
import type { BlobReader, Digest } from '../../repo/blobs/blob-store.ts';
import type { LaidEntry, LaidVolume } from './layout.ts';
import { PiecePool } from './piece-pool.ts';

/** Opens what an entry holds, a blob or a delta; it is closed here. @param entry its name */
export type OpenEntry = (digest: Digest, entry: string) => Promise<BlobReader>;

export interface WriteVolumeOptions {
  /** Stands in the headers. */
  readonly created: Date;
  /** Gets the bytes in order; they are its own. */
  readonly sink: (bytes: Uint8Array) => Promise<void>;
  /** Told of bytes that went out; may throw to stop. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * @returns SHA-256 of the whole volume, hexadecimal
 * @throws blob.missing, blob.damaged if a stored file is not what it was; what `sink` and `onBytes` throw
 */
export async function writeVolume(
  open: OpenEntry,
  { entries }: LaidVolume,
  options: WriteVolumeOptions,
): Promise<string> {
  const tar = pack();
  const pool = new PiecePool();
  const hash = createHash('sha256');
  const filling = fill({ open, tar, pool }, entries, options.created).catch((error: unknown) => {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  });
  filling.catch(() => undefined); // heard below
  try {
    for await (const piece of tar) {
      const bytes = piece as Buffer;
      const writing = options.sink(bytes);
      hash.update(bytes); // while the other is being written
      await writing;
      pool.release(bytes);
      options.onBytes(bytes.byteLength);
    }
  } catch (error) {
    pool.stop();
    tar.destroy();
    await filling.catch(() => undefined);
    throw error;
  }
  await filling;
  return hash.digest('hex');
}

interface Filling {
  readonly open: OpenEntry;
  readonly tar: ReturnType<typeof pack>;
  /** Gets pieces back once they are written. */
  readonly pool: PiecePool;
}

async function fill({ open, tar, pool }: Filling, entries: readonly LaidEntry[], mtime: Date): Promise<void> {
  for (const { entry: name, length: size, digest, from } of entries) {
    const blob = await open(digest, name);
    try {
      let settle: (error?: Error | null) => void = () => undefined;
      const done = new Promise<void>((resolve, reject) => {
        settle = (error) => (error == null ? resolve() : reject(error));
      });
      done.catch(() => undefined);
      const entry = tar.entry(headerOf({ entry: name, length: size }, mtime), settle);
      entry.on('error', settle); // also where the tar was destroyed: nobody else listens
      for await (const piece of pool.read(blob, { start: from, end: from + size })) await put(entry, piece);
      entry.end();
      await done;
    } finally {
      await blob.close();
    }
  }
  tar.finalize();
}

/** What stands in the header of an entry. */
export function headerOf({ entry, length }: Pick<LaidEntry, 'entry' | 'length'>, mtime: Date): EntryHeader {
  return { name: entry, size: length, mode: 0o444, mtime, type: 'file' };
}

/** Waits until the other side has taken it, or has gone. */
function put(entry: Writable, bytes: Buffer): Promise<void> {
  if (entry.destroyed || entry.write(bytes)) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      entry.off('drain', end).off('close', end);
      resolve();
    };
    entry.on('drain', end).on('close', end);
  });
}
