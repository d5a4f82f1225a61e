/**
 * `import rpm`: packages from files and folders into the repository of a distribution and architecture, all of them or
 * none (vendor.md A11).
 */

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { BlobRecords } from '../blob-records.ts';
import type { BlobStat, Digest } from '../blobs/blob-store.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { nevra } from '../formats/rpm/evr.ts';
import { openRpm } from '../formats/rpm/rpm-file.ts';
import { rpmVerifier, type VerifyRpm } from '../formats/rpm/verify-rpm.ts';
import { examinePackage } from '../packages/examine-package.ts';
import { type FoundPackage, misnamed, type Offender, type PackagePolicy, refusal } from '../packages/iso-packages.ts';
import { type PackagesContext, prepareChange } from '../packages/prepare-change.ts';
import { requirementsOf } from '../packages/read-package.ts';
import { rpmRepositoryName } from '../packages/repository-name.ts';
import { type Incoming, resolve, type Unresolved } from '../packages/resolve.ts';
import { type RevokedContent, revocationOf } from '../revoked.ts';
import {
  abandon,
  commit,
  endLeases,
  Leases,
  requireSpace,
  type StagingOptions,
  stage,
  throwIfAborted,
} from '../staging.ts';
import { hunt } from './hunt.ts';
import { packageArtifact } from './image-packages.ts';
import { openMediumFile } from './medium.ts';

export interface ImportRpmTarget {
  readonly distribution: string;
  readonly architecture: string;
  readonly policy: PackagePolicy;
  /** Publish although something that is required is nowhere. */
  readonly allowMissing?: boolean;
  /** Publish packages for other architectures. */
  readonly allowForeignArch?: boolean;
}

export interface RpmOutcome {
  readonly outcome: 'imported' | 'present';
  readonly file: string;
  readonly path: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  /** `name-version-release.arch` */
  readonly package: string;
  readonly verification: FoundPackage['verification'];
}

export interface ImportRpmReport {
  readonly repository: string;
  /** The published one. */
  readonly revision: number;
  readonly packages: readonly RpmOutcome[];
  /** Published all the same. */
  readonly unresolved: readonly Unresolved[];
  readonly warnings: readonly string[];
}

/** A package on its way. */
interface Arrived extends FoundPackage {
  readonly incoming: Incoming;
}

/**
 * @param files packages, and folders that are searched for `*.rpm`
 * @throws file.not-found, usage.invalid; one error that names all packages that may not come in, with the code of the
 *   first (rpm.*, signature.*, trust.revoked); rpm.foreign-arch, rpm.unresolved, path.conflict, space.insufficient, source.lost,
 *   interrupted. Nothing is published then.
 */
export async function importRpms(
  context: PackagesContext,
  files: readonly string[],
  target: ImportRpmTarget,
  options: StagingOptions,
): Promise<ImportRpmReport> {
  const repository = rpmRepositoryName(target.distribution, target.architecture);
  const { found, skipped } = await packageFiles(files, options);
  const stored = new Stored(context);
  try {
    const arrived = await bringAll(context, found, target, options, stored);
    const warnings = requireArch(arrived, target);
    const { unresolved, knowsPlatform } = await resolve(
      context,
      repository,
      arrived.map(({ incoming }) => incoming),
    );
    if (unresolved.length > 0 && knowsPlatform && target.allowMissing !== true) throw missing(repository, unresolved);
    throwIfAborted(options.signal);
    const { revision, before } = await publish(context, repository, arrived, stored.leases);
    const unverifiable = unresolved.length > 0 && !knowsPlatform ? [unknownPlatform(unresolved.length)] : [];
    return {
      repository,
      revision,
      packages: arrived.map((each) => outcomeOf(each, before)),
      unresolved,
      warnings: [...skipped, ...misnamed(arrived), ...warnings, ...unverifiable],
    };
  } catch (error) {
    await abandon(context, stored.leases, stored.recorded);
    throw error;
  }
}

