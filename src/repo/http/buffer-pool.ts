import { limits } from '../../limits.ts';

/** Memory that is cut into buffers of one size; when all of them are back it may be cut anew. */
interface Slab {
  readonly memory: ArrayBuffer;
  /** Of its buffers, bytes. */
  size: number;
  readonly free: Buffer[];
  used: number;
}

/**
 * Read buffers for all responses together.
 *
 * `take` never waits and never fails: it gives less than was wanted when much is in use, down to the smallest
 * size, which is always to be had. So a thousand slow clients make everybody's buffers small and nobody wait, and
 * memory is bounded by `bound` plus one smallest buffer for each response. Memory is used again, not left to
 * the garbage collector, which is too slow for it.
 * All sizes are powers of two.
 */
export class BufferPool {
  readonly #largest: number;
  readonly #smallest: number;
  readonly #mostSlabs: number;
  readonly #slabs: Slab[] = [];
  /** Smallest buffers beyond the bound. */
  readonly #spare: Buffer[] = [];
  readonly #slabOf = new WeakMap<Buffer, Slab>();
  #inUse = 0;

  constructor(
    bound: number = limits.http.buffers,
    smallest: number = limits.http.smallBuffer,
    largest: number = limits.chunk,
  ) {
    this.#largest = largest;
    this.#smallest = smallest;
    this.#mostSlabs = Math.floor(bound / largest);
  }

  /** Bytes of the buffers given out. */
  get inUse(): number {
    return this.#inUse;
  }

  /** Most of the bound is in use: who can do with one buffer should. */
  get isTight(): boolean {
    return this.#inUse > (this.#mostSlabs * this.#largest) / 2;
  }

  /** @param wanted a power of two. @returns a buffer of at most that size, or of the smallest; to be given back once */
  take(wanted: number): Buffer {
    for (let size = Math.min(wanted, this.#largest); size > this.#smallest; size /= 2) {
      const buffer = this.#takeOf(size);
      if (buffer !== undefined) return buffer;
    }
    const smallest = this.#takeOf(this.#smallest);
    if (smallest !== undefined) return smallest;
    this.#inUse += this.#smallest;
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#smallest);
  }

  give(buffer: Buffer): void {
    this.#inUse -= buffer.length;
    const slab = this.#slabOf.get(buffer);
    if (slab === undefined) {
      this.#spare.push(buffer);
      return;
    }
    slab.used -= 1;
    slab.free.push(buffer);
  }

  #takeOf(size: number): Buffer | undefined {
    const slab = this.#slabs.find((one) => one.size === size && one.free.length > 0) ?? this.#cutAnew(size);
    const buffer = slab?.free.pop();
    if (slab === undefined || buffer === undefined) return undefined;
    slab.used += 1;
    this.#inUse += size;
    return buffer;
  }

  #cutAnew(size: number): Slab | undefined {
    const slab = this.#slabs.find((one) => one.used === 0) ?? this.#makeSlab();
    if (slab === undefined) return undefined;
    slab.size = size;
    slab.free.length = 0;
    for (let at = this.#largest - size; at >= 0; at -= size) {
      const buffer = Buffer.from(slab.memory, at, size);
      this.#slabOf.set(buffer, slab);
      slab.free.push(buffer);
    }
    return slab;
  }

  #makeSlab(): Slab | undefined {
    if (this.#slabs.length >= this.#mostSlabs) return undefined;
    const slab: Slab = { memory: new ArrayBuffer(this.#largest), size: 0, free: [], used: 0 };
    this.#slabs.push(slab);
    return slab;
  }
}
