/**
 * From "not here, or perhaps not current" to what is to be done: one question to the sources for all who want to know,
 * and a fill begun with the answer.
 */
import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobWriter } from '../repo/blobs/blob-store.ts';
import type { FetchOptions, UpstreamBody, UpstreamFacts } from '../repo/upstream/upstream.ts';
import { isSame } from './ask.ts';
import type { Fill } from './fill.ts';
import type { Fills, Pending } from './fills.ts';
import type { Heard, Inquiry } from './inquiry.ts';
import type { KeptFacts, PendingFacts } from './kept.ts';
import type { Kept, KeptCopies } from './kept-copies.ts';
import type { Candidate } from './sources.ts';

/** What came of asking the sources. */
export type Found =
  | { readonly type: 'filling'; readonly fill: Fill }
  /** What is kept is current. */
  | { readonly type: 'same' }
  | { readonly type: 'missing' };

export interface ObtainingParts {
  readonly inquiry: Inquiry;
  readonly copies: KeptCopies;
  readonly fills: Fills;
}

/** What the first request that wants to know says of itself. */
export interface Wish {
  /** As OpenOptions. */
  readonly range?: { readonly start: number; readonly end?: number } | { readonly suffix: number };
  readonly via?: string;
}

export class Obtaining {
  readonly #parts: ObtainingParts;
  /** Questions under way, by path. */
  readonly #asking = new Map<string, Promise<Found>>();

  constructor(parts: ObtainingParts) {
    this.#parts = parts;
  }

  isAsking(path: string): boolean {
    return this.#asking.has(path);
  }

  /**
   * Asks, or waits for whoever is asking. What others wait for does not end when one of them goes.
   * @param kept the copy that may not be current
   * @throws upstream.*
   */
  once(path: string, kept: Kept | undefined, wish: Wish): Promise<Found> {
    let asking = this.#asking.get(path);
    if (asking === undefined) {
      asking = this.#ask(path, kept, wish).finally(() => this.#asking.delete(path));
      this.#asking.set(path, asking);
    }
    return asking;
  }

  async #ask(path: string, kept: Kept | undefined, wish: Wish): Promise<Found> {
    const { inquiry, copies, fills } = this.#parts;
    if (kept === undefined && (await copies.get(path)) !== undefined) return { type: 'same' }; // it has just been kept
    const candidates = await inquiry.candidates(path);
    if (kept !== undefined) return await this.#revalidate(path, kept, candidates, wish);
    const pending = await fills.resume(path);
    if (pending !== undefined) return await this.#goOn(path, pending, candidates, wish);
    return (await this.#beginByHead(path, candidates, wish)) ?? (await this.#begin(path, candidates, wish));
  }

