/**
 * The packages of a repository as its metadata lists them: sorted, and small enough to be held for many thousands.
 */
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact } from '../catalog/artifact.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { packageSortKey } from '../formats/repodata/package-order.ts';
import type { PackageList } from '../formats/repodata/write-metadata.ts';

/** What an artifact of kind `rpm` keeps of its package. */
export interface PackageFacts {
  readonly name: string;
  readonly epoch: number;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
  /** Seconds since 1970; null if the package does not say. */
  readonly buildTime: number | null;
}

/** What the metadata needs to know to list a package. */
export interface ListedPackage {
  readonly digest: Digest;
  readonly sortKey: string;
  readonly buildTime: number;
}

/** Of whatever says more. */
export function packageFactsOf({ name, epoch, version, release, arch, buildTime }: PackageFacts): PackageFacts {
  return { name, epoch, version, release, arch, buildTime };
}

export function listed(artifact: Artifact): ListedPackage {
  const facts = artifact.facts as unknown as PackageFacts;
  return {
    digest: artifact.digest,
    sortKey: packageSortKey(facts, artifact.digest),
    buildTime: facts.buildTime ?? 0,
  };
}

/**
 * Digests in the order of their sort keys, and texts from the catalog.
 * @param refill reads packages again of which the catalog has no texts (it was rebuilt), and records them
 */
export function packageList(
  catalog: Catalog,
  packages: readonly ListedPackage[],
  refill: (missing: readonly Digest[]) => Promise<void>,
): PackageList {
  const digests = [...packages].sort((a, b) => (a.sortKey < b.sortKey ? -1 : 1)).map(({ digest }) => digest);
  return {
    count: digests.length,
    digests: () => digests,
    async *fragments(kind, wanted) {
      for (let at = 0; at < wanted.length; at += limits.catalog.page) {
        const page = wanted.slice(at, at + limits.catalog.page);
        let texts = await catalog.packageTexts(kind, page);
        if (texts.size < page.length) {
          await refill(page.filter((digest) => !texts.has(digest)));
          texts = await catalog.packageTexts(kind, page);
        }
        for (const digest of page) {
          const text = texts.get(digest);
          if (text !== undefined) yield text;
        }
      }
    },
  };
}
