/**
 * `prune`: frees what no revision refers to, after a grace period. The catalog lets go first, then the bytes go; what
 * an import under way is about to refer to is under lease and stays.
 */
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';

export interface PruneReport {
  readonly removed: readonly { readonly digest: Digest; readonly size: number }[];
  readonly bytes: number;
}

export interface PruneOptions {
  /** What was deleted, or never referred to, before this goes. */
  readonly before: Date;
  /** Only tell. */
  readonly dryRun: boolean;
}

export async function prune(blobs: BlobStore, catalog: Catalog, options: PruneOptions): Promise<PruneReport> {
  const removed: { digest: Digest; size: number }[] = [];
  const remove = async (digest: Digest): Promise<void> => {
    await blobs.delete(digest);
  };
  for await (const blob of catalog.prune({ ...options, remove })) removed.push(blob);
  // Left by a process that died between storing and recording. An import under way holds a lease.
  for await (const { digest, size } of blobs.list()) {
    if ((await catalog.blob(digest)) !== undefined) continue;
    if (options.dryRun ? !removed.some((blob) => blob.digest === digest) : await catalog.discard(digest, remove)) {
      removed.push({ digest, size });
    }
  }
  return { removed, bytes: removed.reduce((sum, { size }) => sum + size, 0) };
}
