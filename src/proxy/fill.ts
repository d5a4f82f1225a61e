/**
 * One content on its way from its sources into the store, and to everybody who wants it meanwhile.
 *
 * The bytes go into one sparse spool (a resumable BlobWriter). The main stretch runs from the front to the end; a reader
 * far ahead of it gets a stretch of its own into the same spool, and the main one skips what is there. Readers wait for
 * the bytes that they want. When all are there they are hashed, compared with the digest that is expected, committed
 * and recorded; only then the last byte is given out. A fill does not depend on whoever caused it.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobReader, BlobStat, BlobWriter, ByteRange, Digest } from '../repo/blobs/blob-store.ts';
import { unexpectedContent } from '../repo/formats/unexpected-content.ts';
import type { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { FetchOptions, UpstreamAnswer, UpstreamFacts } from '../repo/upstream/upstream.ts';
import { Bell, orAborted } from './bell.ts';
import type { Candidate } from './sources.ts';

export interface FillParts {
  /** Not left; the first is that which gave the facts. */
  readonly candidates: readonly Candidate[];
  readonly facts: UpstreamFacts;
  /** The spool, empty or with what is there already. The fill ends it. */
  readonly writer: BlobWriter;
  /** What an answer that is open already brings. */
  readonly opened?: OpenedBody;
  /** Of the request that caused it. */
  readonly via?: string;
  /** It is never a web page. */
  readonly isBinary: boolean;
  /** What the bytes must be, as far as somebody else than their source says; null: nobody does. */
  readonly expected: () => Promise<Digest | null>;
  /** The first reader begins far behind the front. */
  readonly isScattered: boolean;
  readonly bandwidth: Bandwidth;
  readonly retry: RetryRules;
  /** Makes the bytes durable and visible. @throws upstream.unusable if they are wrong; the writer is then cancelled */
  readonly store: (writer: BlobWriter, expected: Digest | null) => Promise<BlobStat>;
  /** Opens what was stored, proven. */
  readonly open: (digest: Digest) => Promise<BlobReader>;
  readonly onBytes: (count: number) => void;
  /** A reader went before what it got was proven. */
  readonly onUnproven: () => void;
}

export interface OpenedBody {
  readonly body: Extract<UpstreamAnswer, { type: 'content' }>['body'];
  /** Position of its first byte. */
  readonly start: number;
}

export interface RetryRules {
  /** Rounds through all sources without a new byte; 0: until the time is up. */
  readonly attempts: number;
  /** Milliseconds. */
  readonly timeout: number;
  readonly firstDelay: number;
  readonly maxDelay: number;
}

/** Bytes that somebody is fetching: `position` moves towards `end`. */
interface Stretch {
  position: number;
  end: number;
}

/** Ends of side stretches lie on a grid, so that readers cannot cut the spool into crumbs. */
const GRID = limits.chunk;

export class Fill {
  readonly facts: UpstreamFacts;
  readonly #parts: FillParts;
  readonly #writer: BlobWriter;
  readonly #bell = new Bell();
  readonly #stretches = new Set<Stretch>();
  readonly #stop = new AbortController();
  readonly #started = performance.now();
  /** Index of the source that is used; there is no way back to an earlier one while it works. */
  #source = 0;
  #canSkip: boolean;
  /** Readers are at several places: what is fetched is fetched in pieces. */
  #isScattered: boolean;
  #received = 0;
  #sideFailures = 0;
  #stored: BlobStat | undefined;
  #failure: unknown;
  /** How often all sources failed one after the other, and with what at last. */
  #rounds = 0;
  #trouble: unknown;
  #isPaused = false;
  readonly done: Promise<BlobStat>;

