import type { Digest } from '../blobs/blob-store.ts';
import type { Catalog, Entry } from '../catalog/catalog.ts';
import type { PackageEdit } from './prepare-change.ts';

/**
 * What becomes of packages when images go: those that nothing else brought go too, and older revisions lose them.
 * @param images by digest
 */
export function withoutImages(
  images: ReadonlySet<Digest>,
): (entry: Pick<Entry, 'artifact'>) => ReturnType<NonNullable<PackageEdit['keep']>> {
  return ({ artifact }) => {
    const { origins = [] } = artifact;
    const left = origins.filter(({ within }) => within === null || !images.has(within.container));
    if (left.length === origins.length) return artifact;
    return left.length === 0 ? 'withdrawn' : { ...artifact, origins: left };
  };
}

/** The repositories that have something published that came out of one of the images, with what that is. */
export async function broughtBy(catalog: Catalog, images: ReadonlySet<Digest>): Promise<Map<string, Entry[]>> {
  const found = new Map<string, Entry[]>();
  for (const { name, kind, published } of await catalog.repositories()) {
    if (kind !== 'rpm') continue;
    const entries: Entry[] = [];
    for await (const entry of catalog.entries(name, published)) {
      if (entry.artifact.origins?.some(({ within }) => within !== null && images.has(within.container)))
        entries.push(entry);
    }
    if (entries.length > 0) found.set(name, entries);
  }
  return found;
}