  async #revalidate(path: string, kept: Kept, candidates: readonly Candidate[], { via }: Wish): Promise<Found> {
    const { inquiry, copies } = this.#parts;
    const heard = await inquiry.first(path, candidates, { unless: unlessOf(kept.facts), ...onward(via) });
    const { answer } = heard;
    if (answer.type === 'missing') {
      await copies.drop(path);
      return await this.#missing(path);
    }
    if (answer.type === 'not-modified') {
      copies.confirm(path, answer.facts);
      return { type: 'same' };
    }
    return await this.#fill(path, heard, candidates, { via });
  }

  async #begin(path: string, candidates: readonly Candidate[], { via }: Wish): Promise<Found> {
    const heard = await this.#parts.inquiry.first(path, candidates, onward(via));
    return heard.answer.type === 'missing'
      ? await this.#missing(path)
      : await this.#fill(path, heard, candidates, { via });
  }

  /**
   * Where all is there but was not kept, the last byte is asked for again: to learn whether it still is that file. Where the
   * rest cannot be had, the whole content is asked for; what is there goes when that has come, not before.
   */
  async #goOn(path: string, pending: Pending, candidates: readonly Candidate[], { via }: Wish): Promise<Found> {
    const { facts, writer } = pending;
    const start = Math.min(firstMissing(writer), facts.size - 1);
    const options: FetchOptions = { start, validator: facts.strongValidator, ...onward(via) };
    const { inquiry } = this.#parts;
    try {
      const heard = await inquiry.first(path, candidates, options).catch((error: unknown) => {
        if (isAirlockError(error, 'upstream.changed', 'upstream.unusable'))
          return inquiry.first(path, candidates, onward(via));
        throw error;
      });
      if (heard.answer.type === 'missing') {
        await writer.cancel();
        return await this.#missing(path);
      }
      return await this.#fill(path, heard, candidates, { via, pending });
    } catch (error) {
      await writer.suspend().catch(() => undefined);
      throw error;
    }
  }

  /** A reader who begins far behind shall not wait for all that is before: the head says how long the content is. */
  async #beginByHead(path: string, candidates: readonly Candidate[], { range, via }: Wish): Promise<Found | undefined> {
    const isFar = range !== undefined && ('suffix' in range || range.start > limits.proxy.ahead);
    if (!isFar) return undefined;
    const { inquiry, fills } = this.#parts;
    const facts = await inquiry.head(path, via).catch(() => null);
    if (facts === undefined) return { type: 'missing' };
    if (facts === null || facts.size === null || (facts.strongValidator ?? facts.digest) === null) return undefined;
    const writer = await fills.spool(path, facts);
    const fill = fills.begin(path, { facts, writer, order: candidates, isScattered: true, ...onward(via) });
    return { type: 'filling', fill };
  }

  async #fill(
    path: string,
    { answer, candidate }: Heard,
    candidates: readonly Candidate[],
    { via, pending }: { via: string | undefined; pending?: Pending },
  ): Promise<Found> {
    const { fills } = this.#parts;
    if (answer.type !== 'content') return { type: answer.type === 'missing' ? 'missing' : 'same' };
    const { facts, body, range } = answer;
    const at = candidates.indexOf(candidate);
    const order = [...candidates.slice(at), ...candidates.slice(0, at)];
    // A source that knows no If-Range may send a part of another content.
    const goesOn = pending !== undefined && range !== null && isSame(facts, pending.facts);
    const all = goesOn ? withNoted(facts, pending.facts) : facts;
    const writer = goesOn ? pending.writer : await this.#spoolAnew(path, facts, pending).catch(destroying(body));
    const start = range?.start ?? 0;
    const isUsable = goesOn || start === 0; // else it changed, and then answered a part of the new one all the same
    if (!isUsable) body.destroy();
    const opened = isUsable ? { opened: { body, start } } : {};
    return { type: 'filling', fill: fills.begin(path, { facts: all, writer, order, ...opened, ...onward(via) }) };
  }

  async #spoolAnew(path: string, facts: UpstreamFacts, pending: Pending | undefined): Promise<BlobWriter> {
    const { fills } = this.#parts;
    if (pending !== undefined) {
      await pending.writer.cancel();
      await fills.forgetPending(path);
    }
    return await fills.spool(path, facts);
  }

  async #missing(path: string): Promise<Found> {
    const { inquiry, fills } = this.#parts;
    await fills.forgetPending(path);
    inquiry.rememberMissing(path);
    return { type: 'missing' };
  }
}

function onward(via: string | undefined): { readonly via?: string } {
  return via === undefined ? {} : { via };
}

/** What was said of the bytes that are there holds for the whole: the source of the rest may know less. */
function withNoted(facts: UpstreamFacts, noted: PendingFacts): UpstreamFacts {
  return {
    ...facts,
    size: facts.size ?? noted.size,
    digest: facts.digest ?? noted.digest,
    isUnverified: facts.isUnverified || (facts.digest === null && noted.isUnverified),
  };
}

function destroying(body: UpstreamBody): (error: unknown) => never {
  return (error) => {
    body.destroy();
    throw error;
  };
}

function firstMissing(writer: BlobWriter): number {
  const [first] = writer.have();
  return first?.start === 0 ? first.end : 0;
}

function unlessOf({ etag, modified }: KeptFacts): NonNullable<FetchOptions['unless']> {
  return { etag, modified: modified === null ? null : new Date(modified) };
}
