import { limits } from '../../limits.ts';

/**
 * Read buffers for all responses together.
 *
 * `take` never waits and never fails: it gives less than was wanted when much is in use, down to the smallest
 * size, which is always to be had. So a thousand slow clients make everybody's buffers small and nobody wait, and
 * memory is bounded by `bound` plus one smallest buffer for each response.
 * All sizes are powers of two.
 */
export class BufferPool {
  readonly #bound: number;
  readonly #smallest: number;
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;
  #usedBytes = 0;

  constructor(bound: number = limits.http.buffers, smallest: number = limits.http.smallBuffer) {
    this.#bound = bound;
    this.#smallest = smallest;
  }

  /** Bytes of the buffers given out. */
  get inUse(): number {
    return this.#usedBytes;
  }

  /** Bytes of the buffers kept for the next. */
  get kept(): number {
    return this.#freeBytes;
  }

  /** @param wanted a power of two. @returns a buffer of at most that size, to be given back once */
  take(wanted: number): Buffer {
    let size = Math.max(wanted, this.#smallest);
    while (size > this.#smallest && this.#usedBytes + size > this.#bound) size /= 2;
    const kept = this.#free.get(size)?.pop();
    this.#usedBytes += size;
    if (kept !== undefined) {
      this.#freeBytes -= size;
      return kept;
    }
    this.#makeRoom();
    return Buffer.allocUnsafeSlow(size);
  }

  give(buffer: Buffer): void {
    const size = buffer.length;
    this.#usedBytes -= size;
    if (this.#usedBytes + this.#freeBytes + size > this.#bound) return;
    const kept = this.#free.get(size);
    if (kept === undefined) this.#free.set(size, [buffer]);
    else kept.push(buffer);
    this.#freeBytes += size;
  }

  /** Buffers of other sizes are kept in vain while this size needs the room. */
  #makeRoom(): void {
    for (const [size, kept] of this.#free) {
      while (kept.length > 0 && this.#usedBytes + this.#freeBytes > this.#bound) {
        kept.pop();
        this.#freeBytes -= size;
      }
    }
  }
}
