/**
 * `prune`: frees what no revision refers to, after a grace period. The catalog lets go first, then the bytes go; what
 * an import under way is about to refer to is under lease and stays.
 */
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { type Relocated, relocateSlices } from '../packages/relocate.ts';
import { type StagingOptions, throwIfAborted } from '../staging.ts';

export interface PruneReport {
  readonly removed: readonly { readonly digest: Digest; readonly size: number }[];
  readonly bytes: number;
  /** Packages of images that went, which something still needs. */
  readonly relocated: readonly Relocated[];
  /** What nothing refers to either, but was deleted, or never referred to, too short a time ago. */
  readonly waiting: Waiting;
}

export interface Waiting {
  readonly blobs: number;
  readonly bytes: number;
  /** Since when the first and the last of them wait; null if there is none. */
  readonly since: readonly [Date, Date] | null;
}

export interface PruneOptions extends StagingOptions {
  /** What was deleted, or never referred to, before this goes. */
  readonly before: Date;
  readonly now: Date;
  /** Only tell. */
  readonly dryRun: boolean;
}

/**
 * Interrupted, it has freed what it had come to; the next call does the rest.
 * @throws interrupted
 */
export async function prune(blobs: BlobStore, catalog: Catalog, options: PruneOptions): Promise<PruneReport> {
  const { before, dryRun, signal } = options;
  const removed: { digest: Digest; size: number }[] = [];
  const relocated: Relocated[] = [];
  const remove = async (digest: Digest): Promise<void> => {
    throwIfAborted(signal);
    await blobs.delete(digest);
  };
  const pass = async (): Promise<void> => {
    for await (const { digest, size, isSlice } of catalog.prune({ before, dryRun, remove })) {
      throwIfAborted(signal);
      if (!isSlice) removed.push({ digest, size });
    }
  };
  await pass();
  if (!dryRun) {
    const going = new Set((await catalog.stranded(before)).map(({ digest }) => digest));
    for (const digest of going) {
      for await (const each of relocateSlices(blobs, catalog, digest, going, options)) relocated.push(each);
    }
    await pass(); // images are free to go once nothing is a slice of them
  }
  // Left by a process that died between storing and recording. An import under way holds a lease.
  const planned = new Set(dryRun ? removed.map(({ digest }) => digest) : []);
  for await (const { digest, size } of blobs.list()) {
    throwIfAborted(signal);
    if ((await catalog.blob(digest)) !== undefined) continue;
    if (dryRun ? !planned.has(digest) : await catalog.discard(digest, remove)) removed.push({ digest, size });
  }
  const bytes = removed.reduce((sum, { size }) => sum + size, 0);
  return { removed, bytes, relocated, waiting: await waiting(catalog, options) };
}

async function waiting(catalog: Catalog, { before, now, signal }: PruneOptions): Promise<Waiting> {
  let [count, bytes] = [0, 0];
  let first: Date | undefined;
  let last: Date | undefined;
  const remove = () => Promise.resolve(); // not called
  for await (const blob of catalog.prune({ before: now, dryRun: true, remove })) {
    throwIfAborted(signal);
    if (blob.since <= before) continue;
    count += 1;
    bytes += blob.size;
    first = first === undefined || blob.since < first ? blob.since : first;
    last = last === undefined || blob.since > last ? blob.since : last;
  }
  return { blobs: count, bytes, since: first === undefined || last === undefined ? null : [first, last] };
}
