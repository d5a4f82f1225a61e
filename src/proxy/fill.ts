/**
 * One content on its way from its sources into the store, and to everybody who wants it meanwhile.
 *
 * The bytes go into one sparse spool (spool.ts). The main stretch runs from the front to the end; a reader far ahead of
 * it gets a stretch of its own into the same spool, and the main one skips what is there. Readers wait for the bytes
 * that they want. When all are there they are hashed, compared with the digest that is expected, committed and
 * recorded; only then the last byte is given out. A fill does not depend on whoever caused it.
 */
import { setMaxListeners } from 'node:events';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobReader, BlobStat, BlobWriter, Digest } from '../repo/blobs/blob-store.ts';
import type { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import { orAborted } from './bell.ts';
import { abandoned, contradiction, gone, tooSlow } from './failures.ts';
import { fetchStretch, type OpenedBody } from './fetch-stretch.ts';
import { FillReader } from './fill-reader.ts';
import { Interest } from './interest.ts';
import { Patience } from './patience.ts';
import type { RetryRules } from './rules.ts';
import type { Stated } from './sidecar.ts';
import type { Candidate } from './sources.ts';
import { Spool, type Stretch } from './spool.ts';
import type { Expected } from './vouching.ts';

export interface FillParts {
  /** Not left; the first is that which gave the facts. */
  readonly candidates: readonly Candidate[];
  readonly facts: UpstreamFacts;
  /** The spool's file, empty or with what is there already. The fill ends it. */
  readonly writer: BlobWriter;
  /** What an answer that is open already brings. */
  readonly opened?: OpenedBody;
  /** Of the request that caused it. */
  readonly via?: string;
  /** It is never a web page. */
  readonly isBinary: boolean;
  /** What the bytes must be, as far as somebody else than their source says; null: nobody does. */
  readonly expected: () => Promise<Stated | null>;
  /** The first reader begins far behind the front. */
  readonly isScattered: boolean;
  readonly bandwidth: Bandwidth;
  readonly retry: RetryRules;
  /** It is noted where the spool is: what is there can be gone on with. */
  readonly isNoted: boolean;
  /** Makes the bytes durable and visible. @throws upstream.unusable if they are wrong; the writer is then cancelled */
  readonly store: (writer: BlobWriter, expected: Expected) => Promise<BlobStat>;
  /** Opens what was stored, proven. */
  readonly open: (digest: Digest) => Promise<BlobReader>;
  readonly onBytes: (count: number) => void;
  /** A reader went before what it got was proven. */
  readonly onUnproven: () => void;
}

export class Fill {
  readonly facts: UpstreamFacts;
  /** By `performance.now()`. */
  readonly startedAt = performance.now();
  readonly #parts: FillParts;
  readonly #spool: Spool;
  readonly #stop = new AbortController();
  readonly #patience: Patience;
  readonly #interest: Interest;
  /** Index of the source that is used; there is no way back to an earlier one while it works. */
  #source = 0;
  #received = 0;
  #sideFailures = 0;
  #stored: BlobStat | undefined;
  #failure: unknown;
  readonly done: Promise<BlobStat>;

  constructor(parts: FillParts) {
    const { facts, writer, isScattered } = parts;
    const { size, strongValidator, digest } = facts;
    this.#parts = parts;
    this.facts = facts;
    const canSkip = size !== null && (strongValidator ?? digest) !== null;
    this.#spool = new Spool(writer, { size, canSkip, isScattered });
    this.#patience = new Patience(parts.retry);
    this.#interest = new Interest(parts.retry.abandonAfter, () => this.#abandon());
    setMaxListeners(0, this.#stop.signal); // each stretch listens
    this.done = this.#run();
    this.done.catch(() => undefined); // readers hear of it, and whoever looks at `done`
  }

  /** Bytes fetched by this fill. */
  get received(): number {
    return this.#received;
  }

  /** Bytes that are there, whoever fetched them. */
  get progress(): number {
    return this.#spool.progress;
  }

  get source(): string {
    return this.#candidate.source.name;
  }

  /** Waiting for the next round. */
  get trouble(): string | null {
    const { trouble } = this.#patience;
    return trouble instanceof Error ? trouble.message : null;
  }

  /** For one reader. @param hint where it will stop reading, as far as it says so */
  reader(hint: number | undefined, signal: AbortSignal | undefined): FillReader {
    // Cheaper than a race at each piece: who is gone finds out at the next ring.
    signal?.addEventListener('abort', () => this.#spool.bell.ring(), { once: true });
    this.#interest.come();
    return new FillReader(this, hint, signal);
  }

  /** A reader went. What it got may never have been proven: it was a range inside, or the reader left early. */
  left({ hasUnproven }: FillReader): void {
    this.#interest.go();
    if (hasUnproven && this.#stored === undefined) this.#parts.onUnproven();
  }

  /** Waits until all is stored. @throws what the fill fails with; interrupted when `signal` fires */
  async wait(signal?: AbortSignal): Promise<BlobStat> {
    this.#interest.come();
    try {
      return await orAborted(this.done, signal);
    } finally {
      this.#interest.go();
    }
  }

  /**
   * As `wait`, but no longer than until all sources have failed one after the other: who waits for an answer does not wait
   * for the next round, which begins at once because somebody came.
   * @throws also what the last of them failed with
   */
  async waitARound(signal?: AbortSignal): Promise<BlobStat> {
    const { rounds } = this.#patience;
    const { bell } = this.#spool;
    this.#interest.come();
    try {
      for (;;) {
        const { next } = bell;
        if (this.#stored !== undefined || this.#failure !== undefined) return await orAborted(this.done, signal);
        if (this.#patience.rounds > rounds) throw this.#patience.failure;
        this.#patience.wake();
        await orAborted(next, signal);
      }
    } finally {
      this.#interest.go();
    }
  }

  /** It failed, and puts away what can be gone on with. */
  get isEnding(): boolean {
    return this.#failure !== undefined;
  }

  openStored(digest: Digest): Promise<BlobReader> {
    return this.#parts.open(digest);
  }

  /** Ends the fill where it stands; what is there can be gone on with. */
  async suspend(): Promise<void> {
    this.#stop.abort(new AirlockError('http.draining', 'This server is about to stop. Ask again, or ask another one.'));
    await this.done.catch(() => undefined);
  }

  /**
   * Reads what is there at a position, or waits for it.
   * @returns 0 at the end
   * @throws what the fill failed with; what all sources failed with, if that happened while this call waited
   */
  async readAt(into: Uint8Array, position: number, reader: FillReader): Promise<number> {
    const { rounds } = this.#patience;
    const { writer, bell } = this.#spool;
    for (;;) {
      if (reader.signal?.aborted === true) throw gone();
      if (this.#stored !== undefined) return await (await reader.stored(this.#stored.digest)).readAt(into, position);
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#patience.rounds > rounds) throw this.#patience.failure;
      if (this.facts.size !== null && position >= this.facts.size) return 0;
      const length = Math.min(into.byteLength, this.#spool.givable(position) - position);
      const { next } = bell;
      if (length > 0) {
        const got = await writer.readAt(into.subarray(0, length), position).catch(() => 0); // it may just be committed
        if (got > 0) {
          reader.hasUnproven = true;
          return got;
        }
        if (this.#stored === undefined && this.#failure === undefined) await next;
        continue;
      }
      this.#want(position, reader.hint);
      await next;
    }
  }

  get #candidate(): Candidate {
    const { candidates } = this.#parts;
    const candidate = candidates[this.#source % candidates.length];
    if (candidate === undefined) throw new AirlockError('internal', 'A fill has no source. Please report this.');
    return candidate;
  }

  /** Sees to it that somebody will come by at `position` soon. */
  #want(position: number, hint = position + limits.proxy.stretch): void {
    this.#patience.wake();
    if (this.#sideFailures > limits.proxy.stretches) return;
    const aside = this.#spool.planAside(position, hint);
    if (aside === undefined) return;
    this.#fetch(aside).catch(() => {
      this.#sideFailures += 1;
      this.#spool.bell.ring();
    });
  }

  async #run(): Promise<BlobStat> {
    const { store, expected } = this.#parts;
    const digest = expected();
    // What must not be served need not be fetched to its end.
    digest.catch((error: unknown) => isAirlockError(error, 'upstream.signature') && this.#stop.abort(error));
    const timer = setTimeout(() => this.#stop.abort(tooSlow()), this.#parts.retry.timeout).unref();
    try {
      await this.#fetchAll();
      const stated = await digest;
      const claimed = this.facts.digest;
      if (stated !== null && claimed !== null && stated.digest !== claimed) throw contradiction(stated.digest, claimed);
      this.#stored = await store(this.#spool.writer, stated ?? { digest: claimed, isSigned: false });
      return this.#stored;
    } catch (error) {
      this.#failure = error;
      await this.#leave(error);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#interest.end();
      this.#stop.abort();
      this.#spool.bell.ring();
    }
  }

  /** Keeps what can be gone on with. */
  async #leave(error: unknown): Promise<void> {
    const { writer, bell } = this.#spool;
    this.#stop.abort(error);
    while (this.#spool.isBusy) await bell.next;
    const isWrong = isAirlockError(error, 'upstream.unusable', 'upstream.signature', 'upstream.changed');
    if (!isWrong && this.#parts.isNoted && this.#spool.canSkip) await writer.suspend().catch(() => undefined);
    await writer.cancel();
  }

  /** Source after source, round after round, until there is no gap any more. */
  async #fetchAll(): Promise<void> {
    let { opened } = this.#parts;
    let tried = 0;
    for (let attempt = 0; ; ) {
      const gap = this.#spool.nextGap();
      if (gap === undefined && !this.#spool.isBusy) {
        opened?.body.destroy();
        return;
      }
      if (gap === undefined) {
        await orAborted(this.#spool.bell.next, this.#stop.signal);
        continue;
      }
      const before = this.progress;
      try {
        await this.#fetch({ position: gap.start, end: gap.end }, opened);
      } catch (error) {
        if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
        if (isFinal(error)) throw error;
        this.#source += 1; // where there is but one, the same again
        const came = this.progress - before;
        if (came > 0) [tried, attempt] = [0, 0];
        // It broke off, as connections do: those who wait need not hear of it.
        if (came >= limits.proxy.worthAsking) continue;
        tried += 1;
        if (tried < this.#parts.candidates.length) continue;
        [tried, attempt] = [0, attempt + 1];
        await this.#patience.rest(error, attempt, this.#stop.signal, () => this.#spool.bell.ring());
      } finally {
        opened = undefined;
      }
    }
  }

  async #fetch(stretch: Stretch, opened?: OpenedBody): Promise<void> {
    const { via, isBinary, bandwidth, onBytes } = this.#parts;
    const parts = {
      candidate: this.#candidate,
      facts: this.facts,
      spool: this.#spool,
      via,
      isBinary,
      bandwidth,
      signal: this.#stop.signal,
      onBytes: (count: number) => {
        this.#received += count;
        this.#patience.trouble = undefined;
        onBytes(count);
      },
    };
    await fetchStretch(parts, stretch, opened);
  }

  /** Nobody waits any more. */
  #abandon(): void {
    const { size } = this.facts;
    if (size !== null && this.progress < size * this.#parts.retry.abandonBelow) this.#stop.abort(abandoned());
  }
}

/** No other source and no other time would make it better. */
function isFinal(error: unknown): boolean {
  return !isAirlockError(error, 'upstream.unreachable', 'upstream.failed', 'upstream.unauthorized', 'interrupted');
}
