/**
 * What the catalog keeps of packages is made of their bytes, and is lost when the catalog is rebuilt. It is made again
 * where somebody needs it.
 */
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Stores } from '../staging.ts';
import { readPackageFrom } from './read-package.ts';

/** Reads packages again, and records what repodata says of them. @throws rpm.*, what store and catalog throw */
export async function recordAgain({ blobs, catalog }: Stores, packages: readonly Digest[]): Promise<void> {
  for (const digest of packages) {
    const reader = await blobs.open(digest);
    try {
      await catalog.recordPackages([(await readPackageFrom(reader, digest)).record]);
    } finally {
      await reader.close();
    }
  }
}

/** Records whatever published package of a repository is not recorded. @throws as recordAgain */
export async function recordMissing(stores: Stores, repository: string): Promise<void> {
  for (;;) {
    const missing = await stores.catalog.unrecordedPackages(repository, limits.catalog.page);
    if (missing.length === 0) return;
    await recordAgain(stores, missing);
  }
}
