/**
 * Bringing bytes into the store: read once, hashed and written on the way, invisible until committed.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobStat, BlobStore, BlobWriter, ByteSource, Digest } from './blobs/blob-store.ts';
import { readAhead } from './blobs/read-ahead.ts';
import type { Catalog, CatalogTransaction } from './catalog/catalog.ts';
import type { Progress } from './progress.ts';

/** Where bytes go, and where it is written down that they are there. */
export interface Stores {
  readonly blobs: BlobStore;
  readonly catalog: Catalog;
}

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

/** A source whose reads throw `interrupted` once the signal has fired, whoever reads. */
export function interruptible(source: ByteSource, signal: AbortSignal): ByteSource {
  return {
    size: source.size,
    inFile: source.inFile,
    async readAt(into, position) {
      throwIfAborted(signal);
      return await source.readAt(into, position);
    },
  };
}

/**
 * Digests that an import protects from `prune` while it is on its way. They end with its transaction, or `abandon`. Each
 * set is a job of its own: several may be on their way in one process, and store the same bytes.
 */
export class Leases extends Set<Digest> {
  readonly job = randomUUID();
}

/** Ends the leases of an import, with the transaction that refers to what they protect. */
export async function endLeases(tx: CatalogTransaction, leases: Leases): Promise<void> {
  await tx.release(leases, leases.job);
}

/**
 * Commits a writer, unless the blob is stored and proven already. Protects it from `prune` until a transaction
 * refers to it and releases the lease.
 * @param onStored told of a blob that was stored, not of one that was here already
 */
export async function commit(
  store: Stores,
  writer: BlobWriter,
  leases: Leases,
  onStored?: (stat: BlobStat) => Promise<void>,
): Promise<BlobStat> {
  const sealed = await writer.seal();
  const present = await leased(store, sealed.digest, leases);
  if (present === undefined) {
    const stored = await writer.commit(sealed);
    await onStored?.(stored);
    return stored;
  }
  await writer.cancel();
  return present;
}

/** Leases a digest. @returns the stored blob, if it is there and untouched since it was proven */
export async function leased(
  { blobs, catalog }: Stores,
  digest: Digest,
  leases: Leases,
): Promise<BlobStat | undefined> {
  leases.add(digest);
  const record = await catalog.lease(digest, leases.job);
  const stored = record?.stamp == null ? undefined : await blobs.stat(digest);
  return stored !== undefined && stored.stamp === record?.stamp ? stored : undefined;
}

/** Stores a few bytes that are in memory already. */
export async function storeBytes(store: Stores, bytes: Uint8Array, leases: Leases): Promise<BlobStat> {
  const writer = await store.blobs.create();
  try {
    await writer.writeAt(0, bytes);
    return await commit(store, writer, leases);
  } finally {
    await writer.cancel();
  }
}

/**
 * Takes some room on the disk. Cancelled when a disk turns out to be full, it is the room in which the catalog can
 * write that an import has failed. The caller cancels the writer in any case.
 */
export async function spareRoom(blobs: BlobStore): Promise<BlobWriter> {
  const writer = await blobs.create();
  try {
    await writer.writeAt(0, randomBytes(limits.spareRoom)); // a file system may keep zeros without taking room for them
    return writer;
  } catch (error) {
    await writer.cancel();
    throw error;
  }
}

/**
 * Takes back what an import had stored when it then failed: bytes that nobody refers to, or is about to, go at once
 * instead of after their lease. Whoever else is about to refer to them holds a lease of their own, and what is in the
 * catalog stays: `discard` sees to both while nobody can lease. Best effort, for the catalog may be what failed, and
 * the process may die here; `prune` does the rest.
 * @param recorded what the import itself stored and recorded, which goes if nothing holds it
 */
export async function abandon(
  { blobs, catalog }: Stores,
  leases: Leases,
  recorded: Iterable<Digest> = [],
): Promise<void> {
  const remove = async (digest: Digest): Promise<void> => {
    await blobs.delete(digest);
  };
  try {
    // The leases end in a transaction of their own: one that failed before it is then overwritten for good.
    await catalog.transaction((tx) => endLeases(tx, leases));
    for (const digest of leases) await catalog.discard(digest, remove);
    for (const digest of recorded) await catalog.removeUnheld(digest, remove);
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
    `${mib(bytes + limits.spaceReserve)} are needed on the file system of the data directory (${mib(limits.spaceReserve)} of them in reserve), and ${mib(free)} are free. Delete releases ("airlock delete system software version …", then "airlock prune --grace 0"), or use a larger disk.`,
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
