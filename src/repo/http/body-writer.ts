/**
 * The way of big content from its source to the socket.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { OpenArtifact } from '../artifact-source.ts';
import type { ByteRange } from '../blobs/blob-store.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { Exchange } from './exchange.ts';
import { ResponseWriter } from './response-writer.ts';

/** What a body is made of, in order: bytes of the content, and bytes of our own between them (multipart heads). */
export type Segment = ByteRange | Buffer;

type Source = Pick<OpenArtifact, 'readAt'>;

/**
 * Sends a body and ends the response. Returns when all is handed to the system, or when the client is gone.
 * @param segments ranges with `end: Infinity` go on to the end of the content
 * @param begin called once, when the first bytes are there: writes the head, so that content that cannot be read
 *   can still be answered with an error
 * @throws what reading throws, and blob.damaged if the content ends too soon; after `begin` the response is cut,
 *   and must be destroyed
 */
export async function writeBody(
  exchange: Exchange,
  source: Source,
  segments: readonly Segment[],
  pool: BufferPool,
  begin: () => void,
): Promise<void> {
  const body = new BodyWriter(exchange, source, pool, begin);
  for (const segment of segments) {
    const isTaken = Buffer.isBuffer(segment) ? await body.write(segment) : await body.writeRange(segment);
    if (!isTaken) return;
  }
  body.end();
}

/** A piece of content that is being read into a buffer of the pool. */
interface Reading {
  readonly buffer: Buffer;
  readonly length: Promise<number>;
}

class BodyWriter {
  readonly #exchange: Exchange;
  readonly #source: Source;
  readonly #pool: BufferPool;
  readonly #out: ResponseWriter;
  readonly #pace = new Pace();
  #begin: (() => void) | undefined;

  constructor(exchange: Exchange, source: Source, pool: BufferPool, begin: () => void) {
    this.#exchange = exchange;
    this.#source = source;
    this.#pool = pool;
    this.#out = new ResponseWriter(exchange.response);
    this.#begin = begin;
  }

  /** @returns false if the client is gone */
  async write(bytes: Uint8Array): Promise<boolean> {
    this.#begin?.();
    this.#begin = undefined;
    const isTaken = await this.#out.write(bytes);
    if (isTaken) this.#exchange.bytes += bytes.length;
    return isTaken;
  }

  /** While one piece is being written to a quick client, the next one is read. @returns false if the client is gone */
  async writeRange({ start, end }: ByteRange): Promise<boolean> {
    let position = start;
    let current: Reading | undefined = this.#read(position, end);
    let ahead: Reading | undefined;
    try {
      while (current !== undefined) {
        const { buffer } = current;
        const length = await current.length;
        if (length === 0) return mayEndHere(position, end);
        position += length;
        if (position < end && this.#pace.isQuick && !this.#pool.isTight) ahead = this.#read(position, end);
        const before = performance.now();
        if (!(await this.write(length < buffer.length ? buffer.subarray(0, length) : buffer))) return false;
        this.#pace.took(length, performance.now() - before);
        current = undefined;
        this.#pool.give(buffer);
        current = ahead ?? (position < end ? this.#read(position, end) : undefined);
        ahead = undefined;
      }
      return true;
    } finally {
      await this.#drop(current);
      await this.#drop(ahead);
    }
  }

  end(): void {
    this.#begin?.();
    this.#exchange.response.end();
  }

  async #drop(reading: Reading | undefined): Promise<void> {
    if (reading === undefined) return;
    await reading.length.catch(() => undefined); // until then the source may write into it
    this.#pool.give(reading.buffer);
  }

  #read(position: number, end: number): Reading {
    const room = end - position;
    const buffer = this.#pool.take(Math.min(this.#pace.size, roundUp(room)));
    const length = this.#source.readAt(room < buffer.length ? buffer.subarray(0, room) : buffer, position);
    length.catch(() => undefined); // whoever reads ahead hears of it later
    return { buffer, length };
  }
}

/** @throws blob.damaged unless the content may end anywhere */
function mayEndHere(position: number, end: number): true {
  if (end === Number.POSITIVE_INFINITY) return true;
  throw new AirlockError('blob.damaged', `The content ends at byte ${position}, before its recorded size.`);
}

/** The power of two that has room for so many bytes, up to the largest buffer. */
function roundUp(bytes: number): number {
  return bytes >= limits.chunk ? limits.chunk : 2 ** Math.ceil(Math.log2(bytes));
}

/**
 * How large the pieces are. They begin small and grow while the client takes them at once; only after sixteen
 * pieces, so that filling the system's own send buffer does not count as speed. A slow client gets small ones,
 * and no reading ahead.
 */
class Pace {
  #size: number = limits.http.firstBuffer;
  #quickBytes = 0;
  #isQuick = true;

  get size(): number {
    return this.#size;
  }

  get isQuick(): boolean {
    return this.#isQuick;
  }

  /** @param milliseconds until the system had taken all of a piece */
  took(bytes: number, milliseconds: number): void {
    this.#isQuick = milliseconds <= limits.http.slowWrite;
    if (!this.#isQuick) {
      this.#quickBytes = 0;
      this.#size = Math.max(limits.http.smallBuffer, this.#size / 4);
      return;
    }
    this.#quickBytes += bytes;
    if (this.#quickBytes < 16 * this.#size) return;
    this.#quickBytes = 0;
    this.#size = Math.min(limits.chunk, this.#size * 2);
  }
}
