/** A few large buffers through which all bytes of a volume pass, each given back once it was written. */
import { limits } from '../../limits.ts';
import type { ByteRange, ByteSource } from '../../repo/blobs/blob-store.ts';

/** Of them, so many are being read while the others are on their way out. */
const BUFFERS = 6;
const READING = 3;

export class PiecePool {
  readonly #free: Buffer[] = [];
  readonly #out = new Map<Uint8Array, Buffer>();
  readonly #waiting: (() => void)[] = [];
  #made = 0;
  #stopped = false;

  /**
   * Reads a range in order, the next pieces while the caller works on this one. Each piece is the caller's until it is
   * given back. Ends early where the source ends.
   */
  async *read(source: Pick<ByteSource, 'readAt'>, { start, end }: ByteRange): AsyncGenerator<Buffer, void, undefined> {
    const reading: Promise<Buffer>[] = [];
    let next = start;
    const readNext = async (): Promise<void> => {
      if (next >= end || reading.length >= READING) return;
      const buffer = this.#tryTake() ?? (reading.length === 0 ? await this.#take() : undefined);
      if (buffer === undefined) return;
      const wanted = buffer.subarray(0, Math.min(buffer.length, end - next));
      const piece = source.readAt(wanted, next).then((read) => {
        const bytes = read === wanted.length ? wanted : wanted.subarray(0, read);
        this.#out.set(bytes, buffer);
        return bytes;
      });
      piece.catch(() => this.#giveBack(buffer)); // awaited below, unless the caller stops early
      reading.push(piece);
      next += wanted.length;
    };
    try {
      for (;;) {
        for (let before = -1; before !== reading.length; ) {
          before = reading.length;
          await readNext();
        }
        const first = reading.shift();
        if (first === undefined) return;
        const piece = await first;
        if (piece.length === 0) return this.release(piece);
        yield piece;
      }
    } finally {
      for (const left of await Promise.allSettled(reading)) if (left.status === 'fulfilled') this.release(left.value);
    }
  }

  /** Nobody gives anything back any more: whoever reads gets an error. */
  stop(): void {
    this.#stopped = true;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Gives a piece back. Others are let pass. */
  release(piece: Uint8Array): void {
    const buffer = this.#out.get(piece);
    if (buffer === undefined) return;
    this.#out.delete(piece);
    this.#giveBack(buffer);
  }

  #giveBack(buffer: Buffer): void {
    this.#free.push(buffer);
    this.#waiting.shift()?.();
  }

  #tryTake(): Buffer | undefined {
    const free = this.#free.pop();
    if (free !== undefined || this.#made === BUFFERS) return free;
    this.#made += 1;
    return Buffer.allocUnsafeSlow(limits.chunk);
  }

  async #take(): Promise<Buffer> {
    for (;;) {
      if (this.#stopped) throw new Error('nobody takes what is read');
      const buffer = this.#tryTake();
      if (buffer !== undefined) return buffer;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}
