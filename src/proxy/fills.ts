/**
 * The fills that are under way, one for a path, and the notes from which those that were cut short are gone on with.
 */
import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobStat, BlobStore, BlobWriter } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import type { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import { classOf } from './content-class.ts';
import type { Counters } from './counters.ts';
import type { OpenedBody } from './fetch-stretch.ts';
import { Fill } from './fill.ts';
import { keptOf, type PendingFacts, readPending } from './kept.ts';
import type { KeptCopies } from './kept-copies.ts';
import type { RetryRules } from './rules.ts';
import type { Candidate } from './sources.ts';
import type { Expected, Vouching } from './vouching.ts';

export interface FillsParts {
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  readonly trusted: TrustedBlobs;
  readonly copies: KeptCopies;
  readonly vouching: Vouching;
  readonly counters: Counters;
  readonly logger: Logger;
  readonly bandwidth: Bandwidth;
  readonly retry: RetryRules;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** How a fill begins. */
export interface Beginning {
  readonly facts: UpstreamFacts;
  readonly writer: BlobWriter;
  /** Sources, the one to begin with first. */
  readonly order: readonly Candidate[];
  readonly opened?: OpenedBody;
  readonly isScattered?: boolean;
  readonly via?: string;
}

/** What an earlier fill left. */
export interface Pending {
  readonly facts: PendingFacts;
  readonly writer: BlobWriter;
}

export class Fills {
  readonly #parts: FillsParts;
  readonly #fills = new Map<string, Fill>();

  constructor(parts: FillsParts) {
    this.#parts = parts;
  }

  get all(): ReadonlyMap<string, Fill> {
    return this.#fills;
  }

  /** The fill of a path. One that failed is waited for, so that it can be gone on with. */
  async coming(path: string): Promise<Fill | undefined> {
    for (;;) {
      const fill = this.#fills.get(path);
      if (fill?.isEnding !== true) return fill;
      await fill.done.catch(() => undefined);
    }
  }

  begin(path: string, { facts, writer, order, opened, isScattered = false, via }: Beginning): Fill {
    const { trusted, vouching, bandwidth, retry, counters } = this.#parts;
    const fill: Fill = new Fill({
      candidates: order,
      facts,
      writer,
      ...(opened === undefined ? {} : { opened }),
      ...(via === undefined ? {} : { via }),
      isBinary: classOf(path).isBinary,
      isScattered,
      expected: () => vouching.expected(path, facts),
      bandwidth,
      retry,
      isNoted: isLarge(facts),
      store: (spool, expected) => this.#store(path, fill, spool, expected),
      open: (digest) => trusted.open(digest),
      onBytes: (count) => {
        counters.fetched += count;
      },
      onUnproven: () => {
        counters.unproven += 1;
      },
    });
    this.#fills.set(path, fill);
    fill.done.then(
      () => this.#fills.delete(path),
      (error: unknown) => this.#failed(path, fill, error),
    );
    return fill;
  }

  /** A new file to fetch into, noted so that it can be gone on with. */
  async spool(path: string, facts: UpstreamFacts): Promise<BlobWriter> {
    const writer = await this.#parts.blobs.create({ resumable: isLarge(facts) });
    if (!isLarge(facts) || facts.size === null) return writer;
    const { modified, etag, strongValidator, size, digest, isUnverified } = facts;
    const validators = { etag, modified: modified?.getTime() ?? null, strongValidator };
    const note: PendingFacts = { writer: writer.id, ...validators, size, digest, isUnverified };
    try {
      await this.#notePending(path, JSON.stringify(note));
    } catch (error) {
      await writer.cancel().catch(() => undefined);
      throw error;
    }
    return writer;
  }

  /** What is there of a path from before. The caller ends the writer, or gives it to a fill. */
  async resume(path: string): Promise<Pending | undefined> {
    const facts = readPending(await this.#parts.catalog.meta(pendingKey(path)));
    if (facts === undefined) return undefined;
    try {
      return { facts, writer: await this.#parts.blobs.resume(facts.writer) };
    } catch (error) {
      if (!isAirlockError(error, 'blob.missing', 'blob.busy')) throw error;
      return undefined;
    }
  }

  async forgetPending(path: string): Promise<void> {
    await this.#notePending(path, undefined);
  }

  /** Ends all where they stand. */
  async close(): Promise<void> {
    await Promise.all([...this.#fills.values()].map((fill) => fill.suspend()));
  }

  /** Proves, makes durable, and writes down what was fetched. */
  async #store(path: string, fill: Fill, writer: BlobWriter, expected: Expected): Promise<BlobStat> {
    const { copies, vouching, now } = this.#parts;
    const { facts, source } = fill;
    const judged = await vouching.judge(path, writer, { facts, source, expected });
    const { verification } = judged;
    const stat = await copies.keep(path, writer, judged, keptOf(facts, { source, verification, now: now() }));
    if (isLarge(facts)) await this.forgetPending(path);
    await copies.makeRoom(path);
    vouching.fetchCompanions(judged.companions);
    return stat;
  }

  #failed(path: string, fill: Fill, error: unknown): void {
    const { counters, logger } = this.#parts;
    this.#fills.delete(path);
    if (isAirlockError(error, 'interrupted')) {
      counters.abandoned += 1;
      logger.info({ path, source: fill.source, done: fill.progress }, 'a file is not fetched on: nobody waits for it');
      return;
    }
    counters.failedFills += 1;
    if (isAirlockError(error, 'upstream.unusable', 'upstream.signature')) counters.refused += 1;
    if (isAirlockError(error, 'upstream.unusable', 'upstream.signature', 'upstream.changed'))
      this.forgetPending(path).catch(() => undefined);
    if (!isAirlockError(error, 'http.draining'))
      logger.warn({ path, source: fill.source, error: String(error) }, 'fetching a file failed');
  }

  #notePending(path: string, note: string | undefined): Promise<void> {
    return this.#parts.catalog.setMeta(pendingKey(path), note);
  }
}

/** Worth noting how far it is, should this process end. */
function isLarge({ size, strongValidator, digest }: UpstreamFacts): boolean {
  return size !== null && size > limits.proxy.ahead && (strongValidator ?? digest) !== null;
}

function pendingKey(path: string): string {
  return `fill:${path}`;
}
