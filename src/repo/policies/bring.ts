/**
 * Policy texts on their way in, fetched or from a file: each becomes a version where its bytes are new, and is published
 * unless somebody has to look at it first or other parts of its set are still missing. All in one transaction.
 */

import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobStat } from '../blobs/blob-store.ts';
import { digestOfBytes } from '../blobs/digest-of.ts';
import type { Verification } from '../catalog/artifact.ts';
import type { CatalogTransaction, Put } from '../catalog/catalog.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { abandon, type Leases, type Stores, storeBytes } from '../staging.ts';
import { comparePolicies, formatOf, type Widening } from './compare.ts';
import { readJson, utf8Text } from './json-text.ts';
import { POLICIES, policyName, policySet, versionPath } from './policy-name.ts';
import {
  artifactOf,
  heldPath,
  heldVersions,
  newestVersion,
  nextVersion,
  type PolicyOrigin,
  type PolicyVersion,
  pulledOf,
  readVersion,
  type Validators,
} from './versions.ts';

export interface PolicyText {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** As its vendor calls the file. */
  readonly fileName: string;
  readonly origin: PolicyOrigin;
  readonly validators?: Validators;
  readonly at: Date;
  readonly verification: Verification;
  /** As in Artifact. */
  readonly channel: string;
  readonly source: string;
  readonly releases?: readonly string[];
  /** A version that makes more possible than the published one, or may do so, waits for `approvePolicy`. */
  readonly holdWidening?: boolean;
  /** Take an empty text. */
  readonly force?: boolean;
}

export interface BroughtPolicy {
  /**
   * `published`: it is now the newest; `held`: it is not, `version.held` says why; `present`: nothing to do;
   * `completed`: known bytes, which now go with another release.
   */
  readonly outcome: 'published' | 'held' | 'present' | 'completed';
  readonly version: PolicyVersion;
  /** Parts of its set that it waits for. */
  readonly waitsFor: readonly string[];
  /** Versions of other parts, held until now, that were published along: `NAME@N`. */
  readonly along: readonly string[];
}

/** What becomes of one text. */
interface Planned {
  readonly text: PolicyText;
  /** New bytes, those of the newest held version, or those that are published. */
  readonly kind: 'new' | 'pending' | 'current';
  /** Known bytes that go with one more release now. */
  readonly isCompleted: boolean;
  readonly version: PolicyVersion;
}

/**
 * @param texts of different names; those of a set that come together belong together
 * @param reason of the revision, for a person
 * @returns in the order of `texts`
 * @throws path.invalid, policy.empty, policy.limit, repository.kind, space.insufficient; nothing is changed then
 */
export async function bringPolicies(
  stores: Stores,
  texts: readonly PolicyText[],
  reason: string,
): Promise<readonly BroughtPolicy[]> {
  for (const text of texts) requireSound(text);
  const leases: Leases = new Set();
  const stored = new Map<string, BlobStat>();
  try {
    return await untilSettled(async () => {
      const base = (await stores.catalog.repository(POLICIES))?.published ?? 0;
      const planned: Planned[] = [];
      for (const text of texts) planned.push(await plan(stores, text));
      const { settled, along } = await settleSets(stores, planned);
      for (const { text, version, write: how } of settled) {
        if (how !== 'nothing' && !stored.has(version.digest))
          stored.set(version.digest, await storeBytes(stores, text.bytes, leases));
      }
      const isChange = along.length > 0 || settled.some(({ write: how }) => how !== 'nothing');
      if (!isChange) return outcomes(settled, along);
      await stores.catalog.transaction(async (tx) => {
        for (const stat of stored.values()) await tx.recordBlob(stat);
        await write(tx, [...settled, ...along], { base, reason });
        for (const digest of leases) await tx.release(digest);
      });
      return outcomes(settled, along);
    });
  } catch (error) {
    await abandon(stores, leases);
    throw error;
  }
}

