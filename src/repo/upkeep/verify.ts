/**
 * `verify`: hashes every stored blob anew, takes out of sight what is not what it was, and looks for published paths
 * whose bytes are gone. Silent rot, which no stamp shows, is found here only.
 *
 * Other processes go on meanwhile: what is wrong is only acted on in a transaction that finds it still so.
 */
import { AirlockError, isAirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat, BlobStore, Digest } from '../blobs/blob-store.ts';
import { digestOf } from '../blobs/digest-of.ts';
import type { BlobRecord, Catalog, CatalogTransaction, Entry } from '../catalog/catalog.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { condemn, stampOf } from '../condemn.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { isContent, isVerbatim, METADATA, type PackagesContext, prepareChange } from '../packages/prepare-change.ts';
import { moveSlice } from '../packages/relocate.ts';
import { abandon, endLeases, heard, Leases, type StagingOptions, throwIfAborted } from '../staging.ts';

/** A blob that is wrong or gone, and what it takes down with it. */
export interface Damage {
  readonly digest: Digest;
  /** `unreadable`: the disk fails where its bytes lie. */
  readonly what: 'damaged' | 'missing' | 'unreadable';
  /** Published paths that hold it: `images/6.3/SSR-….iso`. */
  readonly artifacts: readonly string[];
  /** Where its bytes are kept for a person to look at. */
  readonly quarantined: string | null;
  /** What brings it back; a sentence. */
  readonly remedy: string;
}

export interface VerifyReport {
  readonly checked: number;
  readonly bytes: number;
  /** Blobs that an earlier, unfinished run had checked. */
  readonly resumed: number;
  readonly damage: readonly Damage[];
  /** Paths taken out of what is published (`repair`). */
  readonly withdrawn: readonly string[];
  /** The revisions that `repair` published, by repository. */
  readonly revisions: Readonly<Record<string, number>>;
}

export interface VerifyOptions extends StagingOptions {
  /** Begin anew, although an earlier run was not finished. */
  readonly restart?: boolean;
  /** Publish revisions without what is damaged, so that clients are told 404, not 5xx. */
  readonly repair?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const STARTED = 'verify.started';

/**
 * Checks all blobs. What is wrong is told by `progress.note` as soon as it is found, so an interruption hides nothing.
 * Interrupted, it goes on at the next call where it stopped, if that is not too long ago.
 * @throws interrupted
 */
export async function verify(context: PackagesContext, options: VerifyOptions): Promise<VerifyReport> {
  const { blobs, catalog } = context;
  const since = options.restart === true ? undefined : await unfinished(catalog, options.now());
  if (since === undefined) await catalog.setMeta(STARTED, String(options.now()));
  const { bytes: total } = await catalog.totals();
  const found = new Findings(options);
  let checked = 0;
  let bytes = 0;
  let resumed = 0;
  options.progress.start('verify', total);
  try {
    for await (const record of records(catalog)) {
      throwIfAborted(options.signal);
      if (record.within !== null) continue;
      if (since !== undefined && (await wasChecked(blobs, record, since))) {
        resumed += 1;
        options.progress.advance(record.size);
        continue;
      }
      const damage = await verifyBlob(blobs, catalog, record, options);
      if (damage !== undefined) found.add(damage);
      checked += 1;
      bytes += record.size;
    }
    for await (const record of records(catalog)) {
      throwIfAborted(options.signal);
      const damage = record.within === null ? undefined : await verifySlice(blobs, catalog, record, options);
      if (damage !== undefined) found.add(damage);
    }
    await findLost(catalog, found, options.signal);
  } finally {
    options.progress.stop();
  }
  await catalog.setMeta(STARTED, undefined);
  const repaired = options.repair === true ? await withdraw(context, options) : { withdrawn: [], revisions: {} };
  return { checked, bytes, resumed, damage: found.all, ...repaired };
}

/** What to tell of a finding, to a person. */
export function describeDamage({ digest, what, artifacts, quarantined, remedy }: Damage): string {
  const state = { damaged: 'is damaged', missing: 'is missing', unreadable: 'cannot be read from the disk' }[what];
  const kept = quarantined === null ? '' : `, kept in ${quarantined}`;
  const disk = what === 'unreadable' ? ' Check the disk.' : '';
  return `✖ ${artifacts.map((each) => quoteUnsafe(each)).join(', ') || 'nothing published'}: ${digest} ${state}${kept}. ${remedy}${disk}`;
}

class Findings {
  readonly all: Damage[] = [];
  readonly #digests = new Set<Digest>();
  readonly #options: VerifyOptions;

