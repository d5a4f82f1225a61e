import { setTimeout as sleep } from 'node:timers/promises';
import { Bell } from './bell.ts';
import { type RetryRules, retryDelay } from './rules.ts';

/** What a fill does when all its sources have failed: it rests, and begins another round, until it has had enough. */
export class Patience {
  readonly #rules: RetryRules;
  readonly #startedAt = performance.now();
  readonly #awake = new Bell();
  /** How often all sources failed one after the other. */
  rounds = 0;
  /** What the last round ended with, whatever came since. */
  failure: unknown;
  /** The same, until bytes come again. */
  trouble: unknown;
  #isResting = false;

  constructor(rules: RetryRules) {
    this.#rules = rules;
  }

  /** Somebody came who wants to know: a rest ends at once. */
  wake(): void {
    if (this.#isResting) this.#awake.ring();
  }

  /**
   * Sleeps until the next round, or until somebody comes.
   * @param attempt rounds in which nothing came, from 1 on
   * @param tell called before sleeping, for those who wait
   * @throws `error` if that was enough; the signal's reason
   */
  async rest(error: unknown, attempt: number, signal: AbortSignal, tell: () => void): Promise<void> {
    const { attempts, timeout } = this.#rules;
    const isOver = (attempts > 0 && attempt >= attempts) || performance.now() - this.#startedAt > timeout;
    if (isOver) throw error;
    this.failure = error;
    this.trouble = error;
    this.rounds += 1;
    this.#isResting = true;
    const awake = this.#awake.next;
    tell();
    const timer = new AbortController();
    const either = AbortSignal.any([timer.signal, signal]);
    const delay = retryDelay(this.#rules, attempt);
    await Promise.race([awake, sleep(delay, undefined, { ref: false, signal: either }).catch(() => undefined)]);
    timer.abort();
    this.#isResting = false;
    signal.throwIfAborted();
  }
}