  constructor(parts: FillParts) {
    this.#parts = parts;
    this.facts = parts.facts;
    this.#writer = parts.writer;
    setMaxListeners(0, this.#stop.signal); // each stretch listens
    this.#isScattered = parts.isScattered;
    this.#canSkip = parts.facts.size !== null && (parts.facts.strongValidator ?? parts.facts.digest) !== null;
    this.done = this.#run();
    this.done.catch(() => undefined); // readers hear of it, and whoever looks at `done`
  }

  /** Bytes fetched by this fill. */
  get received(): number {
    return this.#received;
  }

  /** Bytes that are there, whoever fetched them. */
  get progress(): number {
    return this.#writer.have().reduce((sum, { start, end }) => sum + end - start, 0);
  }

  get startedAt(): number {
    return this.#started;
  }

  get source(): string {
    return this.#candidate.source.name;
  }

  /** Waiting for the next round. */
  get trouble(): string | null {
    return this.#trouble instanceof Error ? this.#trouble.message : null;
  }

  /** For one reader. @param hint where it will stop reading, as far as it says so */
  reader(hint: number | undefined, signal: AbortSignal | undefined): FillReader {
    // Cheaper than a race at each piece: who is gone finds out at the next ring.
    signal?.addEventListener('abort', () => this.#bell.ring(), { once: true });
    return new FillReader(this, hint, signal);
  }

  /** A reader went. What it got may never have been proven: it was a range inside, or the reader left early. */
  left({ hasUnproven }: FillReader): void {
    if (hasUnproven && this.#stored === undefined) this.#parts.onUnproven();
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
    const rounds = this.#rounds;
    for (;;) {
      if (reader.signal?.aborted === true) throw gone();
      if (this.#stored !== undefined) return await (await reader.stored(this.#stored.digest)).readAt(into, position);
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#rounds > rounds) throw this.#trouble;
      if (this.facts.size !== null && position >= this.facts.size) return 0;
      const length = Math.min(into.byteLength, this.#givable(position) - position);
      if (length > 0) {
        const next = this.#bell.next;
        const got = await this.#writer.readAt(into.subarray(0, length), position).catch(() => 0); // it may just be committed
        if (got > 0) {
          reader.hasUnproven = true;
          return got;
        }
        if (this.#stored === undefined && this.#failure === undefined) await next;
        continue;
      }
      const next = this.#bell.next;
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

  /** Up to where a reader at `position` may go: the last byte is held back until all are proven. */
  #givable(position: number): number {
    const there = firstGap(this.#writer.have(), position);
    const { size } = this.facts;
    return Math.min(there, (size ?? firstGap(this.#writer.have(), 0)) - 1);
  }

  /** Sees to it that somebody will come by at `position` soon. */
  #want(position: number, hint = position + limits.proxy.stretch): void {
    this.#wakeUp();
    const { size } = this.facts;
    if (!this.#canSkip || size === null || position >= size - 1 || this.#sideFailures > limits.proxy.stretches) return;
    const stretches = [...this.#stretches];
    const coming = stretches.find((each) => each.position <= position && position < each.end);
    const isNear = coming !== undefined && position - coming.position <= limits.proxy.ahead;
    if (isNear || stretches.length >= limits.proxy.stretches) return;
    const have = this.#writer.have();
    if (firstGap(have, position) > position) return;
    const behind = stretches.filter((each) => each.end <= position).map((each) => each.end);
    const start = Math.max(firstGap(have, position - (position % GRID)), ...behind);
    if (coming === undefined && start === firstGap(have) && stretches.length === 0) return; // that is the main one's
    if (coming !== undefined) coming.end = Math.max(coming.position, start);
    this.#isScattered = true;
    const end = Math.min(
      size,
      start + limits.proxy.stretch,
      Math.ceil(Math.max(hint, position + 1) / GRID) * GRID,
      ...have.filter((range) => range.start > start).map((range) => range.start),
      ...stretches.filter((each) => each.position > start).map((each) => each.position),
    );
    this.#fetch({ position: start, end }).catch(() => {
      this.#sideFailures += 1;
      this.#bell.ring();
    });
  }

  async #run(): Promise<BlobStat> {
    const { store, expected } = this.#parts;
    const digest = expected();
    digest.catch(() => undefined);
    const timer = setTimeout(() => this.#stop.abort(tooSlow()), this.#parts.retry.timeout).unref();
    try {
      await this.#fetchAll();
      const stated = await digest;
      const claimed = this.facts.digest;
      if (stated !== null && claimed !== null && stated !== claimed) throw contradiction(stated, claimed);
      this.#stored = await store(this.#writer, stated ?? claimed);
      return this.#stored;
    } catch (error) {
      this.#failure = error;
      await this.#leave(error);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#stop.abort();
      this.#bell.ring();
    }
  }

  /** Keeps what can be gone on with. */
  async #leave(error: unknown): Promise<void> {
    this.#stop.abort(error);
    while (this.#stretches.size > 0) await this.#bell.next;
    const isWorthless = isAirlockError(error, 'upstream.unusable', 'upstream.changed') || !this.#canSkip;
    if (!isWorthless) await this.#writer.suspend().catch(() => undefined);
    await this.#writer.cancel();
  }

  /** Source after source, round after round, until there is no gap any more. */
  async #fetchAll(): Promise<void> {
    let { opened } = this.#parts;
    let tried = 0;
    for (let attempt = 0; ; ) {
      const gap = this.#nextGap();
      if (gap === undefined && this.#stretches.size === 0) {
        opened?.body.destroy();
        return;
      }
      if (gap === undefined) {
        await orAborted(this.#bell.next, this.#stop.signal);
        continue;
      }
      const before = this.#received;
      try {
        await this.#fetch({ position: gap.start, end: gap.end }, opened);
      } catch (error) {
        if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
        if (isFinal(error)) throw error;
        if (this.#received > before) [tried, attempt] = [0, 0];
        tried += 1;
        this.#source += 1;
        if (tried < this.#parts.candidates.length) continue;
        [tried, attempt] = [0, attempt + 1];
        await this.#rest(error, attempt);
      } finally {
        opened = undefined;
      }
    }
  }

  /** Tells those who wait, and sleeps until the next round, or until somebody else comes who wants to know. */
  async #rest(error: unknown, attempt: number): Promise<void> {
    const { attempts, timeout, firstDelay, maxDelay } = this.#parts.retry;
    const isOver = (attempts > 0 && attempt >= attempts) || performance.now() - this.#started > timeout;
    if (isOver) throw error;
    this.#trouble = error;
    this.#rounds += 1;
    this.#isPaused = true;
    this.#bell.ring();
    const delay = Math.min(maxDelay, firstDelay * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
    const awake = this.#awake.next;
    const timer = new AbortController();
    const signal = AbortSignal.any([timer.signal, this.#stop.signal]);
    await Promise.race([awake, sleep(delay, undefined, { ref: false, signal }).catch(() => undefined)]);
    timer.abort();
    this.#isPaused = false;
    this.#stop.signal.throwIfAborted();
  }

  readonly #awake = new Bell();

  #wakeUp(): void {
    if (this.#isPaused) this.#awake.ring();
  }

  /** The first bytes that are neither there nor being fetched. */
  #nextGap(): ByteRange | undefined {
    const { size } = this.facts;
    const have = [
      ...this.#writer.have(),
      ...[...this.#stretches].map(({ position, end }) => ({ start: position, end })),
    ];
    const ranges = have.toSorted((a, b) => a.start - b.start);
    const start = ranges.reduce((at, range) => (range.start <= at ? Math.max(at, range.end) : at), 0);
    if (size === null) return this.#isWhole ? undefined : { start, end: Number.POSITIVE_INFINITY };
    if (start >= size) return undefined;
    const next = ranges.find((range) => range.start > start)?.start ?? size;
    return { start, end: this.#isScattered ? Math.min(next, start + limits.proxy.stretch) : next };
  }

  /** A body without a known length has come to its end. */
  #isWhole = false;

  /** Fetches a stretch into the spool. @throws upstream.*, space.insufficient */
  async #fetch(stretch: Stretch, opened?: OpenedBody): Promise<void> {
    this.#stretches.add(stretch);
    try {
      await this.#pump(stretch, opened ?? (await this.#open(stretch)));
    } finally {
      this.#stretches.delete(stretch);
      this.#bell.ring();
    }
  }

  async #pump(stretch: Stretch, { body, start }: OpenedBody): Promise<void> {
    const { bandwidth, onBytes, isBinary } = this.#parts;
    const { size } = this.facts;
    const { source } = this.#candidate;
    const { signal } = this.#stop;
    const cut = () => body.destroy();
    signal.addEventListener('abort', cut, { once: true });
    try {
      let at = start;
      for await (const piece of body) {
        signal.throwIfAborted();
        if (at === 0 && isBinary) assertNoPage(piece);
        const skipped = Math.min(piece.byteLength, Math.max(0, stretch.position - at));
        const room = stretch.end - stretch.position;
        const bytes = piece.subarray(skipped, Math.min(piece.byteLength, skipped + room));
        at += piece.byteLength;
        if (size === null && at > limits.proxy.unknownSize) throw endless();
        if (size !== null && at > size) throw tooLong(size);
        await this.#writer.writeAt(stretch.position, bytes);
        stretch.position += bytes.byteLength;
        this.#received += bytes.byteLength;
        this.#trouble = undefined;
        onBytes(bytes.byteLength);
        this.#bell.ring();
        await source.bandwidth?.take(bytes.byteLength);
        await bandwidth.take(bytes.byteLength);
        if (stretch.position >= stretch.end) break;
      }
      signal.throwIfAborted();
      if (size === null) this.#isWhole = true;
      else if (stretch.position < stretch.end) throw brokeOff(stretch);
    } catch (error) {
      if (!signal.aborted && error instanceof AirlockError) source.health.note(error);
      throw error;
    } finally {
      signal.removeEventListener('abort', cut);
      body.destroy();
    }
  }

  /** Asks the current source, which may have another content by now. */
  async #open(stretch: Stretch): Promise<OpenedBody> {
    const { size, strongValidator, digest } = this.facts;
    const { source, path } = this.#candidate;
    const { via } = this.#parts;
    const isPart = stretch.position > 0 || (size !== null && stretch.end < size);
    const options: FetchOptions = {
      start: stretch.position,
      ...(size !== null && stretch.end < size ? { end: stretch.end } : {}),
      // With a digest, whatever comes is checked in the end; entity tags of different sources cannot be compared.
      validator: isPart && digest === null ? strongValidator : null,
      onlyIfCached: source.kind === 'peer',
      ...(via === undefined ? {} : { via }),
      signal: this.#stop.signal,
    };
    const answer = await ask(this.#candidate, options);
    if (answer.type !== 'content') throw new AirlockError('upstream.failed', `${source.name} has no ${path} any more.`);
    if (!isSame(answer.facts, this.facts)) {
      answer.body.destroy();
      throw changed(source.name);
    }
    if (answer.range === null && isPart) this.#canSkip = false;
    return { body: answer.body, start: answer.range?.start ?? 0 };
  }
}

/** The view of one reader. The caller closes it. */
export class FillReader {
  readonly #fill: Fill;
  readonly hint: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** It got bytes before all were there. */
  hasUnproven = false;
  #isClosed = false;
  #stored: Promise<BlobReader> | undefined;

  constructor(fill: Fill, hint: number | undefined, signal: AbortSignal | undefined) {
    this.#fill = fill;
    this.hint = hint;
    this.signal = signal;
  }

  readAt(into: Uint8Array, position: number): Promise<number> {
    return this.#fill.readAt(into, position, this);
  }

  /** What the fill has become, opened once. */
  stored(digest: Digest): Promise<BlobReader> {
    this.#stored ??= this.#fill.openStored(digest);
    return this.#stored;
  }

  async close(): Promise<void> {
    if (!this.#isClosed) this.#fill.left(this);
    this.#isClosed = true;
    await this.#stored?.then(
      (reader) => reader.close(),
      () => undefined,
    );
  }
}

/** Asks a source, and notes how that went. A path that it does not have is no failure. */
export async function ask({ source, path }: Candidate, options: FetchOptions): Promise<UpstreamAnswer> {
  try {
    const answer = await source.upstream.fetch(path, options);
    source.health.note();
    return answer;
  } catch (error) {
    if (!isAirlockError(error, 'interrupted', 'upstream.changed')) source.health.note(asError(error));
    throw error;
  }
}

/** The first position from `from` on that is in none of these ascending ranges. */
function firstGap(ranges: readonly ByteRange[], from = 0): number {
  const range = ranges.find((each) => each.end > from);
  return range === undefined || range.start > from ? from : range.end;
}

type Identity = Pick<UpstreamFacts, 'size' | 'digest' | 'strongValidator'>;

/** Whether two answers are of the same bytes, as far as anybody can tell before all are there. */
export function isSame(a: Identity, b: Identity): boolean {
  if (a.size !== null && b.size !== null && a.size !== b.size) return false;
  if (a.digest !== null && b.digest !== null) return a.digest === b.digest;
  return b.digest !== null || (a.strongValidator !== null && a.strongValidator === b.strongValidator);
}

/** No other source and no other time would make it better. */
function isFinal(error: unknown): boolean {
  return !isAirlockError(error, 'upstream.unreachable', 'upstream.failed', 'upstream.unauthorized', 'interrupted');
}

/** @throws upstream.unusable */
function assertNoPage(head: Uint8Array): void {
  const what = unexpectedContent(head);
  if (what === undefined || head.byteLength === 0) return;
  throw new AirlockError('upstream.unusable', `What came in place of the file ${what}. Nothing of it was kept.`);
}

function gone(): AirlockError {
  return new AirlockError('interrupted', 'Whoever asked is gone.');
}

function contradiction(stated: Digest, claimed: Digest): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `The source gives the file the digest ${claimed}, its checksum file or repository ${stated}. Nothing of it was kept.`,
  );
}

function endless(): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `The other side does not say how long the file is, and it is longer than ${limits.proxy.unknownSize} bytes. Nothing of it was kept.`,
  );
}

function tooLong(size: number): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `More came than the ${size} bytes that were announced. Nothing was kept.`,
  );
}

function brokeOff({ position, end }: Stretch): AirlockError {
  return new AirlockError(
    'upstream.failed',
    `The answer ended at byte ${position}, before byte ${end}. It is gone on with.`,
  );
}

function tooSlow(): AirlockError {
  return new AirlockError(
    'upstream.unreachable',
    'Fetching took longer than is allowed. What is there is kept; ask again.',
  );
}

function changed(source: string): AirlockError {
  return new AirlockError(
    'upstream.changed',
    `The file changed at ${source} while it was being fetched. It is fetched anew; ask again.`,
  );
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
