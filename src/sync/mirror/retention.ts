/**
 * What is taken out again of what a rule brought: of each train the releases beyond those that are to be kept. It looks at
 * what is here, never at what a site lists: a listing that shrinks removes nothing.
 */
import { isAirlockError } from '../../errors.ts';
import type { Json } from '../../repo/catalog/artifact.ts';
import type { Entry } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { BROUGHT_BY } from '../../repo/ingest/announced.ts';
import { IMAGES } from '../../repo/ingest/import-image.ts';
import { type Deletion, deleteVersion, findDeletion } from '../../repo/upkeep/delete-version.ts';
import type { ReleasesRule } from './releases.ts';
import type { MirrorSite } from './rule.ts';
import { beyondNewest, selectImages } from './select.ts';

/** What an image has that a rule brought; a person who imports it takes it over, and the mark away. */
export function markOf({ name }: Pick<MirrorSite, 'name'>, { path }: Pick<ReleasesRule, 'path'>): Json {
  return { upstream: name, path };
}

/**
 * Takes out what is not to be kept: only images that this rule brought and still means, and that nobody pinned.
 * @param coming names of images that a real run would have brought by now
 * @returns the paths that went, or in a dry run would go, packages that came with them included
 */
export async function retire(
  site: MirrorSite,
  rule: ReleasesRule,
  coming: readonly string[],
): Promise<{ removed: string[]; warnings: string[] }> {
  const removed: string[] = [];
  const warnings: string[] = [];
  for (const entry of await findOld(site, rule, coming)) {
    const path = `${entry.repository}/${entry.path}`;
    const pin = rule.pinned.find((part) => path.includes(part));
    if (pin !== undefined) {
      warnings.push(`${path} is older than what is kept, and stays because ${quoteUnsafe(pin)} is pinned`);
      continue;
    }
    const deletion = await findDeletion(site.ingest.catalog, entry.artifact.name);
    if (!site.dryRun && !(await remove(site, deletion))) continue;
    removed.push(...pathsOf(deletion));
    site.progress.note(`${site.dryRun ? 'would remove' : 'removed'} ${quoteUnsafe(path)}`);
  }
  return { removed, warnings };
}

async function findOld(
  { ingest, ...site }: MirrorSite,
  rule: ReleasesRule,
  coming: readonly string[],
): Promise<Entry[]> {
  if (rule.keep === undefined) return [];
  const mark = JSON.stringify(markOf(site, rule));
  const published = await ingest.catalog.releases({ vendor: 'ssr' });
  const brought = published.filter(({ repository, artifact: { facts } }) => {
    return repository === IMAGES && JSON.stringify(facts[BROUGHT_BY] ?? null) === mark;
  });
  const here = brought.map((entry) => ({ name: entry.artifact.name, entry }));
  const all = [...here, ...coming.map((name) => ({ name, entry: undefined }))];
  const meant = selectImages(all, { ...rule, newest: undefined });
  return beyondNewest(meant, rule.keep).flatMap(({ entry }) => entry ?? []);
}

/** @returns false if somebody else did it */
async function remove({ ingest }: MirrorSite, deletion: Deletion): Promise<boolean> {
  try {
    await deleteVersion(ingest, deletion);
    return true;
  } catch (error) {
    if (isAirlockError(error, 'release.not-found')) return false;
    throw error;
  }
}

function pathsOf({ entries, packages }: Deletion): string[] {
  const files = entries.map(({ repository, path }) => `${repository}/${path}`);
  return [...files, ...packages.flatMap(({ repository, removed }) => removed.map((path) => `${repository}/${path}`))];
}