function outcomes(settled: readonly Settled[], others: readonly Change[]): BroughtPolicy[] {
  return settled.map(({ outcome, version, waitsFor }) => {
    const stem = policySet(version.name)?.stem;
    const own = others.filter(({ version: { name } }) => policySet(name)?.stem === stem);
    return {
      outcome,
      version,
      waitsFor,
      along: own.map((each) => versionPath(each.version.name, each.version.version)),
    };
  });
}

/** @throws path.invalid, policy.empty, policy.limit */
function requireSound({ name, bytes, force }: PolicyText): void {
  policyName(name);
  if (bytes.byteLength > limits.policy.bytes) {
    throw tooLarge(name, `it has more than ${limits.policy.bytes} bytes`);
  }
  const text = utf8Text(bytes);
  if (force !== true && (bytes.byteLength === 0 || text?.trim() === '')) {
    throw new AirlockError(
      'policy.empty',
      `The text for policy ${name} is empty, which is hardly what its vendor meant. Get it again, or say "force" to take it as it is.`,
    );
  }
  const reading = text === undefined ? undefined : readJson(text);
  if (reading?.ok === false && reading.isTooDeep) throw tooLarge(name, reading.why);
}

function tooLarge(name: string, why: string): AirlockError {
  return new AirlockError(
    'policy.limit',
    `The text for policy ${name} is no policy: ${why}. Check that this is the right file.`,
  );
}

async function plan(stores: Stores, text: PolicyText): Promise<Planned> {
  const { name, bytes, releases = [] } = text;
  const digest = digestOfBytes(bytes);
  const newest = await newestVersion(stores.catalog, name);
  const pending = await pendingVersion(stores, name, newest);
  if (pending?.digest === digest) return { text, kind: 'pending', ...withReleases(pending, releases) };
  if (newest?.digest === digest) return { text, kind: 'current', ...withReleases(newest, releases) };
  const widening = newest === undefined ? null : await wideningOf(stores, newest, bytes);
  const widens = text.holdWidening === true && widening !== null && widening !== 'no';
  const { origin, validators = {}, at, verification, channel, source, fileName } = text;
  const version: PolicyVersion = {
    name,
    version: await nextVersion(stores.catalog, name, digest),
    digest,
    size: bytes.byteLength,
    at: at.toISOString(),
    origin,
    validators,
    format: formatOf(bytes),
    widening,
    releases: [...releases],
    approvedAt: null,
    verification,
    fileName,
    channel,
    source,
    held: widens ? { widens, waits: false } : null,
  };
  return { text, kind: 'new', version, isCompleted: false };
}

/** The newest held version, if it is newer than what is published. */
async function pendingVersion(
  { catalog }: Stores,
  name: string,
  newest: PolicyVersion | undefined,
): Promise<PolicyVersion | undefined> {
  const last = (await heldVersions(catalog, name)).at(-1);
  return last !== undefined && last.version > (newest?.version ?? 0) ? last : undefined;
}

function withReleases(version: PolicyVersion, releases: readonly string[]): Pick<Planned, 'version' | 'isCompleted'> {
  const all = [...new Set([...version.releases, ...releases])].slice(0, limits.policy.releases);
  return { version: { ...version, releases: all }, isCompleted: all.length > version.releases.length };
}

/** Where the older bytes are gone, nobody can tell. */
async function wideningOf(stores: Stores, newest: PolicyVersion, bytes: Uint8Array): Promise<Widening> {
  try {
    return comparePolicies(await readVersion(stores, newest), bytes).widening;
  } catch (error) {
    if (isAirlockError(error, 'blob.missing', 'blob.damaged')) return 'unknown';
    throw error;
  }
}

/** A version as it is to be after this, and how that differs from what is. */
interface Settled extends Omit<BroughtPolicy, 'along'> {
  readonly text: PolicyText;
  /** Publish it, keep it as held, or leave all as it is. */
  readonly write: 'publish' | 'hold' | 'nothing';
}

/** A version that is to be written down. */
export type Change = Pick<Settled, 'version' | 'write'>;

