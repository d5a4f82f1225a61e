/**
 * Asking the sources in order, until one has an answer; and remembering for a moment what none of them has.
 */
import NodeCache from 'node-cache';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { FetchOptions, UpstreamAnswer, UpstreamFacts } from '../repo/upstream/upstream.ts';
import { asError, ask } from './ask.ts';
import { classOf } from './content-class.ts';
import type { Counters } from './counters.ts';
import { nobody } from './failures.ts';
import type { OnDemand } from './on-demand.ts';
import type { Candidate, Sources } from './sources.ts';

export interface InquiryParts {
  readonly sources: Sources;
  readonly counters: Counters;
  readonly logger: Logger;
  /** How long it is believed that there is no such path, milliseconds. */
  readonly missingFor: number;
  readonly onDemand: OnDemand;
}

/** An answer, and who gave it. */
export interface Heard {
  readonly answer: UpstreamAnswer;
  readonly candidate: Candidate;
}

export class Inquiry {
  readonly #parts: InquiryParts;
  readonly #missing = new NodeCache({ maxKeys: limits.proxy.missing, checkperiod: 60, useClones: false });
  /** Questions under way, by path. */
  readonly #heads = new Map<string, Promise<UpstreamFacts | undefined>>();

  constructor(parts: InquiryParts) {
    this.#parts = parts;
  }

  /**
   * @throws upstream.unreachable, proxy.not-cached if nobody may be asked; path.not-found for what published metadata does
   *   not list
   */
  async candidates(path: string): Promise<readonly Candidate[]> {
    const { sources, onDemand } = this.#parts;
    const origin = await onDemand.origin(path);
    const candidates = sources.candidates(path, origin);
    if (candidates.length === 0) throw onDemand.refusal(path, origin) ?? nobody(path);
    return candidates;
  }

  /** Nobody had it, a moment ago. */
  isMissing(path: string): boolean {
    return this.#missing.has(path);
  }

  rememberMissing(path: string): void {
    this.#parts.counters.missing += 1;
    if (this.#missing.getStats().keys >= limits.proxy.missing) this.#missing.flushAll();
    if (this.#parts.missingFor > 0) this.#missing.set(path, true, this.#parts.missingFor / 1000);
  }

  forgetMissing(): void {
    this.#missing.flushAll();
  }

  /** Somebody is asking what the sources say of a path. */
  isAskingHead(path: string): boolean {
    return this.#heads.has(path);
  }

  /**
   * What the first source that has it says of a path; asked once for all who want to know at the same time.
   * @returns undefined where it is said that there is nothing; that is remembered
   * @param via of whoever asks first
   * @throws what the last source failed with, if none answered
   */
  head(path: string, via?: string): Promise<UpstreamFacts | undefined> {
    let asking = this.#heads.get(path);
    if (asking === undefined) {
      asking = this.#head(path, via).finally(() => this.#heads.delete(path));
      this.#heads.set(path, asking);
    }
    return asking;
  }

  async #head(path: string, via: string | undefined): Promise<UpstreamFacts | undefined> {
    const onward = via === undefined ? {} : { via };
    let trouble: unknown;
    let saidNo = false;
    for (const { source, path: name } of await this.candidates(path)) {
      try {
        const onlyIfCached = source.kind === 'peer';
        const facts = await source.upstream.head(name, { ...onward, onlyIfCached });
        source.health.note();
        if (facts !== undefined) return facts;
        saidNo ||= source.kind !== 'peer';
      } catch (error) {
        source.health.note(asError(error));
        trouble = error;
      }
    }
    if (!saidNo) throw trouble ?? nobody(path);
    this.rememberMissing(path);
    return undefined;
  }

  /** The first answer to a GET. @throws what the last source failed with, if none answered */
  async first(path: string, candidates: readonly Candidate[], options: FetchOptions): Promise<Heard> {
    let trouble: unknown;
    let no: Heard | undefined;
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
    this.#parts.counters.refused += 1;
    throw new AirlockError(
      'upstream.unusable',
      'A web page came in place of the file: a login or captive portal answered instead of the source. Log in there, or check the address of the source.',
    );
  }
}
