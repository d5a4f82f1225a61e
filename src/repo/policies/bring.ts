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
import type { Pulled } from '../catalog/pulled.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { abandon, endLeases, Leases, type Stores, storeBytes } from '../staging.ts';
import { formatOf, type Widening, wideningBetween } from './compare.ts';
import { readableText, readJson } from './json-text.ts';
import { POLICIES, policyName, policySet, versionPath } from './policy-name.ts';
import { type Change, type Planned, pendingVersion, type Settled, settleSets } from './settle.ts';
import {
  artifactOf,
  heldPath,
  newestVersion,
  nextVersion,
  type PolicyOrigin,
  type PolicyVersion,
  pulledOf,
  readVersion,
  rejectedVersion,
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
   * `completed`: known bytes, which now go with another release; `rejected`: a person refused it, these very bytes or now.
   */
  readonly outcome: 'published' | 'held' | 'present' | 'completed' | 'rejected';
  readonly version: PolicyVersion;
  /** What was published of it until now, if anything: `NAME@N`. */
  readonly before: string | null;
  /** Parts of its set that it waits for. */
  readonly waitsFor: readonly string[];
  /** Versions of other parts, held until now, that were published along: `NAME@N`. */
  readonly along: readonly string[];
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
  const leases = new Leases();
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
        await endLeases(tx, leases);
      });
      return outcomes(settled, along);
    });
  } catch (error) {
    await abandon(stores, leases);
    throw error;
  }
}

/**
 * What `bringPolicies` would do.
 * @throws path.invalid, policy.empty, policy.limit
 */
export async function previewPolicies(stores: Stores, texts: readonly PolicyText[]): Promise<readonly BroughtPolicy[]> {
  for (const text of texts) requireSound(text);
  const planned: Planned[] = [];
  for (const text of texts) planned.push(await plan(stores, text));
  const { settled, along } = await settleSets(stores, planned);
  return outcomes(settled, along);
}

function outcomes(settled: readonly Settled[], others: readonly Change[]): BroughtPolicy[] {
  return settled.map(({ outcome, version, before, waitsFor }) => {
    const stem = policySet(version.name)?.stem;
    const own = others.filter(({ version: { name } }) => policySet(name)?.stem === stem);
    return {
      outcome,
      version,
      before,
      waitsFor,
      along: own.map((each) => versionPath(each.version.name, each.version.version)),
    };
  });
}

/** @throws path.invalid, policy.empty, policy.limit for what cannot become a version */
export function requireSound({ name, bytes, force }: Pick<PolicyText, 'name' | 'bytes' | 'force'>): void {
  policyName(name);
  if (bytes.byteLength > limits.policy.bytes) {
    throw tooLarge(name, `it has more than ${limits.policy.bytes} bytes`);
  }
  const { text } = readableText(bytes);
  if (force !== true && text.trim() === '') {
    throw new AirlockError(
      'policy.empty',
      `The text for policy ${name} is empty, which is hardly what its vendor meant. Get it again; if it is meant, "airlock import policy ${name} FILE force" takes it as it is.`,
    );
  }
  const reading = readJson(text);
  if (!reading.ok && reading.isTooDeep) throw tooLarge(name, reading.why);
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
  const before = newest === undefined ? null : versionPath(name, newest.version);
  if (pending?.digest === digest) return { text, kind: 'pending', before, ...withReleases(pending, releases) };
  if (newest?.digest === digest) return { text, kind: 'current', before, ...withReleases(newest, releases) };
  const refused = await rejectedVersion(stores.catalog, name, digest);
  if (refused !== undefined) return { text, kind: 'rejected', before, version: refused, isCompleted: false };
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
    rejected: null,
  };
  return { text, kind: 'new', before, version, isCompleted: false };
}

function withReleases(version: PolicyVersion, releases: readonly string[]): Pick<Planned, 'version' | 'isCompleted'> {
  const all = [...new Set([...version.releases, ...releases])].slice(0, limits.policy.releases);
  return { version: { ...version, releases: all }, isCompleted: all.length > version.releases.length };
}

/** Where the older bytes are gone, nobody can tell. */
async function wideningOf(stores: Stores, newest: PolicyVersion, bytes: Uint8Array): Promise<Widening> {
  try {
    return wideningBetween(await readVersion(stores, newest), bytes);
  } catch (error) {
    if (isAirlockError(error, 'blob.missing', 'blob.damaged')) return 'unknown';
    throw error;
  }
}

/** Publishes and holds versions whose bytes are recorded. */
export async function write(
  tx: CatalogTransaction,
  changes: readonly Change[],
  { base, reason }: { base: number; reason: string },
): Promise<void> {
  const put: Put[] = [];
  const hold: Pulled[] = [];
  const unhold: string[] = [];
  for (const { version, write: how } of changes) {
    const { name, version: number } = version;
    if (how === 'hold') hold.push(pulledOf(version));
    if (how !== 'publish') continue;
    const artifact = artifactOf(version);
    // Of a known version, what is said about it may change, never its bytes.
    put.push({ path: versionPath(name, number), artifact });
    const newest = await tx.lookup(POLICIES, name);
    if (Number(newest?.artifact.facts.version ?? 0) <= number) put.push({ path: name, artifact, replace: true });
    unhold.push(heldPath(name, number));
  }
  await tx.ensureRepository(POLICIES, 'policy');
  await tx.publish(POLICIES, { reason, base, put, hold, unhold });
}
