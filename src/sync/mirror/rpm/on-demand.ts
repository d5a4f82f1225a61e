/**
 * The policy `on-demand`: metadata now, packages when somebody asks for them. What was fetched for somebody meanwhile is kept
 * under the path by which it was asked for (`repo/catalog/pulled.ts`), and becomes the repository's with the next sync.
 */
import type { Catalog } from '../../../repo/catalog/catalog.ts';
import type { Pulled } from '../../../repo/catalog/pulled.ts';
import { digestFor } from '../../../repo/formats/repodata/checksum-types.ts';
import type { ForeignPackage } from '../../../repo/formats/repodata/read-primary.ts';
import { isFiltering } from './choose-packages.ts';
import type { Front } from './front.ts';
import type { Run } from './run.ts';

/**
 * Which packages need not come now. None may where they could not be proven later, by the published metadata alone: that has
 * to be the vendor's, to be signed where somebody's keys are named, and to give a digest of them.
 * @param chosen what the rule means
 * @returns also writes down why packages come although the rule says otherwise
 */
export function mayWait(
  { rule, site, warnings }: Run,
  { verification }: Front,
  chosen: readonly ForeignPackage[],
): (listed: ForeignPackage) => boolean {
  if (rule.policy !== 'on-demand' || rule.complete === true) return () => false;
  const obstacle = isFiltering(rule)
    ? 'where packages are left out, metadata is written here, for which each package has to be read'
    : rule.requireSignature !== false && site.ingest.keys.length > 0 && verification.status !== 'signature'
      ? 'nobody signed the metadata, so the signature of each package has to be seen'
      : chosen.some((listed) => !hasDigest(listed))
        ? 'its metadata gives other checksums of packages than SHA-256, by which they are known here'
        : undefined;
  if (obstacle === undefined) return () => true;
  warnings.push(`policy "on-demand" is treated as "immediate": ${obstacle}.`);
  return () => false;
}

function hasDigest({ checksum }: ForeignPackage): boolean {
  return digestFor(checksum) !== undefined;
}

/** What was fetched for somebody below the path of a repository. */
async function* fetchedCopies(catalog: Catalog, repository: string): AsyncGenerator<Pulled, void, undefined> {
  const prefix = `repos/${repository}/`;
  for (let after: string | undefined = prefix; after !== undefined; ) {
    const page: Pulled[] = await catalog.pulledPage({ after, limit: PAGE });
    for (const pulled of page) {
      if (!pulled.path.startsWith(prefix)) return;
      yield pulled;
    }
    after = page.length < PAGE ? undefined : page.at(-1)?.path;
  }
}

const PAGE = 100;

export async function hasFetchedCopies(catalog: Catalog, repository: string): Promise<boolean> {
  for await (const _ of fetchedCopies(catalog, repository)) return true;
  return false;
}

/** Copies that are the repository's by now, and those that its metadata does not list any more, or with other bytes. */
export async function settledCopies(
  catalog: Catalog,
  repository: string,
  waiting: readonly ForeignPackage[],
): Promise<string[]> {
  const listed = new Map(
    waiting.map(({ place, checksum }) => [`repos/${repository}/${place.path}`, digestFor(checksum)]),
  );
  const settled: string[] = [];
  for await (const { path, digest } of fetchedCopies(catalog, repository)) {
    if (listed.get(path) !== digest) settled.push(path);
  }
  return settled;
}