  constructor(options: VerifyOptions) {
    this.#options = options;
  }

  has(digest: Digest): boolean {
    return this.#digests.has(digest);
  }

  add(damage: Damage): void {
    this.#digests.add(damage.digest);
    this.all.push(damage);
    this.#options.progress.note(describeDamage(damage));
  }
}

/** @returns when the run began that was stopped; undefined if there is none, or it is too long ago to build on */
async function unfinished(catalog: Catalog, now: number): Promise<number | undefined> {
  const started = Number((await catalog.meta(STARTED)) ?? Number.NaN);
  const age = now - started;
  return age >= 0 && age <= limits.verifyResume ? started : undefined;
}

/** Proven since then, and not touched after that. */
async function wasChecked(blobs: BlobStore, record: BlobRecord, since: number): Promise<boolean> {
  if (record.stamp === null || (record.verifiedAt?.getTime() ?? 0) <= since) return false;
  const stored = await blobs.stat(record.digest).catch(() => undefined); // what fails here fails below, and is told
  return stored?.stamp === record.stamp && stored.size === record.size;
}

async function* records(catalog: Catalog): AsyncIterable<BlobRecord> {
  let after: Digest | undefined;
  for (;;) {
    const page = await catalog.blobs({ limit: limits.catalog.page, ...(after === undefined ? {} : { after }) });
    yield* page;
    after = page.at(-1)?.digest;
    if (after === undefined) return;
  }
}

/** What a look at a stored copy gave. `seen` is the copy that was looked at, if there was one. */
type Verdict = { readonly what: 'right'; readonly seen: BlobStat } | Wrong;

interface Wrong {
  readonly what: Damage['what'];
  readonly seen: BlobStat | undefined;
}

/** A copy that others replace again and again while it is being hashed is left to them. */
const ATTEMPTS = 3;

async function verifyBlob(
  blobs: BlobStore,
  catalog: Catalog,
  record: BlobRecord,
  options: StagingOptions,
): Promise<Damage | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const verdict = await examine(blobs, record, options);
    if (verdict.what === 'right') {
      await catalog.transaction((tx) => tx.confirmBlob(verdict.seen));
      return undefined;
    }
    const { digest } = record;
    const outcome = await condemn({ blobs, catalog }, digest, verdict.seen);
    if (outcome === undefined) return undefined;
    if (outcome === 'changed') continue;
    return { digest, what: verdict.what, ...(await concerned(catalog, digest)), ...outcome };
  }
  return undefined;
}

/**
 * A slice is what it was if its image is. Where that is gone or wrong, other images may have the slice, too.
 * @param record of a slice
 */
async function verifySlice(
  blobs: BlobStore,
  catalog: Catalog,
  record: BlobRecord,
  options: StagingOptions,
): Promise<Damage | undefined> {
  const container = record.within === null ? undefined : await catalog.blob(record.within.container);
  const stamp = container === undefined ? undefined : await stampOf(blobs, container.digest);
  if (stamp !== undefined && stamp === container?.stamp) {
    if ((await stampOf(blobs, record.digest)) === record.stamp) return undefined;
  } else if (await moveSlice(blobs, catalog, record)) {
    return undefined;
  }
  return await verifyBlob(blobs, catalog, record, options);
}

