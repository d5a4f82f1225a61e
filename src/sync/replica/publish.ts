/**
 * The end of a replication: what was planned, and whose bytes are here, becomes visible in one transaction per repository,
 * with the note of how far the twin was seen.
 */
import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { digestOfBytes } from '../../repo/blobs/digest-of.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import type { CatalogTransaction, Entry, Put } from '../../repo/catalog/catalog.ts';
import { readVendorKeys } from '../../repo/formats/openpgp/key-files.ts';
import type { RepositoryKey } from '../../repo/formats/openpgp/repository-key.ts';
import { verifyDetached } from '../../repo/formats/openpgp/verify-detached.ts';
import { marksKey } from '../../repo/http/replica-marks.ts';
import {
  BUNDLE_SOURCE,
  isVerbatim,
  type PackageEdit,
  type PackagesContext,
  PEER_SOURCE,
  prepareChange,
  REPOMD,
  REPOMD_SIGNATURE,
  VENDOR_KEY_PREFIX,
} from '../../repo/packages/prepare-change.ts';
import { endLeases, type Leases } from '../../repo/staging.ts';
import type { Taken } from './findings.ts';
import type { RepositoryPlan } from './plan.ts';

/**
 * @param reason for the revision
 * @returns the published revision
 * @throws revision.moved if somebody else published meanwhile; path.conflict, blob.missing, space.insufficient
 */
export async function publishPlan(
  context: PackagesContext,
  plan: RepositoryPlan,
  { reason, leases }: { reason: string; leases: Leases },
): Promise<number> {
  const { repository, base } = plan;
  const publish = plan.isListed ? await packageChange(context, plan, { reason, leases }) : fileChange(plan, reason);
  return await context.catalog.transaction(async (tx) => {
    await tx.ensureRepository(repository, plan.kind);
    const revision = await publish(tx);
    const merged = revision > base ? withRange(plan.marks.merged, [base + 1, revision]) : plan.marks.merged;
    await tx.setMeta(marksKey(repository), JSON.stringify({ ...plan.marks, merged }));
    await endLeases(tx, leases);
    return revision;
  });
}

type Publish = (tx: CatalogTransaction) => Promise<number>;

function fileChange({ repository, base, take, drop }: RepositoryPlan, reason: string): Publish {
  const change = { ...removals(drop), put: take.map(putOf) };
  const isNothing = take.length + drop.length === 0 && base > 0;
  return async (tx) => (isNothing ? base : await tx.publish(repository, { reason, base, ...change }));
}

function removals(drop: RepositoryPlan['drop']): { remove: string[]; withdraw: string[] } {
  const paths = (isWithdrawn: boolean) =>
    drop.filter((each) => each.isWithdrawn === isWithdrawn).map(({ path }) => path);
  return { remove: paths(false), withdraw: paths(true) };
}

function putOf({ path, artifact, how }: Taken): Put {
  return { path, artifact, replace: how !== 'take' };
}

/** Metadata is written for the packages; keys and a signature of the twin are no content of it. */
async function packageChange(
  context: PackagesContext,
  plan: RepositoryPlan,
  { reason, leases }: { reason: string; leases: Leases },
): Promise<Publish> {
  const { repository, base, take, drop } = plan;
  const isKey = ({ path }: { readonly path: string }) => path.startsWith(VENDOR_KEY_PREFIX);
  const content = { take: take.filter((each) => !isKey(each)), drop: drop.filter((each) => !isKey(each)) };
  const isChanged =
    content.take.length + content.drop.length > 0 || base === 0 || (await isVerbatim(context.catalog, repository));
  const change = isChanged
    ? await prepareChange(context, { ...packageEdit({ ...plan, ...content }, context), reason }, leases)
    : undefined;
  const adopted = isChanged ? undefined : await otherSignature(context, plan);
  const keys = take.filter(isKey).map(({ path, artifact }) => ({ path, artifact: ofPeer(artifact), replace: true }));
  const put: Put[] = [
    ...keys,
    ...(adopted === undefined ? [] : [{ path: REPOMD_SIGNATURE, artifact: adopted, replace: true }]),
  ];
  const gone = removals(drop.filter(isKey));
  return async (tx) => {
    const revision = (await change?.publish(tx)) ?? base;
    if (put.length + gone.remove.length + gone.withdraw.length === 0) return revision;
    return await tx.publish(repository, { reason, base: revision, put, ...gone });
  };
}