async function settleSets(
  stores: Stores,
  planned: readonly Planned[],
): Promise<{ settled: Settled[]; along: Change[] }> {
  const along: Change[] = [];
  const missing = new Map<string, readonly string[]>();
  const stems = new Set(planned.map(({ version }) => policySet(version.name)?.stem));
  for (const stem of stems) {
    if (stem === undefined) continue;
    const own = planned.filter(({ version }) => policySet(version.name)?.stem === stem);
    const set = await lookAtSet(stores, stem, own);
    missing.set(stem, set.missing);
    if (set.missing.length === 0) along.push(...set.waiting.map((version) => published(version)));
  }
  const settled = planned.map((each): Settled => {
    const stem = policySet(each.version.name)?.stem;
    return settle(each, stem === undefined ? undefined : missing.get(stem));
  });
  return { settled, along };
}

/** @param missing parts of its set that are not here, or have to be approved; undefined: it stands alone */
function settle({ text, kind, version, isCompleted }: Planned, missing: readonly string[] | undefined): Settled {
  if (kind === 'current') {
    const how = { outcome: isCompleted ? 'completed' : 'present', write: isCompleted ? 'publish' : 'nothing' } as const;
    return { text, version, waitsFor: [], ...how };
  }
  const waits = missing !== undefined && missing.length > 0;
  // What was held because it makes more possible stays held, also where it is brought by somebody who would not ask.
  const widens = version.held?.widens === true;
  if (!widens && !waits) return { text, outcome: 'published', waitsFor: [], ...published(version) };
  const waitsFor = (missing ?? []).filter((name) => name !== version.name);
  return { text, outcome: 'held', version: { ...version, held: { widens, waits } }, waitsFor, write: 'hold' };
}

function published(version: PolicyVersion): { version: PolicyVersion; write: 'publish' } {
  return { version: { ...version, held: null }, write: 'publish' };
}

/**
 * The parts of a set: those that come now or were brought before and wait, and those that are missing or still have to be
 * approved. A published part counts as missing: when one part changes, the others have to be brought again, changed or not.
 */
async function lookAtSet(
  stores: Stores,
  stem: string,
  own: readonly Planned[],
): Promise<{ missing: string[]; waiting: PolicyVersion[] }> {
  const missing: string[] = [];
  const waiting: PolicyVersion[] = [];
  for (const name of await partsOf(stores, stem, own)) {
    const now = own.find(({ version }) => version.name === name);
    const pending = await pendingVersion(stores, name, await newestVersion(stores.catalog, name));
    if (now !== undefined) {
      if (now.version.held?.widens === true) missing.push(name);
    } else if (pending?.held?.widens === false) waiting.push(pending);
    else missing.push(name);
  }
  return { missing, waiting };
}

/** Two at least, and as many as are known. */
async function partsOf({ catalog }: Stores, stem: string, own: readonly Planned[]): Promise<string[]> {
  let last = Math.max(2, ...own.map(({ version }) => policySet(version.name)?.part ?? 0));
  for (let part = last + 1; part <= 9; part += 1) {
    const name = `${stem}-${part}`;
    const isKnown = (await newestVersion(catalog, name)) ?? (await heldVersions(catalog, name))[0];
    if (isKnown !== undefined) last = part;
  }
  return Array.from({ length: last }, (_, index) => `${stem}-${index + 1}`);
}

/** Publishes and holds versions whose bytes are recorded. */
export async function write(
  tx: CatalogTransaction,
  changes: readonly Change[],
  { base, reason }: { base: number; reason: string },
): Promise<void> {
  const put: Put[] = [];
  for (const { version, write: how } of changes) {
    const { name, version: number } = version;
    if (how === 'hold') await tx.keepPulled(pulledOf(version));
    if (how !== 'publish') continue;
    const artifact = artifactOf(version);
    // Of a known version, what is said about it may change, never its bytes.
    put.push({ path: versionPath(name, number), artifact });
    const newest = await tx.lookup(POLICIES, name);
    if (Number(newest?.artifact.facts.version ?? 0) <= number) put.push({ path: name, artifact, replace: true });
    await tx.dropPulled(heldPath(name, number));
  }
  if (put.length === 0) return;
  await tx.ensureRepository(POLICIES, 'policy');
  await tx.publish(POLICIES, { reason, base, put });
}
