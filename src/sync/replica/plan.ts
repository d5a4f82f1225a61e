/**
 * What of the HA twin's repository is to be taken over, found by going through both in the order of paths. Nothing is
 * changed yet.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { RepositoryKind } from '../../repo/catalog/artifact.ts';
import type { Catalog, Entry } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { isReplicated, sideBySide } from '../../repo/http/replica-listing.ts';
import {
  isMerged,
  marksOf,
  nodeOf,
  type RefusedPath,
  type ReplicaMarks,
  revisionMark,
} from '../../repo/http/replica-marks.ts';
import { isVerbatim, REPOMD, REPOMD_SIGNATURE, VENDOR_KEY_PREFIX } from '../../repo/packages/prepare-change.ts';
import { decide, decideKey, type Side } from './decide.ts';
import { type Conflict, type Dropped, Findings, type Taken } from './findings.ts';
import type { Peer, PeerEntry, PeerHead, PeerListing } from './peer.ts';

export interface RepositoryPlan {
  readonly repository: string;
  readonly kind: RepositoryKind;
  /** Of packages, of which metadata has to be written here. */
  readonly isListed: boolean;
  /** Our published revision for which this was made. */
  readonly base: number;
  readonly take: readonly Taken[];
  readonly drop: readonly Dropped[];
  readonly conflicts: readonly Conflict[];
  /** The twin's signature over its metadata, where it may be another one than ours. */
  readonly signature: Taken | undefined;
  /** What is to be remembered when all of this is published. */
  readonly marks: ReplicaMarks;
  /** False: there is more, and the next plan has it. */
  readonly isWhole: boolean;
}

/**
 * @throws repository.kind, path.conflict if there are too many conflicts to remember them, peer.invalid, upstream.*
 */
export async function planRepository(
  catalog: Catalog,
  peer: Peer,
  repository: string,
  signal: AbortSignal,
): Promise<RepositoryPlan> {
  const ours = await catalog.repository(repository);
  const marks = await marksOf(catalog, repository);
  const node = await nodeOf(catalog);
  const from = marks?.seen ?? NOTHING;
  const artifacts = Math.min(from.revision, ...(marks?.refused ?? []).map(({ since }) => Math.max(0, since - 1)));
  let listing = await peer.listing(repository, { from, artifacts, node }, signal);
  try {
    let past = await pastOf(catalog, repository, { marks, node, head: listing.head });
    if (!past.isCommon || !past.isSeen) {
      // What the twin thinks to have from us, or we from it, may be from before a catalog was restored: all is told anew.
      listing.close();
      listing = await peer.listing(repository, { from: NOTHING, artifacts: 0, node: '' }, signal);
      past = { ...(await pastOf(catalog, repository, { marks, node, head: listing.head })), isCommon: past.isCommon };
    }
    const { kind } = listing.head;
    if (ours !== undefined && ours.kind !== kind) throw otherKind(repository, ours.kind, kind);
    return await compare(catalog, listing, past, { repository, base: ours?.published ?? 0 });
  } finally {
    listing.close();
  }
}

/** The plan without what could not be had: that counts as not seen, and so is looked for again. */
export function without(plan: RepositoryPlan, unavailable: ReadonlyMap<Digest, unknown>): RepositoryPlan {
  if (unavailable.size === 0) return plan;
  const isThere = ({ artifact }: Taken) => !unavailable.has(artifact.digest);
  const lost = plan.take.filter((each) => !isThere(each)).map(({ path, since }) => ({ path, since }));
  const refused = [...plan.marks.refused, ...(plan.isWhole ? lost : [])];
  if (refused.length > limits.replica.refused) throw tooMuchLost(plan.repository, lost);
  return { ...plan, take: plan.take.filter(isThere), marks: { ...plan.marks, refused } };
}

const NOTHING = { revision: 0, at: 0 } as const;

/** What the two know of each other. */
interface Past {
  readonly marks: ReplicaMarks | undefined;
  /** The twin has the revision that we saw last. */
  readonly isCommon: boolean;
  /** We have the revision that the twin saw last, if it ever saw any. */
  readonly isSeen: boolean;
  /** It was us whom the twin saw. */
  readonly isUs: boolean;
  /** How far the twin has seen us. */
  readonly theySaw: number;
}

async function pastOf(
  catalog: Catalog,
  repository: string,
  { marks, node, head }: { marks: ReplicaMarks | undefined; node: string; head: PeerHead },
): Promise<Past> {
  const { seen } = head;
  const isUs = seen?.peer === node;
  const own = isUs ? await revisionMark(catalog, repository, seen.revision) : undefined;
  const isSeen = !isUs || own?.at === seen.at;
  return {
    marks,
    isCommon: marks === undefined || (head.isCommon && marks.peer === head.node),
    isSeen,
    isUs,
    theySaw: isUs && isSeen ? seen.revision : 0,
  };
}

