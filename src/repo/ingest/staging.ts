/**
 * Bringing bytes into the store: read once, hashed and written on the way, invisible until committed.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat, BlobStore, BlobWriter, ByteSource, Digest } from '../blobs/blob-store.ts';
import { readAhead } from '../blobs/read-ahead.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Progress } from '../progress.ts';

export interface StagingOptions {
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/**
 * Copies a source into a new writer: while one buffer is being written and hashed, the next is being read.
 * The caller ends the writer.
 * @throws interrupted when `signal` fires; what the source or the store throws
 */
export async function stage(blobs: BlobStore, source: ByteSource, options: StagingOptions): Promise<BlobWriter> {
  const writer = await blobs.create();
  const onBytes = heard(options);
  try {
    let position = 0;
    for await (const piece of readAhead(source, { start: 0, end: source.size })) {
      await writer.writeAt(position, piece);
      position += piece.byteLength;
      onBytes(piece.byteLength);
    }
    return writer;
  } catch (error) {
    await writer.cancel();
    throw error;
  }
}

/** Reports bytes done, and stops by throwing `interrupted` when the signal fires. */
export function heard({ signal, progress }: StagingOptions): (bytes: number) => void {
  return (bytes) => {
    progress.advance(bytes);
    throwIfAborted(signal);
  };
}

/**
 * Commits a writer, unless the blob is stored and proven already. Protects it from `prune` until a transaction
 * refers to it and releases the lease.
 */
export async function commit(blobs: BlobStore, catalog: Catalog, writer: BlobWriter): Promise<BlobStat> {
  const sealed = await writer.seal();
  const present = await leased(blobs, catalog, sealed.digest);
  if (present === undefined) return await writer.commit(sealed);
  await writer.cancel();
  return present;
}

/** Leases a digest. @returns the stored blob, if it is there and untouched since it was proven */
export async function leased(blobs: BlobStore, catalog: Catalog, digest: Digest): Promise<BlobStat | undefined> {
  const record = await catalog.lease(digest);
  const stored = record?.stamp == null ? undefined : await blobs.stat(digest);
  return stored !== undefined && stored.stamp === record?.stamp ? stored : undefined;
}

/** Stores a few bytes that are in memory already. */
export async function storeBytes(blobs: BlobStore, catalog: Catalog, bytes: Uint8Array): Promise<BlobStat> {
  const writer = await blobs.create();
  try {
    await writer.writeAt(0, bytes);
    return await commit(blobs, catalog, writer);
  } finally {
    await writer.cancel();
  }
}

/**
 * Takes back what an import had stored when it then failed: bytes that nobody refers to, or is about to, go at once
 * instead of after their lease. Best effort, for the catalog may be what failed; `prune` does the rest.
 */
export async function abandon(blobs: BlobStore, catalog: Catalog, stored: readonly BlobStat[]): Promise<void> {
  const remove = async (digest: Digest): Promise<void> => {
    await blobs.delete(digest);
  };
  try {
    // The lease ends in a transaction of its own: one that failed before it is then overwritten for good.
    await catalog.transaction(async (tx) => {
      for (const { digest } of stored) await tx.release(digest);
    });
    for (const { digest } of stored) await catalog.discard(digest, remove);
  } catch {
    // The failure that led here is the one to tell.
  }
}

/** @throws space.insufficient if the store has not room for `bytes` and a reserve */
export async function requireSpace(blobs: BlobStore, bytes: number): Promise<void> {
  const free = await blobs.freeSpace();
  if (free >= bytes + limits.spaceReserve) return;
  throw new AirlockError(
    'space.insufficient',
    `${mib(bytes + limits.spaceReserve)} are needed on the file system of the data directory (${mib(limits.spaceReserve)} of them in reserve), and ${mib(free)} are free. Delete releases ("airlock delete system software version …", then "airlock prune"), or use a larger disk.`,
    { details: { needed: bytes + limits.spaceReserve, free } },
  );
}

/** @throws interrupted */
export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new AirlockError(
    'interrupted',
    'Interrupted. What was not finished left nothing behind; run the same command to go on.',
  );
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;
}
