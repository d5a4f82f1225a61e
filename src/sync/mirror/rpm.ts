/**
 * The rule `kind: rpm`: a dnf repository of a site becomes one of ours.
 *
 *   repomd.xml (conditional) → its signature → the metadata that it names → the packages that are not here
 *     → all of them here? → one revision, published at once
 *
 * With the policy `on-demand`, packages come when somebody asks for them (rpm/on-demand.ts, proxy/on-demand.ts).
 *
 * Where the rule means all packages, the vendor's metadata is passed on byte for byte, so the vendor's signature stays valid.
 * Where it leaves some out, metadata is written anew and signed with our key. What went wrong leaves what is published as it
 * is; packages that came stay stored, so that the next run fetches the others only.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { ForeignPackage } from '../../repo/formats/repodata/read-primary.ts';
import { CARRIED_KINDS } from '../../repo/packages/carried.ts';
import { lacking } from '../../repo/packages/lacking.ts';
import { isVerbatim, REPOMD } from '../../repo/packages/prepare-change.ts';
import { abandon, endLeases, Leases } from '../../repo/staging.ts';
import type { Upstream } from '../../repo/upstream/upstream.ts';
import { bringPackages } from './rpm/bring-packages.ts';
import { choosePackages, isFiltering } from './rpm/choose-packages.ts';
import { Fetcher } from './rpm/fetch.ts';
import { type Front, loadFront } from './rpm/front.ts';
import { assertApart, bringMetadata, readPackages, requireSamePackages, unusable } from './rpm/metadata.ts';
import { hasFetchedCopies, mayWait } from './rpm/on-demand.ts';
import { type Content, publish } from './rpm/publish.ts';
import { isWhole, type Published, readPublished } from './rpm/published.ts';
import { findRoots, type Roots } from './rpm/roots.ts';
import { type Run, sitePath } from './rpm/run.ts';
import { keysId, type MirrorState, readState, ruleId } from './rpm/state.ts';
import { failureOf, type MirrorSite, type RuleReport } from './rule.ts';

export interface RpmRule {
  /** Of the repository below the site's URL, without slashes around it; empty for the site itself. */
  readonly path: string;
  /** Ours. */
  readonly repository: string;
  readonly policy: 'immediate' | 'on-demand';
  /** Bring all packages now, whatever the policy says: for those who cannot ask for them. Default: false. */
  readonly complete?: boolean;
  /** So many newest versions of each name and architecture, and what they require; undefined: all. */
  readonly newest?: number | undefined;
  /** Patterns of package names: `128T-*`. None included: all. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Where the site lists its mirrors: a path below its URL, or a web address. */
  readonly mirrorlist?: string | undefined;
  readonly metalink?: string | undefined;
  /** Somebody with a key that is known has to have signed: the metadata, or each package. Else checksums suffice. Default: true. */
  readonly requireSignature?: boolean;
}

export interface RpmSite extends MirrorSite {
  /**
   * Another place of this site, such as a mirror.
   * @param url of the place
   * @returns what asks for paths below it, to be closed; undefined if the configuration does not name its host
   */
  readonly mirrorAt?: (url: URL) => Upstream | undefined;
}

/**
 * Mirrors a repository.
 * @throws interrupted, space.insufficient, storage.failed and whatever else is no fault of the site; published is then what
 *   was published before. Faults of the site, and packages that did not come, stand in the report.
 */
export async function mirrorRpm(site: RpmSite, rule: RpmRule): Promise<RuleReport> {
  const run: Run = { site, rule, fetcher: new Fetcher(site), leases: new Leases(), warnings: [], failures: [] };
  let changes = NOTHING;
  try {
    changes = await sync(run, site);
  } catch (error) {
    if (!isOfTheSite(error)) throw error;
    run.failures.push(failureOf(sitePath(rule, REPOMD), error));
  } finally {
    await letGo(run);
  }
  const { warnings, failures, fetcher } = run;
  const { requests, bytes } = fetcher;
  const waiting = await lacking(site.ingest.catalog, rule.repository);
  const more = waiting === 0 ? {} : { waiting };
  return { rule: `rpm ${rule.path || '.'}`, ...changes, ...more, failures, warnings, bytes, requests };
}

