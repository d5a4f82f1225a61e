/**
 * Pull-through: what is asked for and not here is fetched once, kept, and served from then on.
 *
 *   open(path) → kept and fresh?  → HIT, from the store (kept-copies.ts)
 *              → kept, not fresh? → asks a source whether it is the same; one question for all who wait (obtaining.ts).
 *                                   Same: HIT. Another: fetched as below. Nobody answers, or all break off: STALE
 *              → known as missing a moment ago? → nothing here (inquiry.ts)
 *              → being fetched?   → joins that fill (fill.ts)
 *              → MISS: asks the sources in order (sources.ts); the first that has it begins a fill (fills.ts)
 *
 * A copy is kept when it is whole, its digest is the expected one (vouching.ts), its bytes are durable, and the catalog
 * says so (in that order). An unfinished spool is noted in the catalog with the validator of its content, so that the
 * next request, in this process or one after a crash, goes on with it.
 */
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ArtifactSource, OpenArtifact, OpenOptions } from '../repo/artifact-source.ts';
import type { BlobStat, BlobStore } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { VendorKey } from '../repo/formats/openpgp/key-files.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import { Answers } from './answers.ts';
import { orAborted } from './bell.ts';
import { ClientBandwidth } from './client-bandwidth.ts';
import { classOf } from './content-class.ts';
import { Counters } from './counters.ts';
import { notCached } from './failures.ts';
import type { Fill } from './fill.ts';
import { Fills } from './fills.ts';
import { type Bodies, HotCopies } from './hot-copies.ts';
import { Inquiry } from './inquiry.ts';
import { type Kept, KeptCopies } from './kept-copies.ts';
import { Obtaining } from './obtaining.ts';
import { OnDemand, type OnDemandPlaces } from './on-demand.ts';
import type { ProxyRules } from './rules.ts';
import { Signatures } from './signatures.ts';
import type { Sources } from './sources.ts';
import { Vouching } from './vouching.ts';

export interface PullThroughParts {
  readonly sources: Sources;
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  readonly trusted: TrustedBlobs;
  readonly logger: Logger;
  readonly rules: ProxyRules;
  /** Those that may sign what comes from an upstream, by its name. */
  readonly keys?: ReadonlyMap<string, readonly VendorKey[]>;
  /** Repositories whose packages come when they are asked for. */
  readonly onDemand?: OnDemandPlaces;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Our name in Via: a request that carries it has come around in a circle. */
  readonly name?: string;
}

/** How a path is fetched. */
export interface PullOptions extends Pick<OpenOptions, 'signal' | 'cacheControl'> {
  /** Waits for all rounds through the sources that the rules allow, in place of one. */
  readonly isPatient?: boolean;
}

export class PullThrough implements ArtifactSource {
  readonly counters = new Counters();
  readonly #parts: PullThroughParts;
  readonly #copies: KeptCopies;
  readonly #inquiry: Inquiry;
  readonly #vouching: Vouching;
  readonly #fills: Fills;
  readonly #obtaining: Obtaining;
  readonly #clients: ClientBandwidth;
  readonly #hot: HotCopies;
  readonly #onDemand: OnDemand;
  readonly #answers: Answers;
  #isClosed = false;

