/** What becomes of the paths of a repository, as it is found out one after the other. */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact, Place, VerificationStatus } from '../../repo/catalog/artifact.ts';
import type { Entry } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { RefusedPath } from '../../repo/http/replica-marks.ts';
import type { Decision } from './decide.ts';
import type { PeerEntry, PeerLine } from './peer.ts';

/** To be put into our repository. `join`: the packages' origins of both sides are kept. */
export interface Taken extends RefusedPath {
  readonly artifact: Artifact;
  /** Where its bytes lie at the twin, if they are a slice. */
  readonly within: Place | null;
  readonly how: Extract<Decision, 'take' | 'replace' | 'refresh' | 'join'>;
}

export interface Dropped {
  readonly path: string;
  /** The twin's older revisions lost it, too: its bytes shall go. */
  readonly isWithdrawn: boolean;
}

export interface Conflict extends RefusedPath {
  readonly here: Digest;
  readonly there: Digest;
}

/** What was decided, until it is as much as one revision shall have. */
export class Findings {
  readonly take: Taken[] = [];
  readonly drop: Dropped[] = [];
  readonly conflicts: Conflict[] = [];
  signature: Taken | undefined;
  readonly #repository: string;
  readonly #isListed: boolean;
  #characters = 0;

  constructor(repository: string, isListed: boolean) {
    this.#repository = repository;
    this.#isListed = isListed;
  }

  get isFull(): boolean {
    const { batch, batchBytes } = limits.replica;
    return this.take.length + this.drop.length >= batch || this.#characters >= batchBytes;
  }

  #isWanted(decision: Decision, theirs: Artifact, ours: Artifact | undefined): boolean {
    if (ours === undefined || decision === 'take' || decision === 'replace') return true;
    if (decision === 'join' && !this.#isListed) return isBetter(theirs, ours);
    return canonical(theirs) !== canonical(ours);
  }

  sign(theirs: PeerEntry | undefined): void {
    if (theirs?.artifact !== undefined) this.signature = takenOf(theirs, theirs.artifact, 'take');
  }

  add(
    decision: Decision,
    {
      path,
      entry,
      theirs,
      line,
    }: {
      path: string;
      entry: Entry | undefined;
      theirs: PeerEntry | undefined;
      line: PeerLine | undefined;
    },
  ): void {
    if (decision === 'keep') return;
    if (decision === 'drop') {
      this.drop.push({ path, isWithdrawn: line !== undefined && 'isWithdrawn' in line && line.isWithdrawn });
    } else if (decision === 'conflict') {
      if (entry === undefined || theirs === undefined) return;
      const { digest: there, since } = theirs;
      this.conflicts.push({ path, since, here: entry.artifact.digest, there });
      if (this.conflicts.length > limits.replica.refused) throw tooManyConflicts(this.#repository, this.conflicts);
    } else if (theirs?.artifact === undefined) {
      throw untold(this.#repository, path);
    } else if (this.#isWanted(decision, theirs.artifact, entry?.artifact)) {
      this.take.push(takenOf(theirs, theirs.artifact, decision));
      this.#characters += JSON.stringify(theirs.artifact).length;
    }
  }
}

/** Of two who vouch for the same bytes, both nodes settle on the same one. */
function isBetter(theirs: Artifact, ours: Artifact): boolean {
  const [a, b] = [STATUSES.indexOf(theirs.verification.status), STATUSES.indexOf(ours.verification.status)];
  return a === b ? canonical(theirs) < canonical(ours) : a < b;
}

const STATUSES: readonly VerificationStatus[] = ['signature', 'checksum', 'unverified'];

function takenOf({ path, since, within = null }: PeerEntry, artifact: Artifact, how: Taken['how']): Taken {
  return { path, since, artifact, within, how };
}

/** The same facts as the same text, however they were written down. */
function canonical(artifact: Artifact): string {
  return JSON.stringify(sorted(artifact));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, sorted(each)]),
  );
}

function tooManyConflicts(repository: string, conflicts: readonly Conflict[]): AirlockError {
  const paths = conflicts.slice(0, limits.replica.named).map(({ path }) => path);
  return new AirlockError(
    'path.conflict',
    `More than ${limits.replica.refused} paths of ${repository} hold other bytes here than at the peer: ${paths.map((path) => quoteUnsafe(path)).join(', ')}, …. Nothing of it is taken over. Delete what is wrong on the side where it is wrong.`,
    { details: { repository, paths } },
  );
}

function untold(repository: string, path: string): AirlockError {
  return new AirlockError(
    'peer.invalid',
    `The peer does not say what ${quoteUnsafe(`${repository}/${path}`)} is. Nothing of it was taken. See that both run the same version of Airlock.`,
    { details: { repository, path } },
  );
}
