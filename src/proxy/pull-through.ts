/**
 * Pull-through: what is asked for and not here is fetched once, kept, and served from then on.
 *
 *   open(path) → kept and fresh?  → HIT, from the store
 *              → kept, not fresh? → asks a source whether it is the same; one question for all who wait.
 *                                   Same: HIT. Another: fetched as below. Nobody answers: STALE
 *              → known as missing a moment ago? → nothing here
 *              → being fetched?   → joins that fill (fill.ts)
 *              → MISS: asks the sources in order (sources.ts); the first that has it begins a fill
 *
 * A copy is kept when it is whole, its digest is the expected one, its bytes are durable, and the catalog says so (in
 * that order). An unfinished spool is noted in the catalog with the validator of its content, so that the next request,
 * in this process or one after a crash, goes on with it.
 */
import NodeCache from 'node-cache';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ArtifactSource, OpenArtifact, OpenOptions } from '../repo/artifact-source.ts';
import type { BlobStat, BlobStore, BlobWriter, Digest } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { Pulled } from '../repo/catalog/pulled.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { FetchOptions, UpstreamAnswer, UpstreamFacts } from '../repo/upstream/upstream.ts';
import { orAborted } from './bell.ts';
import { type ContentClass, classOf } from './content-class.ts';
import { Counters } from './counters.ts';
import { evict } from './eviction.ts';
import { nobody, notCached, notVerified, unusableList } from './failures.ts';
import { ask, Fill, isSame, type OpenedBody, type RetryRules } from './fill.ts';
import { freshUntil, type KeptFacts, keptOf, pulledOf, readKept, readPending } from './kept.ts';
import { type ListedFile, listedFiles, RepoDigests } from './repo-digests.ts';
import { digestFromSidecar } from './sidecar.ts';
import type { Candidate, Sources } from './sources.ts';
import { comingArtifact, headersOf, keptArtifact, type Outcome } from './told.ts';

export interface PullThroughParts {
  readonly sources: Sources;
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  readonly trusted: TrustedBlobs;
  readonly logger: Logger;
  /** Serves no image and no package whose digest nobody vouches for. */
  readonly requireVerified?: boolean;
  readonly retry?: Partial<RetryRules>;
  /** Bytes per second of all fills together. */
  readonly bandwidth?: number;
  /** Bytes that all kept copies may take; what is pinned never goes. */
  readonly cacheSize?: number;
  readonly pinned?: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Our name in Via: a request that carries it has come around in a circle. */
  readonly name?: string;
}

/** What came of asking the sources. */
type Found =
  | { readonly type: 'filling'; readonly fill: Fill; readonly source: string }
  | { readonly type: 'same' }
  | { readonly type: 'missing' };

interface Kept {
  readonly pulled: Pulled;
  readonly facts: KeptFacts;
}