async function compare(
  catalog: Catalog,
  { head, lines }: PeerListing,
  { marks, isCommon, isSeen, isUs, theySaw }: Past,
  { repository, base }: { repository: string; base: number },
): Promise<RepositoryPlan> {
  const known = isCommon ? marks : undefined;
  const weRefused = new Map(known?.refused.map(({ path, since }) => [path, since]));
  const theyRefused = new Map(isUs ? head.refused.map(({ path, since }) => [path, since]) : []);
  const isFromUs = isUs && isSeen;
  const sideOf = ({ path, since, artifact: { digest } }: Entry): Side => ({
    digest,
    isSeen: isMerged(known, since) || (since <= theySaw && theyRefused.get(path) !== since),
  });
  const theirSideOf = ({ path, digest, since, isOwn }: PeerEntry): Side => ({
    digest,
    isSeen: (!isOwn && isFromUs) || (since <= (known?.seen.revision ?? 0) && weRefused.get(path) !== since),
  });
  const isListed = head.kind === 'rpm' && !head.isVerbatim;
  await assertMayChange(catalog, repository, head, sideOf);
  const found = new Findings(repository, isListed);
  for await (const [entry, line] of sideBySide(published(catalog, repository, base, head), lines)) {
    const path = entry?.path ?? line?.path ?? '';
    const theirs = line !== undefined && 'digest' in line ? line : undefined;
    if (isListed && path === REPOMD_SIGNATURE) {
      found.sign(theirs);
      continue;
    }
    const [here, there] = [entry && sideOf(entry), theirs && theirSideOf(theirs)];
    const isKey = isListed && path.startsWith(VENDOR_KEY_PREFIX);
    const decision = isKey
      ? decideKey(here, there, entry !== undefined && isMerged(known, entry.since))
      : decide(here, there);
    found.add(decision, { path, entry, theirs, line });
    if (found.isFull) break;
  }
  const { take, drop, conflicts, signature, isFull } = found;
  const refused = conflicts.map(({ path, since }) => ({ path, since }));
  const { revision, at } = head;
  return {
    repository,
    kind: head.kind,
    isListed,
    base,
    take,
    drop,
    conflicts,
    signature,
    isWhole: !isFull,
    marks: isFull
      ? (known ?? { peer: head.node, seen: NOTHING, merged: [], refused: [] })
      : { peer: head.node, seen: { revision, at }, merged: known?.merged ?? [], refused },
  };
}

async function* published(
  catalog: Catalog,
  repository: string,
  revision: number,
  head: PeerHead,
): AsyncGenerator<Entry> {
  for await (const entry of catalog.entries(repository, revision)) if (isReplicated(head, entry)) yield entry;
}

/**
 * A vendor's signed metadata takes the place of ours, or ours of that, only where the twin had seen what is here.
 * @throws repository.mirrored
 */
async function assertMayChange(
  catalog: Catalog,
  repository: string,
  head: PeerHead,
  sideOf: (entry: Entry) => Side,
): Promise<void> {
  const repomd = head.kind === 'rpm' ? await catalog.lookup(repository, REPOMD) : undefined;
  if (repomd === undefined || (await isVerbatim(catalog, repository)) === head.isVerbatim || sideOf(repomd).isSeen)
    return;
  const [one, other] = head.isVerbatim ? ['at the peer', 'here'] : ['here', 'at the peer'];
  throw new AirlockError(
    'repository.mirrored',
    `${repository} mirrors a vendor's repository ${one}, with the vendor's own signed metadata, and holds packages of its own ${other}. Nothing of it is taken over. Name one of the two otherwise.`,
    { details: { repository } },
  );
}

function otherKind(repository: string, ours: RepositoryKind, theirs: RepositoryKind): AirlockError {
  return new AirlockError(
    'repository.kind',
    `The repository ${repository} is of kind ${ours} here, and of kind ${theirs} at the peer. Nothing of it is taken over. Rename one of them.`,
    { details: { repository } },
  );
}

function tooMuchLost(repository: string, lost: readonly RefusedPath[]): AirlockError {
  const paths = lost.slice(0, limits.replica.named).map(({ path }) => path);
  return new AirlockError(
    'blob.missing',
    `The peer cannot give ${lost.length} files of ${repository}: ${paths.map((path) => quoteUnsafe(path)).join(', ')}, …. Nothing of it is taken over. Run "airlock verify" there.`,
    { details: { repository, paths } },
  );
}