interface Changes {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

const NOTHING: Changes = { added: [], removed: [] };

function isOfTheSite(error: unknown): boolean {
  return (
    isAirlockError(error) &&
    /^(?:upstream|repodata|signature|checksum|path|rpm|trust|repository|config)\./.test(error.code)
  );
}

/** Packages that came before something failed stay for the next run; of a dry run nothing stays. */
async function letGo({ site, leases }: Run): Promise<void> {
  const { catalog } = site.ingest;
  if (site.dryRun) await abandon(site.ingest, leases);
  else if (leases.size > 0) {
    await catalog.transaction(async (tx) => {
      await endLeases(tx, leases);
    });
  }
}

async function sync(run: Run, site: RpmSite): Promise<Changes> {
  const { rule } = run;
  const { catalog } = site.ingest;
  const state = await readState(catalog, site.name, rule);
  const key = sitePath(rule, REPOMD);
  using places = await findRoots(run, site);
  const unless = (await isCurrent(run, state)) ? ((await site.memory.get(key)) ?? NO_VALIDATORS) : undefined;
  const front = await loadFront(run, { ...places, state, unless });
  if (front === undefined) return NOTHING;
  const changes = await bring(run, places, front, state);
  const { etag, modified, digest, bytes } = front;
  if (!site.dryRun && run.failures.length === 0) {
    await site.memory.put(key, { etag, modified, digest, size: bytes.length, isHeld: false });
  }
  return changes;
}

/** There is a state to compare with, but the server's validators for it are not known. */
const NO_VALIDATORS = { etag: null, modified: null };

/** Whether what the last sync came to is what is published, whole, and what the rule would lead to now. */
async function isCurrent({ site, rule }: Run, state: MirrorState | undefined): Promise<boolean> {
  if (state === undefined || state.rule !== ruleId(rule) || state.keys !== keysId(site.ingest.keys)) return false;
  const { catalog } = site.ingest;
  if ((await catalog.repository(rule.repository))?.published !== state.revision) return false;
  if (rule.complete === true && (await lacking(catalog, rule.repository)) > 0) return false;
  if (rule.policy === 'on-demand' && (await hasFetchedCopies(catalog, rule.repository))) return false;
  return await isWhole(catalog, rule.repository);
}

async function bring(run: Run, { roots }: Roots, front: Front, state: MirrorState | undefined): Promise<Changes> {
  const { site, rule } = run;
  const { catalog } = site.ingest;
  const isFiltered = isFiltering(rule);
  const places = [front.root, ...roots.filter((root) => root !== front.root)];
  const files = await bringMetadata(run, places, recordsFor(run, front, isFiltered));
  const primary = files.find(({ record }) => record.type === 'primary');
  if (primary === undefined) throw unusable('its repomd.xml names no primary file');
  const listed = await readPackages(run, primary, isFiltered);
  const chosen = choosePackages(listed, rule);
  if (!isFiltered) assertApart(files, chosen);
  for (const file of files) {
    if (['filelists', 'other'].includes(file.record.type)) await requireSamePackages(run, file, listed);
  }
  const question = {
    repository: rule.repository,
    site: site.name,
    isTrusted: state?.keys === keysId(site.ingest.keys) && (await isVerbatim(catalog, rule.repository)) !== isFiltered,
  };
  const published = await readPublished(catalog, question);
  requireSense(run, published, { listed, chosen, isFiltered });
  const { ready: packages, waiting } = await bringPackages(run, {
    roots: places,
    packages: chosen,
    published,
    isVouchedFor: front.verification.status === 'signature' || rule.requireSignature === false,
    isRecorded: isFiltered,
    mayWait: mayWait(run, front, chosen),
  });
  const changes = changesOf(run, published, { packages, waiting }, isFiltered);
  if (site.dryRun) return changes;
  if (run.failures.length > 0) {
    run.warnings.push(incomplete(run));
    return NOTHING;
  }
  await publish(run, { front, files, packages, waiting }, published, () => readPublished(catalog, question));
  return changes;
}

/** Of a vendor's metadata all, else what our own is made of and carries along. */
function recordsFor({ warnings }: Run, { records }: Front, isFiltered: boolean): Front['records'] {
  if (!isFiltered) return records;
  const left = records.filter(({ type }) => type !== 'primary' && !CARRIED_KINDS.includes(type) && !isMadeAnew(type));
  if (left.length > 0) {
    const types = left.map(({ type }) => type).join(', ');
    warnings.push(`not carried along, because packages were left out: ${types.slice(0, 200)}`);
  }
  return records.filter(({ type }) => type === 'primary' || CARRIED_KINDS.includes(type));
}

/** Other forms of what is there. */
function isMadeAnew(type: string): boolean {
  return /^(?:primary|filelists|other)(?:_db|_zck)?$|^(?:filelists-ext|group_(?:xz|zst|bz2|zck)|updateinfo_zck|modules_zck)$/.test(
    type,
  );
}

interface Chosen {
  readonly listed: readonly ForeignPackage[];
  readonly chosen: readonly ForeignPackage[];
  readonly isFiltered: boolean;
}

/** @throws upstream.unusable for a repository without packages in the place of one that had some; repository.mirrored */
function requireSense({ rule }: Run, { entries, foreign }: Published, { listed, chosen, isFiltered }: Chosen): void {
  const had = [...entries.values()].some(
    ({ artifact: { kind, facts } }) => kind === 'rpm' || Number(facts.lacks ?? 0) > 0,
  );
  if (had && chosen.length === 0) {
    const what = listed.length === 0 ? 'it lists no packages any more' : 'the rule chooses none of its packages';
    throw new AirlockError(
      'upstream.unusable',
      `The repository is not taken over: ${what}, and ${rule.repository} has some. They stay. See that "path", "include" and "exclude" of the rule are right.`,
    );
  }
  if (isFiltered || foreign.length === 0) return;
  throw new AirlockError(
    'repository.mirrored',
    `${rule.repository} holds packages from elsewhere (${foreign[0]}${foreign.length > 1 ? ` and ${foreign.length - 1} more` : ''}), which cannot stand in a vendor's signed metadata. Mirror into another repository.`,
  );
}

function changesOf(
  { rule }: Run,
  { entries }: Published,
  { packages, waiting }: Pick<Content, 'packages' | 'waiting'>,
  isFiltered: boolean,
): Changes {
  const paths = new Map(
    packages.map((each) => [isFiltered ? each.ownPath : each.listed.place.path, each.artifact.digest]),
  );
  const ours = (path: string) => `${rule.repository}/${path}`;
  const added = [...paths].filter(([path, digest]) => entries.get(path)?.artifact.digest !== digest);
  const listed = new Set([...paths.keys(), ...waiting.map(({ place }) => place.path)]);
  const removed = [...entries.values()].filter(({ path, artifact }) => artifact.kind === 'rpm' && !listed.has(path));
  return { added: added.map(([path]) => ours(path)), removed: removed.map(({ path }) => ours(path)) };
}

function incomplete({ rule, failures }: Run): string {
  return `${rule.repository} was not changed: a revision needs all of its packages, and ${failures.length} did not come. Those that came are stored; the next sync fetches the others only.`;
}