export class PullThrough implements ArtifactSource {
  readonly counters = new Counters();
  readonly #parts: PullThroughParts;
  readonly #now: () => number;
  readonly #bandwidth: Bandwidth;
  readonly #retry: RetryRules;
  readonly #missing = new NodeCache({
    stdTTL: limits.proxy.missingAge / 1000,
    maxKeys: limits.proxy.missing,
    checkperiod: 60,
    useClones: false,
  });
  /** Questions to sources under way, by path. */
  readonly #asking = new Map<string, Promise<Found>>();
  readonly #fills = new Map<string, Fill>();
  /** Copies that were used, or found current, since that was last written down. */
  readonly #touched = new Map<string, { usedAt: number; checkedAt?: number; freshFor?: KeptFacts['freshFor'] }>();
  readonly #digests = new RepoDigests(async (path, how) => {
    if (how === 'fetch') await this.pull(path);
    const kept = await this.#kept(path);
    return kept && (await this.#parts.trusted.open(kept.pulled.digest));
  });
  readonly #noting: NodeJS.Timeout;
  #evicting: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(parts: PullThroughParts) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
    this.#bandwidth = new Bandwidth(parts.bandwidth ?? Number.POSITIVE_INFINITY);
    const { attempts, timeout, retryDelay, maxRetryDelay } = limits.proxy;
    this.#retry = { attempts, timeout, firstDelay: retryDelay, maxDelay: maxRetryDelay, ...parts.retry };
    this.#noting = setInterval(() => {
      this.#writeTouched().catch((error: unknown) => {
        parts.logger.warn({ error: String(error) }, 'could not write down what was used');
      });
    }, limits.proxy.usedEvery).unref();
  }

  /** What is being fetched, by path. */
  get fills(): ReadonlyMap<string, Fill> {
    return this.#fills;
  }

  /**
   * As ArtifactSource.open. Paths are `repos/…` or `upstreams/<name>/…`; a folder ends with a slash.
   * @throws proxy.not-cached, upstream.*: why nobody could be asked
   */
  async open(path: string, options: OpenOptions = {}): Promise<OpenArtifact | undefined> {
    if (this.#isClosed) throw new AirlockError('http.draining', 'This server is about to stop.');
    const kind = classOf(path);
    const isCircular = this.#isCircular(options);
    const coming = await this.#coming(path);
    if (coming !== undefined && !isCircular) return await this.#join(path, coming, options);
    let kept = await this.#kept(path);
    const mustAsk = kind.kind !== 'immutable' && /(?:^|[\s,])no-cache/i.test(options.cacheControl ?? '');
    if (kept !== undefined && !mustAsk && this.#isFresh(path, kept, kind)) {
      const hit = await this.#openKept(path, kept, { cache: 'HIT', status: 'hit' });
      if (hit !== undefined) return hit;
      kept = undefined;
    }
    if (isCircular) throw notCached(path);
    const begun = await this.#coming(path);
    if (begun !== undefined) return await this.#join(path, begun, options);
    if (kept === undefined && this.#missing.has(path)) {
      this.counters.missing += 1;
      return undefined;
    }
    if (kept === undefined && options.factsOnly === true) return await this.#openFacts(path, options);
    return await this.#openAsked(path, kept, options);
  }

  /** Fetches a path and waits until it is kept. @returns undefined where nobody has it */
  async pull(path: string, signal?: AbortSignal): Promise<BlobStat | undefined> {
    const opened = await this.open(path, signal === undefined ? {} : { signal });
    if (opened === undefined) return undefined;
    await opened.close();
    await orAborted(this.#fills.get(path)?.done ?? Promise.resolve(undefined), signal);
    const kept = await this.#kept(path);
    return kept === undefined ? undefined : await this.#parts.blobs.stat(kept.pulled.digest);
  }

  /** Asks again for what nobody had a moment ago. */
  forgetMissing(): void {
    this.#missing.flushAll();
  }

  /** Ends all fills where they stand; the next process goes on with them. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#noting);
    await Promise.all([...this.#fills.values()].map((fill) => fill.suspend()));
    await this.#writeTouched().catch(() => undefined);
  }

  #isFresh(path: string, { facts }: Kept, kind: ContentClass): boolean {
    const checkedAt = this.#touched.get(path)?.checkedAt ?? facts.checkedAt;
    const freshFor = this.#touched.get(path)?.freshFor ?? facts.freshFor;
    return this.#now() < freshUntil({ ...facts, checkedAt, freshFor }, kind);
  }

  /** A request that has been here already, or shall be answered from what is kept. */
  #isCircular({ cacheControl, via }: OpenOptions): boolean {
    const { name } = this.#parts;
    return /(?:^|[\s,])only-if-cached/i.test(cacheControl ?? '') || (name !== undefined && (via ?? '').includes(name));
  }

  /** What stands in metadata cannot be vouched for by more metadata without end. */
  #mustBeVerified(path: string): boolean {
    return this.#parts.requireVerified === true && classOf(path).kind === 'immutable';
  }

  async #kept(path: string): Promise<Kept | undefined> {
    const pulled = await this.#parts.catalog.pulled(path);
    const facts = pulled && readKept(pulled);
    return pulled === undefined || facts === undefined ? undefined : { pulled, facts };
  }

  /** @returns undefined if the stored bytes are not there any more, or damaged: they are fetched again then */
  async #openKept(path: string, { pulled, facts }: Kept, outcome: Outcome): Promise<OpenArtifact | undefined> {
    if (this.#mustBeVerified(path) && !facts.isVerified) throw notVerified(path);
    try {
      const reader = await this.#parts.trusted.open(pulled.digest);
      const touched = this.#touched.get(path);
      this.#touched.set(path, { ...touched, usedAt: this.#now() });
      this.counters.count(outcome.cache, pulled.size);
      const age = Math.max(0, this.#now() - (touched?.checkedAt ?? facts.checkedAt));
      return {
        facts: keptArtifact(path, pulled, facts),
        headers: headersOf({ ...outcome, age }),
        readAt: (into, position) => reader.readAt(into, position),
        close: () => reader.close(),
      };
    } catch (error) {
      if (!isAirlockError(error, 'blob.missing', 'blob.damaged')) throw error;
      await this.#parts.catalog.transaction((tx) => tx.dropPulled(path));
      return undefined;
    }
  }

  /** The fill of a path. One that failed is waited for, so that it can be gone on with. */
  async #coming(path: string): Promise<Fill | undefined> {
    for (;;) {
      const fill = this.#fills.get(path);
      if (fill?.isEnding !== true) return fill;
      await fill.done.catch(() => undefined);
    }
  }

  /** A list of files is given out when it is kept, and so what it names can be had; all else while it comes. */
  async #join(path: string, fill: Fill, options: OpenOptions): Promise<OpenArtifact | undefined> {
    const kept = await this.#kept(path);
    return await this.#orStale(path, kept, () => this.#openComing(path, fill, options, 'fwd=miss; collapsed'));
  }

  async #openComing(path: string, fill: Fill, options: OpenOptions, status: string): Promise<OpenArtifact | undefined> {
    if (classOf(path).kind !== 'repomd') return this.#openFill(path, fill, options, status);
    await orAborted(fill.done, options.signal);
    const kept = await this.#kept(path);
    return kept && (await this.#openKept(path, kept, { cache: 'MISS', status }));
  }

  /** What is kept stands in where no source can be asked, for a while. */
  async #orStale(
    path: string,
    kept: Kept | undefined,
    open: () => Promise<OpenArtifact | undefined>,
  ): Promise<OpenArtifact | undefined> {
    try {
      return await open();
    } catch (error) {
      if (kept === undefined || !mayServeStale(error) || !this.#isUsable(kept)) throw error;
      const stale = await this.#openKept(path, kept, { cache: 'STALE', status: 'hit; fwd=stale; detail=unreachable' });
      if (stale === undefined) throw error;
      return stale;
    }
  }

  #openFill(path: string, fill: Fill, { range, signal }: OpenOptions, status: string): OpenArtifact {
    this.counters.count('MISS', fill.facts.size ?? 0);
    const reader = fill.reader(range !== undefined && 'start' in range ? range.end : undefined, signal);
    return {
      facts: comingArtifact(path, fill.facts),
      headers: headersOf({ cache: 'MISS', status }),
      readAt: (into, position) => reader.readAt(into, position),
      close: () => reader.close(),
    };
  }

  /** What a source says of a path, without fetching it. */
  async #openFacts(path: string, options: OpenOptions): Promise<OpenArtifact | undefined> {
    const facts = await this.#head(path, this.#parts.sources.candidates(path), options);
    if (facts === undefined) return undefined;
    return {
      facts: comingArtifact(path, facts),
      headers: headersOf({ cache: 'MISS', status: 'fwd=miss' }),
      readAt: () => Promise.resolve(0),
      close: () => Promise.resolve(),
    };
  }

  /** Asks the sources, together with all others who want to know. */
  async #openAsked(path: string, kept: Kept | undefined, options: OpenOptions): Promise<OpenArtifact | undefined> {
    const isFirst = !this.#asking.has(path);
    return await this.#orStale(path, kept, async () => {
      const found = await orAborted(this.#askOnce(path, kept, options), options.signal);
      if (found.type === 'missing') return undefined;
      if (found.type === 'filling') {
        const status = `${kept === undefined ? 'fwd=miss' : 'fwd=stale'}; stored${isFirst ? '' : '; collapsed'}`;
        return await this.#openComing(path, found.fill, options, status);
      }
      const same = await this.#kept(path);
      if (same === undefined) return await this.open(path, options); // evicted, or dropped, in this moment
      const status = kept === undefined ? 'hit' : 'fwd=stale; fwd-status=304';
      return (await this.#openKept(path, same, { cache: 'HIT', status })) ?? (await this.open(path, options));
    });
  }

  #isUsable({ facts, pulled }: Kept): boolean {
    const checkedAt = this.#touched.get(pulled.path)?.checkedAt ?? facts.checkedAt;
    return this.#now() < checkedAt + limits.proxy.stale;
  }

  #askOnce(path: string, kept: Kept | undefined, options: OpenOptions): Promise<Found> {
    let asking = this.#asking.get(path);
    if (asking === undefined) {
      asking = this.#ask(path, kept, options).finally(() => this.#asking.delete(path));
      this.#asking.set(path, asking);
    }
    return asking;
  }

  /** In order, until one has an answer. What others wait for does not end when one of them goes. */
  async #ask(path: string, kept: Kept | undefined, { range, via }: OpenOptions): Promise<Found> {
    if (kept === undefined && (await this.#kept(path)) !== undefined) return { type: 'same' }; // it has just been kept
    const candidates = this.#parts.sources.candidates(path);
    if (candidates.length === 0) throw nobody(path);
    const pending = kept === undefined ? await this.#resume(path) : undefined;
    const isFar = range !== undefined && ('suffix' in range || range.start > limits.proxy.ahead);
    if (pending === undefined && kept === undefined && isFar) {
      const begun = await this.#beginByHead(path, candidates, via);
      if (begun !== undefined) return begun;
    }
    // Where all is there but was not kept, the last byte is asked for again: to learn whether it still is that file.
    const start = pending === undefined ? 0 : Math.min(firstMissing(pending.writer), pending.facts.size - 1);
    const options: FetchOptions = {
      ...(kept === undefined ? {} : { unless: unlessOf(kept.facts) }),
      ...(via === undefined ? {} : { via }),
      ...(pending === undefined ? {} : { start, validator: pending.facts.strongValidator }),
    };
    try {
      const { answer, candidate } = await this.#first(path, candidates, options);
      if (answer.type === 'missing') {
        await pending?.writer.cancel();
        await this.#notePending(path, undefined);
        return await this.#noteMissing(path, kept);
      }
      if (answer.type === 'not-modified') {
        const { freshFor } = answer.facts;
        const now = this.#now();
        this.#touched.set(path, { usedAt: now, checkedAt: now, ...(freshFor === null ? {} : { freshFor }) });
        return { type: 'same' };
      }
      const at = candidates.indexOf(candidate);
      const order = [...candidates.slice(at), ...candidates.slice(0, at)];
      // A source that knows no If-Range may send a part of another content.
      const goesOn = pending !== undefined && answer.range !== null && isSame(answer.facts, pending.facts);
      if (!goesOn) await pending?.writer.cancel();
      const writer = goesOn ? pending.writer : await this.#spool(path, answer.facts);
      const opened = { body: answer.body, start: answer.range?.start ?? 0 };
      if (!goesOn && opened.start > 0) {
        answer.body.destroy(); // it changed, and then answered a part of the new one all the same
        return {
          type: 'filling',
          fill: this.#fill(path, { facts: answer.facts, writer, order, ...(via === undefined ? {} : { via }) }),
          source: candidate.source.name,
        };
      }
      return {
        type: 'filling',
        fill: this.#fill(path, { facts: answer.facts, writer, order, opened, ...(via === undefined ? {} : { via }) }),
        source: candidate.source.name,
      };
    } catch (error) {
      await pending?.writer.suspend().catch(() => undefined);
      throw error;
    }
  }

  /** A reader who begins far behind shall not wait for all that is before: the head says how long the content is. */
  async #beginByHead(
    path: string,
    candidates: readonly Candidate[],
    via: string | undefined,
  ): Promise<Found | undefined> {
    const onward = via === undefined ? {} : { via };
    const facts = await this.#head(path, candidates, onward).catch(() => null);
    if (facts === undefined) return { type: 'missing' };
    if (facts === null || facts.size === null || (facts.strongValidator ?? facts.digest) === null) return undefined;
    const writer = await this.#spool(path, facts);
    const fill = this.#fill(path, { facts, writer, order: candidates, isScattered: true, ...onward });
    return { type: 'filling', fill, source: fill.source };
  }

  async #head(path: string, candidates: readonly Candidate[], { signal, via }: OpenOptions) {
    const onward = { ...(signal === undefined ? {} : { signal }), ...(via === undefined ? {} : { via }) };
    let trouble: unknown;
    let saidNo = false;
    for (const { source, path: name } of candidates) {
      try {
        const onlyIfCached = source.kind === 'peer';
        const facts = await source.upstream.head(name, { ...onward, onlyIfCached });
        source.health.note();
        if (facts !== undefined) return facts;
        saidNo ||= source.kind !== 'peer';
      } catch (error) {
        if (signal?.aborted === true) throw error;
        source.health.note(error instanceof Error ? error : new Error(String(error)));
        trouble = error;
      }
    }
    if (!saidNo) throw trouble ?? nobody(path);
    this.#rememberMissing(path);
    return undefined;
  }

  /** @throws what the last one failed with, if none answered */
  async #first(
    path: string,
    candidates: readonly Candidate[],
    options: FetchOptions,
  ): Promise<{ answer: UpstreamAnswer; candidate: Candidate }> {
    let trouble: unknown;
    let no: { answer: UpstreamAnswer; candidate: Candidate } | undefined;
    for (const candidate of candidates) {
      const isPeer = candidate.source.kind === 'peer';
      try {
        const answer = await ask(candidate, { ...options, onlyIfCached: isPeer });
        if (answer.type !== 'missing') {
          if (answer.type === 'content') this.#assertNoPage(path, answer);
          return { answer, candidate };
        }
        if (!isPeer) no = { answer, candidate };
      } catch (error) {
        this.#parts.logger.debug({ path, source: candidate.source.name, error: String(error) }, 'a source failed');
        trouble = error;
      }
    }
    // What is kept does not go because one of two says no and the other cannot be asked.
    if (no !== undefined && (trouble === undefined || options.unless === undefined)) return no;
    throw trouble ?? nobody(path);
  }

  #assertNoPage(path: string, { facts, body }: Extract<UpstreamAnswer, { type: 'content' }>): void {
    if (!classOf(path).isBinary || facts.mediaType !== 'text/html') return;
    body.destroy();
    this.counters.refused += 1;
    throw new AirlockError(
      'upstream.unusable',
      'A web page came in place of the file: a login or captive portal answered instead of the source. Log in there, or check the address of the source.',
    );
  }

  async #noteMissing(path: string, kept: Kept | undefined): Promise<Found> {
    if (kept !== undefined) await this.#parts.catalog.transaction((tx) => tx.dropPulled(path));
    this.#rememberMissing(path);
    return { type: 'missing' };
  }

  #rememberMissing(path: string): void {
    this.counters.missing += 1;
    if (this.#missing.getStats().keys >= limits.proxy.missing) this.#missing.flushAll();
    this.#missing.set(path, true);
  }

  #fill(
    path: string,
    begun: {
      facts: UpstreamFacts;
      writer: BlobWriter;
      order: readonly Candidate[];
      opened?: OpenedBody;
      isScattered?: boolean;
      via?: string;
    },
  ): Fill {
    const { trusted, logger } = this.#parts;
    const { facts, writer, order, opened, isScattered = false, via } = begun;
    const { isBinary, hasSidecar } = classOf(path);
    const fill: Fill = new Fill({
      candidates: order,
      facts,
      writer,
      ...(opened === undefined ? {} : { opened }),
      ...(via === undefined ? {} : { via }),
      isBinary,
      isScattered,
      expected: async () => {
        const listed = await this.#digests.of(path);
        return listed ?? (facts.digest === null && hasSidecar ? await digestFromSidecar(this, path) : null);
      },
      bandwidth: this.#bandwidth,
      retry: this.#retry,
      store: (spool, expected) => this.#store(path, fill, spool, expected),
      open: (digest) => trusted.open(digest),
      onBytes: (count) => {
        this.counters.fetched += count;
      },
      onUnproven: () => {
        this.counters.unproven += 1;
      },
    });
    this.#fills.set(path, fill);
    fill.done.then(
      () => this.#fills.delete(path),
      (error: unknown) => {
        this.#fills.delete(path);
        this.counters.failedFills += 1;
        if (isAirlockError(error, 'upstream.unusable', 'upstream.changed'))
          this.#notePending(path, undefined).catch(() => undefined);
        if (!isAirlockError(error, 'http.draining'))
          logger.warn({ path, source: fill.source, error: String(error) }, 'fetching a file failed');
      },
    );
    return fill;
  }

  /** Proves, makes durable, and writes down what was fetched. */
  async #store(path: string, fill: Fill, writer: BlobWriter, expected: Digest | null): Promise<BlobStat> {
    const { catalog } = this.#parts;
    const { digest, size } = await writer.seal();
    if (expected !== null && digest !== expected) {
      this.counters.mismatches += 1;
      throw new AirlockError(
        'upstream.unusable',
        `What was fetched from ${fill.source} has the digest ${digest}, not ${expected}. Nothing of it was kept.`,
        { details: { expected, actual: digest } },
      );
    }
    const isVerified = expected !== null && !fill.facts.isUnverified;
    if (this.#mustBeVerified(path) && !isVerified) throw notVerified(path);
    const listed = classOf(path).kind === 'repomd' ? await this.#listed(path, writer, size) : [];
    await catalog.lease(digest);
    const stat = await writer.commit({ digest, size });
    const now = this.#now();
    const facts = keptOf(fill.facts, { source: fill.source, isVerified, now });
    await catalog.transaction(async (tx) => {
      await tx.recordBlob(stat, null);
      await tx.keepPulled(pulledOf(path, stat, facts, now));
      await tx.release(digest);
    });
    this.#touched.delete(path);
    if (isLarge(fill.facts)) await this.#notePending(path, undefined);
    this.counters.stored += 1;
    await this.#makeRoom(path);
    for (const { path: file } of listed) {
      this.pull(file).catch((error: unknown) => {
        this.#parts.logger.debug({ path: file, error: String(error) }, 'a file of a repository could not be fetched');
      });
    }
    return stat;
  }

  /**
   * A new repomd.xml takes the place of an old one only when all that it names can be had: until then clients see the
   * old one, with its files. Where there is no old one, the files are fetched after it.
   * @returns the files; databases, which nobody asks for any more, are left out
   */
  async #listed(path: string, writer: BlobWriter, size: number): Promise<ListedFile[]> {
    if (size > limits.repodata.repomd) throw unusableList(path);
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; ) at += (await writer.readAt(bytes.subarray(at), at)) || size;
    const files = readListed(path, bytes).filter(({ type }) => !type.endsWith('_db'));
    this.#digests.announce(files);
    if ((await this.#kept(path)) === undefined) return files;
    for (const { path: file } of files) {
      if ((await this.pull(file)) !== undefined) continue;
      throw new AirlockError(
        'upstream.failed',
        `The new ${path} names ${file}, which cannot be had. The old one stays.`,
      );
    }
    return [];
  }

  /** One at a time. What has just come is not what goes. */
  async #makeRoom(path: string): Promise<void> {
    const { catalog, blobs, cacheSize = Number.POSITIVE_INFINITY, pinned = [], logger } = this.#parts;
    this.#touched.set(path, { usedAt: this.#now() + 1 });
    const usedAt = (each: string) => this.#touched.get(each)?.usedAt;
    this.#evicting = this.#evicting
      .then(() => evict({ catalog, blobs, size: cacheSize, pinned, usedAt }))
      .then((gone) => {
        this.counters.evicted += gone.length;
        for (const { path: each, size } of gone)
          logger.info({ path: each, size }, 'a fetched file made room for others');
      })
      .catch((error: unknown) => logger.warn({ error: String(error) }, 'could not make room for what is fetched'));
    await this.#evicting;
  }

  /** A new spool, noted so that it can be gone on with. */
  async #spool(path: string, facts: UpstreamFacts): Promise<BlobWriter> {
    const writer = await this.#parts.blobs.create({ resumable: isLarge(facts) });
    if (!isLarge(facts) || facts.size === null) return writer;
    const { etag, modified, strongValidator, size, digest } = facts;
    const note = { writer: writer.id, etag, modified: modified?.getTime() ?? null, strongValidator, size, digest };
    await this.#notePending(path, JSON.stringify(note));
    return writer;
  }

  async #resume(path: string) {
    const facts = readPending(await this.#parts.catalog.meta(pendingKey(path)));
    if (facts === undefined) return undefined;
    try {
      const writer = await this.#parts.blobs.resume(facts.writer);
      return { facts, writer };
    } catch (error) {
      if (!isAirlockError(error, 'blob.missing', 'blob.busy')) throw error;
      return undefined;
    }
  }

  #notePending(path: string, note: string | undefined): Promise<void> {
    return this.#parts.catalog.setMeta(pendingKey(path), note);
  }

  async #writeTouched(): Promise<void> {
    const touched = [...this.#touched];
    this.#touched.clear();
    if (touched.length === 0) return;
    const { catalog } = this.#parts;
    const rows: Pulled[] = [];
    for (const [path, { usedAt, checkedAt, freshFor }] of touched) {
      const kept = await this.#kept(path);
      if (kept === undefined) continue;
      const facts = {
        ...kept.facts,
        ...(checkedAt === undefined ? {} : { checkedAt }),
        ...(freshFor === undefined ? {} : { freshFor }),
      };
      rows.push({ ...kept.pulled, usedAt: new Date(usedAt), facts });
    }
    await catalog.transaction(async (tx) => {
      for (const row of rows) await tx.keepPulled(row);
    });
  }
}

/** Worth noting how far it is, should this process end. */
function isLarge({ size, strongValidator, digest }: UpstreamFacts): boolean {
  return size !== null && size > limits.proxy.ahead && (strongValidator ?? digest) !== null;
}

function pendingKey(path: string): string {
  return `fill:${path}`;
}

function firstMissing(writer: BlobWriter): number {
  const [first] = writer.have();
  return first?.start === 0 ? first.end : 0;
}

function unlessOf({ etag, modified }: KeptFacts): NonNullable<FetchOptions['unless']> {
  return { etag, modified: modified === null ? null : new Date(modified) };
}

function mayServeStale(error: unknown): boolean {
  return isAirlockError(error) && error.code.startsWith('upstream.');
}

/** @throws upstream.unusable */
function readListed(path: string, bytes: Uint8Array): ListedFile[] {
  try {
    return listedFiles(path, bytes);
  } catch (cause) {
    throw isAirlockError(cause) ? unusableList(path, cause) : cause;
  }
}
