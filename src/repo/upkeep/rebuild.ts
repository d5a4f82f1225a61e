/**
 * `doctor --rebuild-catalog`: the catalog made anew from the stored blobs and the revision files. What it cannot
 * know again is how recently blobs were proven, so each is hashed before it is first served.
 */
import { limits } from '../../limits.ts';
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { RevisionLog } from '../catalog/revision-log.ts';
import type { Progress } from '../progress.ts';

export interface RebuildReport {
  readonly repositories: number;
  readonly revisions: number;
  readonly blobs: number;
}

/**
 * @param catalog a new, empty one
 * @throws revision.damaged
 */
export async function rebuildCatalog(
  catalog: Catalog,
  log: RevisionLog,
  blobs: BlobStore,
  progress: Progress,
): Promise<RebuildReport> {
  const report = { repositories: 0, revisions: 0, blobs: 0 };
  let batch: { digest: Digest; size: number }[] = [];
  for await (const { digest, size } of blobs.list()) {
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
    for await (const { header, lines } of log.revisions(repository)) {
      await catalog.restore(header, lines);
      report.revisions += 1;
    }
  }
  return report;
}
