/**
 * Keeps a conductor in step with its HA twin: asks the twin what it has, and takes over what it changed. Only reading: the
 * twin does the same from its side.
 *
 * Repositories go one after the other, files before packages, which may be slices of them. Each is published in one
 * transaction with the note of how far the twin was seen, so a process that dies anywhere leaves one state or the other, and
 * the bytes that it had brought.
 */
import { AirlockError, type ErrorCode, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { RepositoryKind } from '../../repo/catalog/artifact.ts';
import { untilSettled } from '../../repo/catalog/until-settled.ts';
import { signingKeyOf } from '../../repo/http/replica.ts';
import { marksOf, nodeOf, renewNode } from '../../repo/http/replica-marks.ts';
import type { PackagesContext } from '../../repo/packages/prepare-change.ts';
import { abandon, Leases, type StagingOptions, throwIfAborted } from '../../repo/staging.ts';
import { bring, type Unavailable } from './bring.ts';
import type { Conflict } from './findings.ts';
import type { Peer, PeerState } from './peer.ts';
import { planRepository, type RepositoryPlan, without } from './plan.ts';
import { publishPlan } from './publish.ts';
import { withoutRevoked } from './revoked.ts';

export interface ReplicatorParts {
  /** Keys are read anew each time. */
  readonly context: () => Promise<PackagesContext>;
  readonly peer: Peer;
  /** What was revoked for this site. Asked anew each time. */
  readonly revoked: () => Promise<ReadonlySet<Digest>>;
  /** The name of our own server's process, if it is known: the twin must be another. */
  readonly instance?: string;
}

/** What a look at the twin brought of a repository. */
export interface ReplicatedChange {
  readonly repository: string;
  /** Our published revision after it. */
  readonly revision: number;
  readonly taken: number;
  readonly dropped: number;
}

export interface RepositoryFailure {
  readonly repository: string;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface Round {
  /** Those in which something was published. */
  readonly changes: readonly ReplicatedChange[];
}

/** As it stands after the last look. */
export interface Standing {
  /** Paths that hold other bytes here and there. They stay so until one of the two is deleted. */
  readonly conflicts: readonly (Conflict & { readonly repository: string })[];
  /** Repositories whose metadata the two sign with different keys, by their fingerprints. */
  readonly keys: readonly { readonly repository: string; readonly here: string; readonly there: string }[];
  /** Repositories that could not be taken over. Tried again with each look. */
  readonly failures: readonly RepositoryFailure[];
}

export class Replicator {
  readonly #parts: ReplicatorParts;
  #told: { readonly state: PeerState; readonly etag: string | null } | undefined;
  /** By repository, with our revision for which they were found. */
  readonly #conflicts = new Map<string, { readonly base: number; readonly conflicts: readonly Conflict[] }>();
  readonly #failures = new Map<string, RepositoryFailure>();
  #keys: Standing['keys'] = [];

  constructor(parts: ReplicatorParts) {
    this.#parts = parts;
  }

  get standing(): Standing {
    const conflicts = [...this.#conflicts].flatMap(([repository, found]) =>
      found.conflicts.map((conflict) => ({ repository, ...conflict })),
    );
    return { conflicts, keys: this.#keys, failures: [...this.#failures.values()] };
  }

  /**
   * Looks at the twin, and takes over what is new. Where nothing changed it costs one conditional request.
   * @param onPublished told of each repository when it is published
   * @throws upstream.*, peer.invalid, config.invalid if the twin is this very server, space.insufficient, interrupted,
   *   what store and catalog throw; what was published by then stays, the next round does the rest
   */
  async round(options: StagingOptions, onPublished: (change: ReplicatedChange) => void = () => {}): Promise<Round> {
    const { peer } = this.#parts;
    const context = await this.#parts.context();
    const answer = await peer.state(options.signal, this.#told?.etag ?? null);
    const told = answer ?? this.#told;
    if (told === undefined) return { changes: [] };
    await this.#assertOther(context, told.state);
    const keys = await differingKeys(context, told.state);
    const changes: ReplicatedChange[] = [];
    for (const { name, kind, revision, at } of [...told.state.repositories].sort(byKind)) {
      const maySettle = kind === 'rpm' && this.#hasNowOneKey(name, keys);
      if (!maySettle && !(await this.#isDue(context, told.state.node, { name, revision, at }))) continue;
      throwIfAborted(options.signal);
      const change = await this.#replicate(context, name, options);
      if (change === undefined) continue;
      changes.push(change);
      onPublished(change);
    }
    this.#keys = keys;
    this.#told = told; // only now: a round that failed asks for all of it again
    return { changes };
  }

  /** @throws config.invalid */
  async #assertOther({ catalog }: PackagesContext, { node, instance }: PeerState): Promise<void> {
    if (node !== (await nodeOf(catalog))) return;
    if (instance === this.#parts.instance) {
      throw new AirlockError(
        'config.invalid',
        `"peer" of the configuration is ${this.#parts.peer.origin}, and that is this very server. Name the other conductor of the pair there, and restart.`,
      );
    }
    await renewNode(catalog); // one of the two began as a copy of the other
  }

  /**
   * Whoever takes over the other's repository key signs anew. Whose signature stays (publish.ts) is then to be seen on this
   * side, too, though nothing changed on the other one. After a start nobody knows what was before.
   */
  #hasNowOneKey(name: string, keys: Standing['keys']): boolean {
    const differ = (known: Standing['keys']) => known.some(({ repository }) => repository === name);
    return (this.#told === undefined || differ(this.#keys)) && !differ(keys);
  }

  async #isDue(
    { catalog }: PackagesContext,
    node: string,
    { name, revision, at }: { name: string; revision: number; at: number },
  ): Promise<boolean> {
    const marks = await marksOf(catalog, name);
    const isSeen = marks?.peer === node && marks.seen.revision === revision && marks.seen.at === at;
    if (!isSeen || this.#failures.has(name)) return true;
    if (marks.refused.length === 0) return false;
    // What was in the way may have been deleted here.
    return this.#conflicts.get(name)?.base !== (await catalog.repository(name))?.published;
  }

  /** @returns undefined if nothing was published. Failures that concern this repository alone are kept. */
  async #replicate(
    context: PackagesContext,
    repository: string,
    options: StagingOptions,
  ): Promise<ReplicatedChange | undefined> {
    const sum = { repository, revision: 0, taken: 0, dropped: 0 };
    try {
      for (let isWhole = false; !isWhole; ) {
        const { plan, revision, unavailable } = await untilSettled(() =>
          this.#replicateOnce(context, repository, options),
        );
        isWhole = plan.isWhole || plan.take.length + plan.drop.length === 0;
        sum.revision = revision;
        sum.taken += plan.take.length;
        sum.dropped += plan.drop.length;
        this.#conflicts.set(repository, { base: revision, conflicts: plan.conflicts });
        this.#note(repository, unavailable);
      }
    } catch (error) {
      if (!isAirlockError(error, ...OF_ONE_REPOSITORY)) throw error;
      const { code, message } = error;
      this.#failures.set(repository, { repository, code, message });
    }
    return sum.taken + sum.dropped === 0 ? undefined : sum;
  }

  /** One of the files that did not come stands for all of them. */
  #note(repository: string, unavailable: Unavailable): void {
    const [first] = unavailable.values();
    if (first === undefined) this.#failures.delete(repository);
    else this.#failures.set(repository, { repository, code: first.code, message: first.message });
  }

  async #replicateOnce(
    context: PackagesContext,
    repository: string,
    options: StagingOptions,
  ): Promise<{ readonly plan: RepositoryPlan; readonly revision: number; readonly unavailable: Unavailable }> {
    const { peer } = this.#parts;
    const leases = new Leases();
    try {
      const found = await planRepository(context.catalog, peer, repository, options.signal);
      const { plan: all, refused } = withoutRevoked(found, await this.#parts.revoked());
      const needed = all.signature === undefined ? all.take : [...all.take, all.signature];
      const wanted = needed.map(({ artifact: { digest, size }, within }) => ({ digest, size, within }));
      const unavailable = await bring(context, peer, wanted, { leases, options });
      const plan = without(all, unavailable);
      const revision = await publishPlan(context, plan, { reason: `replicate from ${peer.origin}`, leases });
      return { plan, revision, unavailable: new Map([...refused, ...unavailable]) };
    } catch (error) {
      await abandon(context, leases);
      throw error;
    }
  }
}

/** What does not keep the other repositories from going on. */
const OF_ONE_REPOSITORY = [
  'repository.kind',
  'repository.mirrored',
  'path.conflict',
  'path.invalid',
  'peer.invalid',
  'revision.moved',
  'trust.revoked',
  'blob.missing',
  'upstream.failed',
  'upstream.unusable',
] as const;

const KINDS: readonly RepositoryKind[] = ['file', 'policy', 'rpm'];

function byKind(a: { readonly kind: RepositoryKind }, b: { readonly kind: RepositoryKind }): number {
  return KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind);
}

async function differingKeys({ catalog }: PackagesContext, { repositories }: PeerState): Promise<Standing['keys']> {
  const found: { repository: string; here: string; there: string }[] = [];
  for (const { name, key: there } of repositories) {
    const here = there === null ? null : await signingKeyOf(catalog, name);
    if (there !== null && here !== null && here !== there) found.push({ repository: name, here, there });
  }
  return found;
}

/**
 * How long to wait until the next look, milliseconds: with jitter, and longer while looks fail.
 * @param failures one after the other, up to now
 * @param isReachable the twin answers, and what it says or has cannot be used: that takes a person
 */
export function pause(failures: number, isReachable: boolean, random: () => number = Math.random): number {
  const { pollEvery, pollMost, failMost } = limits.replica;
  const grown = pollEvery * 2 ** Math.min(failures, 16);
  return Math.min(isReachable ? failMost : pollMost, grown) * (2 / 3 + (2 / 3) * random());
}
