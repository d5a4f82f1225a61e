/**
 * `delete system software version`: takes a release, or one file of it, with its sidecars out of every repository, and with
 * an image the packages that only it brought. Their bytes stay for the grace period of `prune`, and so long `repo publish`
 * brings them back.
 */

import { AirlockError } from '../../errors.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Catalog, Entry } from '../catalog/catalog.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { quote, quoteUnsafe } from '../formats/quote.ts';
import { parseRelease } from '../formats/releases/release.ts';
import { matchVersion } from '../formats/releases/same-release.ts';
import { type PackagesContext, type PreparedChange, prepareChange } from '../packages/prepare-change.ts';
import { broughtBy, withoutImages } from '../packages/without-images.ts';
import { abandon, endLeases, Leases } from '../staging.ts';

/** What a spelling means, and so what would go. */
export interface Deletion {
  /** `6.3.0-107.r1.el7`; several, with commas, where a release is spelled by distribution. */
  readonly version: string;
  /** The release's files and their sidecars. */
  readonly entries: readonly Entry[];
  /** Packages that came out of its images, by repository. */
  readonly packages: readonly AffectedPackages[];
}

/** What happens to the packages of a repository when images go. */
export interface AffectedPackages {
  readonly repository: string;
  /** Paths of those that nothing else brought. */
  readonly removed: readonly string[];
  /** How many stay, because another release or an import of their own brought them, too. */
  readonly kept: number;
}

export interface DeletedVersion {
  readonly version: string;
  readonly removed: readonly { readonly repository: string; readonly path: string; readonly size: number }[];
  readonly packages: readonly AffectedPackages[];
  /** The new published revision of each repository concerned. */
  readonly revisions: Readonly<Record<string, number>>;
}

/**
 * What a person's spelling of a version means among the published releases. A file name means the files of that name
 * only.
 * @returns the artifacts of that one release
 * @throws release.not-found, usage.ambiguous with the list
 */
export async function findVersion(catalog: Catalog, spelling: string): Promise<[Entry, ...Entry[]]> {
  const releases = await catalog.releases();
  const groups = matchVersion(spelling, releases, (entry) => parseRelease(entry.artifact.name))
    .map((group) => (isFileName(spelling) ? group.filter(({ artifact }) => artifact.name === spelling) : group))
    .filter((group) => group.length > 0);
  const [first, ...others] = groups;
  const [entry, ...entries] = first ?? [];
  if (entry === undefined) {
    const known = isFileName(spelling)
      ? releases.map(({ artifact }) => artifact.name)
      : releases.map(({ artifact }) => artifact.release?.version);
    const available = [...new Set(known)];
    const list = available.map((each) => quoteUnsafe(each ?? '')).join(', ');
    throw new AirlockError(
      'release.not-found',
      `No release here is called ${quote(spelling)}. ${list === '' ? 'Nothing was imported yet.' : `There are: ${list}.`}`,
      { details: { available } },
    );
  }
  if (others.length === 0) return [entry, ...entries];
  const versions = groups.map((group) => group[0]?.artifact.release?.version);
  throw new AirlockError(
    'usage.ambiguous',
    `${quote(spelling)} fits several releases: ${versions.map((each) => quoteUnsafe(each ?? '')).join(', ')}. Name one of them.`,
    { details: { versions } },
  );
}

/** @throws as findVersion */
export async function findDeletion(catalog: Catalog, spelling: string): Promise<Deletion> {
  const named = await findVersion(catalog, spelling);
  // One release may be spelled per distribution: 6.3.0-107.r1.el7 and …el9.
  const versions = new Map(named.map(({ artifact: { release } }) => [release?.version ?? '', release?.vendor ?? '']));
  const entries: Entry[] = [];
  for (const [version, vendor] of versions) {
    const all = await catalog.entriesOfVersion(vendor, version);
    for (const entry of all) if (isNamed(entry, named) || isSidecarOf(entry, named, all)) entries.push(entry);
  }
  const packages = await affectedPackages(catalog, imagesOf(entries));
  return { version: [...versions.keys()].join(', '), entries, packages };
}

