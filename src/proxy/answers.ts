/**
 * What a client gets: of a copy that is kept, of a fill that is under way, or of a head, with what is told of it.
 */
import { type AirlockError, isAirlockError } from '../errors.ts';
import type { OpenArtifact, OpenOptions } from '../repo/artifact-source.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import { classOf } from './content-class.ts';
import type { Counters } from './counters.ts';
import { notVerified } from './failures.ts';
import type { Fill } from './fill.ts';
import type { HotCopies } from './hot-copies.ts';
import { freshUntil } from './kept.ts';
import type { Kept, KeptCopies } from './kept-copies.ts';
import type { ProxyRules } from './rules.ts';
import { comingArtifact, headersOf, keptArtifact, type Outcome } from './told.ts';
import type { Vouching } from './vouching.ts';

export interface AnswersParts {
  readonly copies: KeptCopies;
  readonly hot: HotCopies;
  readonly vouching: Vouching;
  readonly trusted: TrustedBlobs;
  readonly counters: Counters;
  readonly rules: ProxyRules;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

type Opened = Pick<OpenArtifact, 'body' | 'readAt' | 'close'>;

export class Answers {
  readonly #parts: AnswersParts;

  constructor(parts: AnswersParts) {
    this.#parts = parts;
  }

  /** It need not be asked for again. */
  isCurrent(path: string, kept: Kept): boolean {
    return this.#parts.now() < this.#freshUntil(path, kept);
  }

  /**
   * Of a kept copy.
   * @returns undefined if the stored bytes are not there any more, or damaged: they are fetched again then
   * @throws upstream.unusable for what is not proven enough
   */
  async kept(path: string, kept: Kept, outcome: Outcome): Promise<OpenArtifact | undefined> {
    const { copies, vouching, trusted, counters, now } = this.#parts;
    const { pulled, facts } = kept;
    if (!vouching.suffices(path, facts.verification)) throw notVerified(path);
    const open = async (): Promise<Opened> => (await this.inMemory(path, kept)) ?? (await trusted.open(pulled.digest));
    const opened = await copies.use(path, open);
    if (opened === undefined) return undefined;
    counters.count(outcome.cache, pulled.size);
    return {
      facts: keptArtifact(path, pulled, facts),
      ...(opened.body === undefined ? {} : { body: opened.body }),
      headers: headersOf({ ...outcome, age: Math.max(0, now() - facts.checkedAt) }),
      readAt: (into, position) => opened.readAt(into, position),
      close: () => opened.close(),
    };
  }

  /** Of a copy that is current and small, once it is in memory. Counts nothing. */
  async inMemory(path: string, kept: Kept): Promise<OpenArtifact | undefined> {
    const isServed = this.#parts.vouching.suffices(path, kept.facts.verification) && this.isCurrent(path, kept);
    return isServed ? await this.#parts.hot.warm(path, kept, this.#freshUntil(path, kept)) : undefined;
  }

  /** What is kept stands in where no source can be asked, for a while. @throws what `open` throws, where it may not */
  async orStale(
    path: string,
    kept: Kept | undefined,
    open: () => Promise<OpenArtifact | undefined>,
  ): Promise<OpenArtifact | undefined> {
    try {
      return await open();
    } catch (error) {
      if (kept === undefined || !mayServeStale(error)) throw error;
      const left = this.#freshUntil(path, kept) - this.#parts.now();
      if (left + this.#parts.rules.stale <= 0) throw error;
      const status = `hit; ttl=${Math.floor(left / 1000)}; detail=${error.code}`;
      const stale = await this.kept(path, kept, { cache: 'STALE', status });
      if (stale === undefined) throw error;
      return stale;
    }
  }

  /** Of what is on its way. @param status of Cache-Status */
  coming(path: string, fill: Fill, { range, signal }: OpenOptions, status: string): OpenArtifact {
    this.#parts.counters.count('MISS', fill.facts.size ?? 0);
    const reader = fill.reader(range !== undefined && 'start' in range ? range.end : undefined, signal);
    return {
      facts: comingArtifact(path, fill.facts),
      headers: headersOf({ cache: 'MISS', status, ...ageOf(fill.facts, performance.now() - fill.startedAt) }),
      readAt: (into, position) => reader.readAt(into, position),
      close: () => reader.close(),
    };
  }

  /** Of what a source says. There is nothing to read. */
  head(path: string, facts: UpstreamFacts, status: string): OpenArtifact {
    return {
      facts: comingArtifact(path, facts),
      headers: headersOf({ cache: 'MISS', status, ...ageOf(facts, 0) }),
      readAt: () => Promise.resolve(0),
      close: () => Promise.resolve(),
    };
  }

  #freshUntil(path: string, { facts }: Kept): number {
    return freshUntil(facts, classOf(path), this.#parts.rules.fresh);
  }
}

/** Of what comes out of another cache (RFC 9111, 5.1). @param since milliseconds since it was asked */
function ageOf({ age }: UpstreamFacts, since: number): { readonly age?: number } {
  return age === 0 ? {} : { age: age + since };
}

function mayServeStale(error: unknown): error is AirlockError {
  return isAirlockError(error) && error.code.startsWith('upstream.');
}