/**
 * What a call stores. It is written down on the way, for all of it may take longer than a lease lasts: then its age
 * protects it from `prune`, and publishing refuses what went all the same.
 */
class Stored {
  readonly leases = new Leases();
  /** Those that were not here before. */
  readonly recorded = new Set<Digest>();
  readonly #records: BlobRecords;

  constructor(context: PackagesContext) {
    this.#records = new BlobRecords(context);
  }

  async add(stat: BlobStat): Promise<void> {
    this.recorded.add(stat.digest);
    await this.#records.add(stat);
  }

  async flush(): Promise<void> {
    await this.#records.flush();
  }
}

/**
 * What was named, and what is in the folders that were.
 * @returns absolute paths, sorted, each once; and what was passed over, with why
 * @throws file.not-found, source.lost, interrupted
 */
async function packageFiles(
  files: readonly string[],
  { signal }: StagingOptions,
): Promise<{ found: string[]; skipped: string[] }> {
  const found = new Set<string>();
  const folders: string[] = [];
  for (const file of files) {
    const full = path.resolve(file);
    const isFolder = (await stat(full).catch(() => undefined))?.isDirectory() === true;
    if (isFolder) folders.push(full);
    else found.add(full);
  }
  const hunted = await hunt(folders, { signal, pattern: /\.rpm$/i });
  for (const { error } of hunted.lost) throw error;
  for (const file of hunted.files) found.add(file);
  const skipped = hunted.skipped.map(({ file, why }) => `passed over: ${quoteUnsafe(file)} (${why})`);
  if (found.size > 0) return { found: [...found].sort(), skipped };
  throw new AirlockError(
    'file.not-found',
    [`There is no *.rpm in ${files.map((file) => quoteUnsafe(file)).join(', ')}.`, ...skipped].join('\n'),
  );
}

/** Reads, verifies and stores them one after the other; all that is wrong is told at once. */
async function bringAll(
  context: PackagesContext,
  files: readonly string[],
  { policy }: ImportRpmTarget,
  options: StagingOptions,
  stored: Stored,
): Promise<Arrived[]> {
  const checks = { verify: rpmVerifier({ ...policy, keys: context.keys }), revoked: await context.revoked() };
  const arrived = new Map<string, Arrived>();
  const offenders: Offender[] = [];
  for (const file of files) {
    throwIfAborted(options.signal);
    const each = await bring(context, file, checks, options, stored);
    if ('problems' in each) {
      offenders.push(each);
      continue;
    }
    const other = arrived.get(each.path);
    if (other !== undefined && other.digest !== each.digest)
      offenders.push({ file, problems: [sameName(each, other)] });
    arrived.set(each.path, each);
  }
  if (offenders.length > 0) throw refusal(offenders, files.length);
  await stored.flush();
  return [...arrived.values()];
}

async function bring(
  context: PackagesContext,
  file: string,
  { verify, revoked }: { readonly verify: VerifyRpm; readonly revoked: RevokedContent },
  options: StagingOptions,
  stored: Stored,
): Promise<Arrived | Offender> {
  const medium = await openMediumFile(file, { signal: options.signal });
  try {
    await requireSpace(context.blobs, medium.size);
    options.progress.start(quoteUnsafe(medium.name), medium.size);
    const writer = await stage(context.blobs, medium, options);
    try {
      const staged = { size: medium.size, readAt: writer.readAt.bind(writer) };
      const { problems, read } = await examinePackage(staged, verify, { signal: options.signal });
      if (read === undefined) return { file, problems };
      const revocation = revocationOf(revoked, medium.name, read.digest);
      if (revocation !== undefined) return { file, problems: [revocation] };
      // What repodata says of it is kept by the catalog, not here: there may be many thousands.
      const { record, ...good } = read;
      await context.catalog.recordPackages([record]);
      const requires = requirementsOf(await openRpm(staged));
      await commit(context, writer, stored.leases, (stat) => stored.add(stat));
      const { facts, digest } = good;
      return { ...good, file, start: 0, incoming: { facts, digest, provides: record.provides, requires } };
    } finally {
      await writer.cancel();
    }
  } finally {
    options.progress.stop();
    await medium.close();
  }
}

