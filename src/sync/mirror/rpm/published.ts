/** What a repository holds now, as far as mirroring has to know it. */
import type { Artifact } from '../../../repo/catalog/artifact.ts';
import type { Catalog, Entry } from '../../../repo/catalog/catalog.ts';
import type { ForeignPackage } from '../../../repo/formats/repodata/read-primary.ts';
import { checksumKey, sourceOf } from './package-facts.ts';

export interface Published {
  /** The published revision. */
  readonly base: number;
  readonly entries: ReadonlyMap<string, Entry>;
  /** A package with the checksum of a listed one, if it came from this site and was verified as it would be now. */
  packageOf(listed: ForeignPackage): { readonly artifact: Artifact; readonly ownPath: string } | undefined;
  /** Paths of packages that somebody else brought. */
  readonly foreign: readonly string[];
}

export interface PublishedQuestion {
  readonly repository: string;
  readonly site: string;
  /** False if packages have to be verified anew, with other keys, or get other paths. */
  readonly isTrusted: boolean;
}

export async function readPublished(
  catalog: Catalog,
  { repository, site, isTrusted }: PublishedQuestion,
): Promise<Published> {
  const base = (await catalog.repository(repository))?.published ?? 0;
  const lost = new Set<string>();
  for await (const entry of catalog.lostEntries()) if (entry.repository === repository) lost.add(entry.path);
  const entries = new Map<string, Entry>();
  const packages = new Map<string, { artifact: Artifact; ownPath: string }>();
  const foreign: string[] = [];
  for await (const entry of catalog.entries(repository, base)) {
    const { path, artifact } = entry;
    entries.set(path, entry);
    if (artifact.kind !== 'rpm') continue;
    if (artifact.source !== sourceOf(site)) foreign.push(path);
    else if (isTrusted && !lost.has(path) && typeof artifact.facts.checksum === 'string') {
      packages.set(artifact.facts.checksum, { artifact, ownPath: path });
    }
  }
  return { base, entries, foreign, packageOf: (listed) => packages.get(checksumKey(listed)) };
}

/** Whether all that a repository publishes can be served. */
export async function isWhole(catalog: Catalog, repository: string): Promise<boolean> {
  for await (const entry of catalog.lostEntries()) if (entry.repository === repository) return false;
  return true;
}