function imagesOf(entries: readonly Entry[]): ReadonlySet<Digest> {
  return new Set(entries.map(({ artifact }) => artifact.digest));
}

async function affectedPackages(catalog: Catalog, images: ReadonlySet<Digest>): Promise<AffectedPackages[]> {
  const keep = withoutImages(images);
  const affected: AffectedPackages[] = [];
  for (const [repository, entries] of await broughtBy(catalog, images)) {
    const gone = entries.filter((entry) => keep(entry) === 'withdrawn').map(({ path }) => path);
    affected.push({ repository, removed: gone, kept: entries.length - gone.length });
  }
  return affected;
}

/**
 * Takes out what was found, but for paths that hold something else by now.
 * @throws release.not-found if nothing of it is left
 */
export async function deleteVersion(context: PackagesContext, deletion: Deletion): Promise<DeletedVersion> {
  const leases = new Leases();
  try {
    return await untilSettled(() => deleteOnce(context, deletion, leases));
  } catch (error) {
    await abandon(context, leases);
    throw error;
  }
}

async function deleteOnce(
  context: PackagesContext,
  { version, entries }: Deletion,
  leases: Leases,
): Promise<DeletedVersion> {
  const { catalog } = context;
  const byRepository = Object.groupBy(entries, (entry) => entry.repository);
  const revisions: Record<string, number> = {};
  const images = imagesOf(entries);
  const packages = await affectedPackages(catalog, images);
  const edit = { reason: `delete ${version}`, keep: withoutImages(images) };
  const changes: PreparedChange[] = [];
  for (const { repository } of packages) changes.push(await prepareChange(context, { repository, ...edit }, leases));
  const removed = await catalog.transaction(async (tx) => {
    const gone: Entry[] = [];
    for (const [repository, list = []] of Object.entries(byRepository)) {
      const withdraw: string[] = [];
      for (const entry of list) {
        const now = await tx.lookup(repository, entry.path);
        if (now?.artifact.digest !== entry.artifact.digest) continue;
        withdraw.push(entry.path);
        gone.push(entry);
      }
      if (withdraw.length === 0) continue;
      revisions[repository] = await tx.publish(repository, { reason: edit.reason, withdraw });
    }
    for (const change of changes) revisions[change.repository] = await change.publish(tx);
    await endLeases(tx, leases);
    return gone;
  });
  if (removed.length === 0) {
    throw new AirlockError(
      'release.not-found',
      `${version} was deleted by somebody else meanwhile. Nothing is left to do.`,
    );
  }
  return {
    version,
    removed: removed.map(({ repository, path, artifact: { size } }) => ({ repository, path, size })),
    packages,
    revisions,
  };
}

/** True for `SSR-….iso`, false for `6.3.0-107.r1.el7`. */
function isFileName(spelling: string): boolean {
  const parsed = parseRelease(spelling);
  return parsed !== undefined && parsed.form !== 'version' && parsed.form !== 'selector';
}

function isNamed(entry: Entry, named: readonly Entry[]): boolean {
  return named.some(({ repository, path }) => repository === entry.repository && path === entry.path);
}

/**
 * A sidecar goes with the file that it is named for. Where that is not published (the checksum file of a tar beside its
 * ISO, vendor.md A1), it goes with the last file that has its stem, and the last one of the release takes what is left.
 */
function isSidecarOf(entry: Entry, named: readonly Entry[], all: readonly Entry[]): boolean {
  if (entry.artifact.release?.kind !== null) return false;
  const target = entry.path.replace(/(\.sha256sum)?(\.asc)?$/, '');
  const files = all.filter(
    ({ repository, artifact }) => repository === entry.repository && artifact.release?.kind !== null,
  );
  const own = files.filter(({ path }) => path === target);
  const akin = own.length > 0 ? own : files.filter(({ path }) => stemOf(path) === stemOf(target));
  const holders = akin.length > 0 ? akin : files;
  return holders.every((each) => isNamed(each, named));
}

function stemOf(path: string): string {
  return path.replace(/\.(iso|tar|qcow2?|(ztp\.)?raw\.gz)$/, '');
}