function sameName(one: Arrived, other: Arrived): AirlockError {
  return new AirlockError(
    'path.conflict',
    `it says to be the same package as ${quoteUnsafe(other.file)} (${nevra(one.facts)}) and holds other bytes. Import the right one only.`,
  );
}

/** Those that install on each architecture, beside its own and `noarch`. */
const ALSO: Readonly<Record<string, readonly string[]>> = { x86_64: ['i386', 'i486', 'i586', 'i686'] };

/** @throws rpm.foreign-arch @returns warnings */
function requireArch(arrived: readonly Arrived[], { architecture, allowForeignArch }: ImportRpmTarget): string[] {
  const native = new Set([architecture, 'noarch', ...(ALSO[architecture] ?? [])]);
  const foreign = arrived.filter(({ facts }) => !native.has(facts.arch)).map(({ facts }) => nevra(facts));
  if (foreign.length === 0) return [];
  const named = foreign.slice(0, limits.packages.named).join(', ');
  if (allowForeignArch === true) return [`for another architecture than ${architecture}: ${named}`];
  throw new AirlockError(
    'rpm.foreign-arch',
    `${foreign.length} of ${arrived.length} packages are not for ${architecture}: ${named}. Name their own architecture, or add --allow-foreign-arch. Nothing was imported.`,
    { details: { packages: foreign } },
  );
}

function missing(repository: string, unresolved: readonly Unresolved[]): AirlockError {
  const lines = unresolved
    .slice(0, limits.packages.named)
    .map((each) => `\n  ${each.package} requires ${quoteUnsafe(each.requirement)}`);
  const more = unresolved.length > lines.length ? `\n  and ${unresolved.length - lines.length} more` : '';
  return new AirlockError(
    'rpm.unresolved',
    `What these packages require is neither in ${repository}, nor among them, nor in a list of "airlock import platform":${lines.join('')}${more}\nImport what is missing in the same call, or add --allow-missing. Nothing was imported.`,
    { details: { unresolved } },
  );
}

function unknownPlatform(count: number): string {
  return `${count} requirements could not be checked, because it is not known here what the routers' base system provides. "airlock import platform FILE" tells it (FILE: the output of "rpm -qa --provides" on a router).`;
}

async function publish(
  context: PackagesContext,
  repository: string,
  arrived: readonly Arrived[],
  leases: Leases,
): Promise<{ revision: number; before: ReadonlySet<string> }> {
  return await untilSettled(async () => {
    const before = new Set<string>();
    for (const { path: to, digest } of arrived) {
      if ((await context.catalog.lookup(repository, to))?.artifact.digest === digest) before.add(to);
    }
    const add = arrived.map((each) => ({
      path: each.path,
      artifact: packageArtifact(each, { within: null, release: null }),
    }));
    const [first] = arrived;
    const reason = `import ${first?.file === undefined ? 'rpm' : path.basename(first.path)}${arrived.length > 1 ? ` and ${arrived.length - 1} more` : ''}`;
    const change = await prepareChange(context, { repository, reason, add }, leases);
    const revision = await context.catalog.transaction(async (tx) => {
      const number = await change.publish(tx);
      await endLeases(tx, leases);
      return number;
    });
    return { revision, before };
  });
}

function outcomeOf(
  { file, path: to, digest, size, facts, verification }: Arrived,
  before: ReadonlySet<string>,
): RpmOutcome {
  const outcome = before.has(to) ? 'present' : 'imported';
  return { outcome, file, path: to, digest, size, package: nevra(facts), verification };
}