  constructor(parts: PullThroughParts) {
    const { counters } = this;
    const { now = Date.now, rules } = parts;
    const { cacheSize, pinned, requireVerified, retry, missing } = rules;
    this.#parts = parts;
    this.#copies = new KeptCopies({
      ...parts,
      counters,
      now,
      cacheSize,
      pinned,
      onChange: (path) => this.#hot.forget(path),
    });
    this.#hot = new HotCopies({ ...parts, copies: this.#copies, counters, now });
    const signatures = new Signatures({ keys: parts.keys ?? new Map(), source: this });
    const pull = (path: string, options?: PullOptions) => this.pull(path, options);
    this.#vouching = new Vouching({
      ...parts,
      source: this,
      signatures,
      pull,
      copies: this.#copies,
      counters,
      requireVerified,
    });
    this.#onDemand = new OnDemand(parts.onDemand ?? new Map(), (path) => this.#vouching.listed(path));
    this.#inquiry = new Inquiry({ ...parts, counters, missingFor: missing, onDemand: this.#onDemand });
    this.#answers = new Answers({
      ...parts,
      copies: this.#copies,
      hot: this.#hot,
      vouching: this.#vouching,
      counters,
      now,
    });
    this.#fills = new Fills({
      ...parts,
      copies: this.#copies,
      vouching: this.#vouching,
      counters,
      now,
      bandwidth: new Bandwidth(rules.bandwidth),
      retry,
    });
    this.#clients = new ClientBandwidth(rules.clientBandwidth);
    this.#obtaining = new Obtaining({ inquiry: this.#inquiry, copies: this.#copies, fills: this.#fills });
  }

  get rules(): ProxyRules {
    return this.#parts.rules;
  }

  /** What is being fetched, by path. */
  get fills(): ReadonlyMap<string, Fill> {
    return this.#fills.all;
  }

  /**
   * As ArtifactSource.open. Paths are `repos/…` or `upstreams/<name>/…`; a folder ends with a slash.
   * @throws proxy.not-cached, upstream.*: why nobody could be asked
   */
  async open(path: string, options: OpenOptions = {}): Promise<OpenArtifact | undefined> {
    const artifact = await this.#open(path, options);
    return artifact && this.#clients.limit(artifact, options.client);
  }

  async #open(path: string, options: OpenOptions): Promise<OpenArtifact | undefined> {
    if (this.#isClosed) throw new AirlockError('http.draining', 'This server is about to stop.');
    const { kind } = classOf(path);
    const isCircular = this.#isCircular(options);
    const coming = await this.#fills.coming(path);
    if (coming !== undefined && !isCircular) return await this.#join(path, coming, options);
    let kept = await this.#current(path);
    const mustAsk = kind !== 'immutable' && /(?:^|[\s,])no-cache/i.test(options.cacheControl ?? '');
    if (kept !== undefined && !mustAsk && this.#answers.isCurrent(path, kept)) {
      const hit = await this.#answers.kept(path, kept, { cache: 'HIT', status: 'hit' });
      if (hit !== undefined) return hit;
      kept = undefined;
    }
    if (isCircular) throw notCached(path);
    const begun = await this.#fills.coming(path);
    if (begun !== undefined) return await this.#join(path, begun, options);
    if (kept === undefined && this.#inquiry.isMissing(path)) {
      this.counters.missing += 1;
      return undefined;
    }
    if (kept === undefined && options.factsOnly === true) return await this.#openFacts(path, options);
    return await this.#openAsked(path, kept, options);
  }

  /** As ArtifactSource.peek: what is hot, and current. */
  peek(path: string): OpenArtifact | undefined {
    return this.#hot.peek(path);
  }

  /** Small files that are asked for often shall be kept there. Where clients have shares, nothing comes from memory. */
  keepInMemory(bodies: Bodies): void {
    if (!this.#clients.isLimited) this.#hot.keepIn(bodies);
  }

  /** Brings a file into memory that is here, current and small, and asks nobody. */
  async warm(path: string): Promise<OpenArtifact | undefined> {
    const kept = this.#isClosed ? undefined : await this.#current(path);
    return kept && (await this.#answers.inMemory(path, kept));
  }

  /**
   * Fetches a path and waits until it is kept.
   * @returns undefined where nobody has it; what is kept, where it cannot be asked whether that is current
   * @throws as `open`, and what fetching fails with
   */
  async pull(path: string, { isPatient = false, ...options }: PullOptions = {}): Promise<BlobStat | undefined> {
    const opened = await this.open(path, options);
    if (opened === undefined) return undefined;
    try {
      const fill = this.fills.get(path);
      await (isPatient ? fill?.wait(options.signal) : fill?.waitARound(options.signal));
    } finally {
      await opened.close();
    }
    const kept = await this.#copies.get(path);
    return kept === undefined ? undefined : await this.#parts.blobs.stat(kept.pulled.digest);
  }

  /** Asks again for what nobody had a moment ago. */
  forgetMissing(): void {
    this.#inquiry.forgetMissing();
  }

  /** Ends all fills where they stand; the next process goes on with them. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#fills.close();
    await this.#copies.close();
  }

  /** The copy that is kept, unless its repository says by now that it is another one. */
  async #current(path: string): Promise<Kept | undefined> {
    const kept = await this.#copies.get(path);
    if (kept === undefined || !(await this.#onDemand.isOutdated(path, kept.pulled.digest))) return kept;
    await this.#copies.drop(path);
    return undefined;
  }

  /** A request that has been here already, or shall be answered from what is kept. */
  #isCircular({ cacheControl, via }: OpenOptions): boolean {
    const { name } = this.#parts;
    return /(?:^|[\s,])only-if-cached/i.test(cacheControl ?? '') || (name !== undefined && (via ?? '').includes(name));
  }

  async #join(path: string, fill: Fill, options: OpenOptions): Promise<OpenArtifact | undefined> {
    const kept = await this.#copies.get(path);
    this.counters.joined += 1;
    const hasOlder = kept !== undefined;
    const status = `${hasOlder ? 'fwd=stale' : 'fwd=miss'}; collapsed`;
    return await this.#answers.orStale(path, kept, () => this.#openComing(path, fill, options, { status, hasOlder }));
  }

  /** @param hasOlder an older copy is kept, which stands in where the new one does not come whole */
  async #openComing(
    path: string,
    fill: Fill,
    options: OpenOptions,
    { status, hasOlder }: { status: string; hasOlder: boolean },
  ): Promise<OpenArtifact | undefined> {
    const isWhole = this.#vouching.isGivenWhole(path) || (hasOlder && isSmall(fill.facts));
    if (!isWhole) return this.#answers.coming(path, fill, options, status);
    await fill.waitARound(options.signal);
    const kept = await this.#copies.get(path);
    return kept && (await this.#answers.kept(path, kept, { cache: 'MISS', status }));
  }

  /** What a source says of a path, without fetching it. */
  async #openFacts(path: string, options: OpenOptions): Promise<OpenArtifact | undefined> {
    const isFirst = !this.#inquiry.isAskingHead(path);
    const facts = await orAborted(this.#inquiry.head(path, options.via), options.signal);
    return facts && this.#answers.head(path, facts, `fwd=miss${isFirst ? '' : '; collapsed'}`);
  }

  /** Asks the sources, together with all others who want to know. */
  async #openAsked(path: string, kept: Kept | undefined, options: OpenOptions): Promise<OpenArtifact | undefined> {
    const isFirst = !this.#obtaining.isAsking(path);
    if (!isFirst) this.counters.joined += 1;
    return await this.#answers.orStale(path, kept, async () => {
      const found = await orAborted(this.#obtaining.once(path, kept, options), options.signal);
      if (found.type === 'missing') return undefined;
      if (found.type === 'filling') {
        const hasOlder = kept !== undefined;
        const status = `${hasOlder ? 'fwd=stale' : 'fwd=miss'}; ${isFirst ? 'stored' : 'collapsed'}`;
        return await this.#openComing(path, found.fill, options, { status, hasOlder });
      }
      const same = await this.#copies.get(path);
      if (same === undefined) return await this.#open(path, options); // evicted, or dropped, in this moment
      const status = kept === undefined ? 'hit' : `fwd=stale; fwd-status=304${isFirst ? '' : '; collapsed'}`;
      return (await this.#answers.kept(path, same, { cache: 'HIT', status })) ?? (await this.#open(path, options));
    });
  }
}

/** So quick to come that a client may wait for all of it. Where nobody says how long it is, it is hardly ever long. */
function isSmall({ size }: UpstreamFacts): boolean {
  return size === null || size <= limits.proxy.heldBack;
}
