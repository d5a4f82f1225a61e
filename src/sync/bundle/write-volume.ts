/**
 * Writes a volume: the same bytes each time, for the same layout, wherever they go.
 */
import { createHash } from 'node:crypto';
import type { Writable } from 'node:stream';
import { pack } from 'tar-stream';
import { readAhead } from '../../repo/blobs/read-ahead.ts';
import type { TrustedBlobs } from '../../repo/trusted-blobs.ts';
import type { LaidEntry, LaidVolume } from './layout.ts';

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
  blobs: Pick<TrustedBlobs, 'open'>,
  { entries }: LaidVolume,
  options: WriteVolumeOptions,
): Promise<string> {
  const tar = pack();
  const hash = createHash('sha256');
  const filling = fill(blobs, tar, entries, options.created).catch((error: unknown) => {
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
      options.onBytes(bytes.byteLength);
    }
  } catch (error) {
    tar.destroy();
    await filling.catch(() => undefined);
    throw error;
  }
  await filling;
  return hash.digest('hex');
}

async function fill(
  blobs: Pick<TrustedBlobs, 'open'>,
  tar: ReturnType<typeof pack>,
  entries: readonly LaidEntry[],
  mtime: Date,
): Promise<void> {
  for (const { entry: name, length: size, digest, from } of entries) {
    const blob = await blobs.open(digest);
    try {
      let settle: (error?: Error | null) => void = () => undefined;
      const done = new Promise<void>((resolve, reject) => {
        settle = (error) => (error == null ? resolve() : reject(error));
      });
      done.catch(() => undefined);
      const entry = tar.entry({ name, size, mode: 0o444, mtime, type: 'file' }, settle);
      for await (const piece of readAhead(blob, { start: from, end: from + size })) {
        await put(entry, Buffer.from(piece)); // tar-stream keeps it, and the next piece comes into the same memory
      }
      entry.end();
      await done;
    } finally {
      await blob.close();
    }
  }
  tar.finalize();
}

/** Waits until the other side has taken it, or has gone. */
function put(entry: Writable, bytes: Buffer): Promise<void> {
  if (entry.write(bytes)) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      entry.off('drain', end).off('close', end);
      resolve();
    };
    entry.on('drain', end).on('close', end);
  });
}
