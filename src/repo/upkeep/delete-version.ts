/**
 * `delete system software version`: takes a release, sidecars included, out of every repository. Its bytes stay for the
 * grace period of `prune`, and so long `repo publish` brings it back.
 */
import { AirlockError } from '../../errors.ts';
import type { Catalog, Entry } from '../catalog/catalog.ts';
import { parseRelease } from '../formats/releases/release.ts';
import { matchVersion } from '../formats/releases/same-release.ts';

export interface DeletedVersion {
  readonly version: string;
  readonly removed: readonly { readonly repository: string; readonly path: string; readonly size: number }[];
  /** The new published revision of each repository concerned. */
  readonly revisions: Readonly<Record<string, number>>;
}

/**
 * What a person's spelling of a version means among the published releases.
 * @returns the artifacts of that one release
 * @throws release.not-found, usage.ambiguous with the list
 */
export async function findVersion(catalog: Catalog, spelling: string): Promise<[Entry, ...Entry[]]> {
  const releases = await catalog.releases();
  const groups = matchVersion(spelling, releases, (entry) => parseRelease(entry.artifact.name));
  const [first, ...others] = groups;
  const [entry, ...entries] = first ?? [];
  if (entry === undefined) {
    const known = [...new Set(releases.map((each) => each.artifact.release?.version))];
    throw new AirlockError(
      'release.not-found',
      `No release here is called ${JSON.stringify(spelling)}. ${known.length === 0 ? 'Nothing was imported yet.' : `There are: ${known.join(', ')}.`}`,
      { details: { available: known } },
    );
  }
  if (others.length === 0) return [entry, ...entries];
  const versions = groups.map((group) => group[0]?.artifact.release?.version);
  throw new AirlockError(
    'usage.ambiguous',
    `${JSON.stringify(spelling)} fits several releases: ${versions.join(', ')}. Name one of them.`,
    {
      details: { versions },
    },
  );
}

/** @throws as findVersion */
export async function deleteVersion(catalog: Catalog, spelling: string): Promise<DeletedVersion> {
  const artifacts = (await findVersion(catalog, spelling)).map(({ artifact }) => artifact.release);
  // One release may be spelled per distribution: 6.3.0-107.r1.el7 and …el9.
  const versions = [...new Map(artifacts.map((release) => [release?.version ?? '', release?.vendor ?? '']))];
  const entries = (
    await Promise.all(versions.map(([version, vendor]) => catalog.entriesOfVersion(vendor, version)))
  ).flat();
  const version = versions.map(([each]) => each).join(', ');
  const byRepository = Object.groupBy(entries, (entry) => entry.repository);
  const revisions: Record<string, number> = {};
  await catalog.transaction(async (tx) => {
    for (const [repository, list = []] of Object.entries(byRepository)) {
      const remove = list.map((entry) => entry.path);
      revisions[repository] = await tx.publish(repository, { reason: `delete ${version}`, remove, withdraw: true });
    }
  });
  const removed = entries.map(({ repository, path, artifact: { size } }) => ({ repository, path, size }));
  return { version, removed, revisions };
}
