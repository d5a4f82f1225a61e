/**
 * `doctor --rebuild-catalog`: the catalog made anew from the stored blobs and the revision files. What it cannot
 * know again is how recently blobs were proven, so each is hashed before it is first served.
 */
import { limits } from '../../limits.ts';
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { LostRevision, RevisionLine, RevisionLog } from '../catalog/revision-log.ts';
import type { Progress } from '../progress.ts';
import { throwIfAborted } from '../staging.ts';

export interface RebuildReport {
  readonly repositories: number;
  readonly revisions: number;
  readonly blobs: number;
  /** Revisions that could not be read, and are empty now (`skipDamaged`). */
  readonly lost: readonly LostRevision[];
}

export interface RebuildOptions {
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Go on without revision files that cannot be read: they are moved into this folder. */
  readonly skipDamaged?: string;
}

/**
 * @param catalog a new, empty one
 * @throws revision.damaged, interrupted
 */
export async function rebuildCatalog(
  catalog: Catalog,
  log: RevisionLog,
  blobs: BlobStore,
  { progress, signal, skipDamaged }: RebuildOptions,
): Promise<RebuildReport> {
  const report = { repositories: 0, revisions: 0, blobs: 0 };
  const lost: LostRevision[] = [];
  let batch: { digest: Digest; size: number }[] = [];
  for await (const { digest, size } of blobs.list()) {
    throwIfAborted(signal);
    batch.push({ digest, size });
    report.blobs += 1;
    if (batch.length < limits.catalog.page) continue;
    await catalog.restoreBlobs(batch);
    batch = [];
  }
  await catalog.restoreBlobs(batch);
  for (const repository of await log.repositories()) {
    progress.note(`rebuilding ${repository}`);
    report.repositories += 1;
    if (skipDamaged !== undefined) lost.push(...(await log.mend(repository, skipDamaged)));
    for await (const { header, lines } of log.revisions(repository)) {
      await catalog.restore(header, interruptible(lines, signal));
      report.revisions += 1;
    }
  }
  return { ...report, lost };
}

async function* interruptible(lines: AsyncIterable<RevisionLine>, signal: AbortSignal): AsyncIterable<RevisionLine> {
  throwIfAborted(signal);
  for await (const line of lines) {
    throwIfAborted(signal);
    yield line;
  }
}