/** A bundle goes on to vouch for the keys that it brought. */
function ofPeer(artifact: Artifact): Artifact {
  return artifact.source.startsWith(BUNDLE_SOURCE) ? artifact : { ...artifact, source: PEER_SOURCE };
}

function packageEdit(plan: RepositoryPlan, context: PackagesContext): Omit<PackageEdit, 'reason'> {
  const { repository, take, drop } = plan;
  const refreshed = new Map(take.filter(({ how }) => how === 'refresh').map(({ path, artifact }) => [path, artifact]));
  const replaced = new Set(take.filter(({ how }) => how === 'replace').map(({ path }) => path));
  const fate = new Map(drop.map(({ path, isWithdrawn }) => [path, isWithdrawn ? 'withdrawn' : 'gone'] as const));
  return {
    repository,
    add: take.filter(({ how }) => how !== 'refresh'),
    keep: (entry: Entry) => fate.get(entry.path) ?? refreshed.get(entry.path) ?? entry.artifact,
    mayReplace: ({ path }) => replaced.has(path),
    endsVerbatim: true, // the twin has ended it, and had seen what was here (plan.ts)
    signature: (text, key) => goodSignature(context, plan.signature?.artifact, { text, key }),
  };
}

/**
 * Two who share a key and merged at the same time have signed the same metadata at different moments: both settle on the
 * signature with the lower digest.
 */
async function otherSignature(context: PackagesContext, plan: RepositoryPlan): Promise<Artifact | undefined> {
  const { catalog, blobs, repositoryKey } = context;
  const theirs = plan.signature?.artifact;
  const ours = (await catalog.lookup(plan.repository, REPOMD_SIGNATURE))?.artifact;
  const repomd = (await catalog.lookup(plan.repository, REPOMD))?.artifact;
  if (theirs === undefined || ours === undefined || repomd === undefined || theirs.digest >= ours.digest)
    return undefined;
  if (theirs.facts.signed !== repomd.digest || theirs.facts.key !== ours.facts.key) return undefined;
  const reader = await blobs.open(repomd.digest);
  try {
    const text = Buffer.alloc(reader.size);
    await reader.readAt(text, 0);
    return await goodSignature(context, theirs, { text, key: await repositoryKey() });
  } finally {
    await reader.close();
  }
}

/** @returns the twin's signature, if it is one of our own key over this metadata; its bytes are here then */
async function goodSignature(
  { blobs }: PackagesContext,
  theirs: Artifact | undefined,
  { text, key }: { text: Buffer; key: RepositoryKey },
): Promise<Artifact | undefined> {
  if (theirs === undefined || theirs.size > limits.signatureFile) return undefined;
  if (theirs.facts.key !== key.fingerprint || theirs.facts.signed !== digestOfBytes(text)) return undefined;
  const now = new Date();
  try {
    const reader = await blobs.open(theirs.digest);
    const signature = Buffer.alloc(reader.size);
    await reader.readAt(signature, 0).finally(() => reader.close());
    const keys = await readVendorKeys(Buffer.from(key.publicKey), now);
    const { outcome } = await verifyDetached({ signed: text, signature, keys, now });
    return outcome === 'good' ? theirs : undefined;
  } catch (error) {
    if (isAirlockError(error)) return undefined; // we sign ourselves
    throw error;
  }
}

/** Ranges that touch become one. */
function withRange(
  ranges: readonly (readonly [number, number])[],
  [first, last]: readonly [number, number],
): readonly (readonly [number, number])[] {
  const before = ranges.at(-1);
  return before !== undefined && before[1] + 1 === first
    ? [...ranges.slice(0, -1), [before[0], last]]
    : [...ranges, [first, last]];
}