/** @throws interrupted; whatever is wrong with the blob or the disk under it is the verdict */
async function examine(blobs: BlobStore, record: BlobRecord, options: StagingOptions): Promise<Verdict> {
  let seen: BlobStat | undefined;
  try {
    seen = await blobs.stat(record.digest);
    if (seen === undefined) return { what: 'missing', seen };
    const reader = await blobs.open(record.digest);
    try {
      seen = { digest: reader.digest, size: reader.size, stamp: reader.stamp };
      const isRight = reader.size === record.size && (await digestOf(reader, heard(options))) === record.digest;
      return isRight ? { what: 'right', seen } : { what: 'damaged', seen };
    } finally {
      await reader.close();
    }
  } catch (error) {
    if (isAirlockError(error, 'blob.missing')) return { what: 'missing', seen: undefined };
    if (systemCode(error) === 'EIO' || systemCode(causeOf(error)) === 'EIO') return { what: 'unreadable', seen };
    if (isAirlockError(error, 'blob.damaged')) return { what: 'damaged', seen };
    throw error;
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}

/** What is published of a blob, and what a person can do about it. */
async function concerned(catalog: Catalog, digest: Digest): Promise<Pick<Damage, 'artifacts' | 'remedy'>> {
  const entries = await catalog.entriesOf(digest);
  const artifacts = entries.map(({ repository, path }) => `${repository}/${path}`);
  for (const name of new Set(entries.map(({ repository }) => repository))) {
    if (await isVerbatim(catalog, name)) return { artifacts, remedy: '"airlock upstream sync" brings it again.' };
  }
  const isOurs = entries.some(({ artifact }) => artifact.channel === METADATA && !isContent(artifact));
  return { artifacts, remedy: isOurs ? '"airlock verify --repair" writes it anew.' : 'Import it again.' };
}

/** Published paths whose blob was forgotten earlier, by whoever found it wrong. */
async function findLost(catalog: Catalog, found: Findings, signal: AbortSignal): Promise<void> {
  for await (const { artifact } of catalog.lostEntries()) {
    throwIfAborted(signal);
    const { digest } = artifact;
    if (found.has(digest)) continue;
    found.add({ digest, what: 'missing', ...(await concerned(catalog, digest)), quarantined: null });
  }
}

/** Publishes, of every repository concerned, a revision without the paths whose blobs are gone. */
async function withdraw(
  context: PackagesContext,
  { signal, progress }: VerifyOptions,
): Promise<Pick<VerifyReport, 'withdrawn' | 'revisions'>> {
  const { catalog } = context;
  const lost: Entry[] = [];
  for await (const entry of catalog.lostEntries()) {
    throwIfAborted(signal);
    lost.push(entry);
  }
  const withdrawn: string[] = [];
  const revisions: Record<string, number> = {};
  for (const [name, entries = []] of Object.entries(Object.groupBy(lost, ({ repository }) => repository))) {
    const isRpm = (await catalog.repository(name))?.kind === 'rpm';
    if (isRpm && (await isVerbatim(catalog, name))) {
      progress.note(leftAlone(name));
      continue;
    }
    const done = isRpm ? await repairPackages(context, name, entries) : await takeOut(catalog, name, entries);
    if (done === undefined) continue;
    revisions[name] = done.revision;
    for (const path of done.paths) withdrawn.push(`${name}/${path}`);
  }
  return { withdrawn, revisions };
}

interface Repaired {
  readonly revision: number;
  /** What is no longer published. */
  readonly paths: readonly string[];
}

async function takeOut(catalog: Catalog, name: string, entries: readonly Entry[]): Promise<Repaired | undefined> {
  return await catalog.transaction(async (tx) => {
    const paths: string[] = [];
    for (const { path, artifact } of entries) {
      // Imported again, or replaced, since it was found.
      if ((await tx.blob(artifact.digest)) !== undefined) continue;
      if ((await tx.lookup(name, path))?.artifact.digest === artifact.digest) paths.push(path);
    }
    if (paths.length === 0) return undefined;
    return { revision: await tx.publish(name, { reason: 'verify --repair', remove: paths }), paths };
  });
}

function leftAlone(name: string): string {
  return `${name} mirrors a vendor's repository with the vendor's own signed metadata, so nothing is taken out of it. "airlock upstream sync" brings what is missing.`;
}

/** Metadata that is lost is written again; it must not name packages that are. */
async function repairPackages(
  context: PackagesContext,
  repository: string,
  entries: readonly Entry[],
): Promise<Repaired> {
  const { catalog } = context;
  const leases = new Leases();
  try {
    return await untilSettled(async () => {
      const lost = new Set<Digest>();
      for (const { artifact } of entries) {
        if ((await catalog.blob(artifact.digest)) === undefined) lost.add(artifact.digest);
      }
      const gone: Entry[] = [];
      const keep = (entry: Entry) => {
        if (!lost.has(entry.artifact.digest)) return entry.artifact;
        gone.push(entry);
        return 'gone';
      };
      const change = await prepareChange(context, { repository, reason: 'verify --repair', keep }, leases);
      return await catalog.transaction(async (tx) => {
        for (const { artifact } of gone) await requireLost(tx, repository, artifact.digest);
        const revision = await change.publish(tx);
        await endLeases(tx, leases);
        return { revision, paths: gone.map(({ path }) => path) };
      });
    });
  } catch (error) {
    await abandon(context, leases);
    throw error;
  }
}

/** @throws revision.moved if it was imported again meanwhile, which need not make a revision */
async function requireLost(tx: CatalogTransaction, repository: string, digest: Digest): Promise<void> {
  if ((await tx.blob(digest)) === undefined) return;
  throw new AirlockError(
    'revision.moved',
    `Files of ${repository} come in again and again. Run the same command again.`,
  );
}
