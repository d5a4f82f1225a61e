/** The packages of a repository as its metadata lists them. */
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { listedDigest } from '../catalog/list-key.ts';
import type { MetadataKind } from '../formats/repodata/metadata-kinds.ts';
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

/** Of whatever says more. */
export function packageFactsOf({ name, epoch, version, release, arch, buildTime }: PackageFacts): PackageFacts {
  return { name, epoch, version, release, arch, buildTime };
}

/**
 * Digests in order, and texts from the catalog.
 * @param keys of the packages (catalog/list-key.ts), in any order
 * @param refill reads packages again of which the catalog has no texts (it was rebuilt), and records them
 */
export function packageList(
  catalog: Catalog,
  keys: Iterable<string>,
  refill: (missing: readonly Digest[]) => Promise<void>,
): PackageList {
  const sorted = [...keys].sort();
  let refilled = Promise.resolve();
  const textsOf = async (kind: MetadataKind, page: readonly Digest[]): Promise<Map<Digest, Buffer>> => {
    const texts = await catalog.packageTexts(kind, page);
    if (texts.size === page.length) return texts;
    // All three files miss the same packages at about the same time. They are read once.
    refilled = refilled.then(async () => {
      const known = await catalog.packageTexts(kind, page);
      const missing = page.filter((digest) => !known.has(digest));
      if (missing.length > 0) await refill(missing);
    });
    await refilled;
    return await catalog.packageTexts(kind, page);
  };
  return {
    count: sorted.length,
    *digests() {
      for (const key of sorted) yield listedDigest(key);
    },
    async *fragments(kind, wanted) {
      for (let at = 0; at < wanted.length; at += limits.catalog.page) {
        const page = wanted.slice(at, at + limits.catalog.page);
        const texts = await textsOf(kind, page);
        for (const digest of page) {
          const text = texts.get(digest);
          if (text !== undefined) yield text;
        }
      }
    },
  };
}
