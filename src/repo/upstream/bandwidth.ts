import { setTimeout as sleep } from 'node:timers/promises';

/** Holds back whoever takes more than so many bytes per second; several take turns, so that each gets its share. */
export class Bandwidth {
  readonly #rate: number;
  /** When all that was taken so far is paid for, by `performance.now()`. */
  #paidAt = 0;

  /** @param rate bytes per second; Infinity: no limit */
  constructor(rate: number) {
    this.#rate = rate;
  }

  get isLimited(): boolean {
    return this.#rate !== Number.POSITIVE_INFINITY;
  }

  /** Waits as long as these bytes take, once half a second's worth has been taken ahead. */
  async take(bytes: number): Promise<void> {
    if (!this.isLimited) return;
    const now = performance.now();
    this.#paidAt = Math.max(now - BURST, this.#paidAt) + (bytes / this.#rate) * 1000;
    const wait = this.#paidAt - now;
    if (wait > 0) await sleep(wait, undefined, { ref: false });
  }
}

/** So much silence may be made up for, milliseconds. */
const BURST = 500;
