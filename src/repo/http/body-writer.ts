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

interface Piece {
  readonly bytes: Uint8Array;
  /** The pool's buffer in which they are. */
  readonly buffer: Buffer | undefined;
}

/**
 * Sends a body and ends the response. While one piece is being written to a quick client, the next one is read.
 * Returns when all is handed to the system, or when the client is gone.
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
  const writer = new ResponseWriter(exchange.response);
  const pace = new Pace();
  const pieces = readPieces(source, segments, pool, pace);
  let next: Promise<Piece | undefined> | undefined;
  try {
    let piece = await take(pieces);
    begin();
    while (piece !== undefined) {
      next = pace.isQuick ? take(pieces) : undefined;
      next?.catch(() => undefined); // awaited below; here it only must not count as unheard
      const isTaken = await writeTimed(writer, piece, pace);
      if (piece.buffer !== undefined) pool.give(piece.buffer);
      if (!isTaken) return;
      exchange.bytes += piece.bytes.length;
      piece = await (next ?? take(pieces));
      next = undefined;
    }
    exchange.response.end();
  } finally {
    const unsent = await next?.catch(() => undefined);
    if (unsent?.buffer !== undefined) pool.give(unsent.buffer);
  }
}

async function take(pieces: AsyncIterator<Piece, undefined>): Promise<Piece | undefined> {
  return (await pieces.next()).value;
}

async function writeTimed(writer: ResponseWriter, piece: Piece, pace: Pace): Promise<boolean> {
  const before = performance.now();
  const isTaken = await writer.write(piece.bytes);
  pace.took(piece.bytes.length, performance.now() - before);
  return isTaken;
}

async function* readPieces(
  source: Source,
  segments: readonly Segment[],
  pool: BufferPool,
  pace: Pace,
): AsyncGenerator<Piece, undefined> {
  for (const segment of segments) {
    if (Buffer.isBuffer(segment)) {
      yield { bytes: segment, buffer: undefined };
      continue;
    }
    for (let position = segment.start; position < segment.end; ) {
      const buffer = pool.take(Math.min(pace.size, roundUp(segment.end - position)));
      const length = await readInto(buffer, source, position, segment.end, pool);
      if (length === 0) break;
      position += length;
      yield { bytes: buffer.subarray(0, length), buffer };
    }
  }
  return undefined;
}

async function readInto(
  buffer: Buffer,
  source: Source,
  position: number,
  end: number,
  pool: BufferPool,
): Promise<number> {
  let length = 0;
  try {
    const room = Math.min(buffer.length, end - position);
    length = await source.readAt(room < buffer.length ? buffer.subarray(0, room) : buffer, position);
    if (length > 0 || end === Number.POSITIVE_INFINITY) return length;
    throw new AirlockError('blob.damaged', `The content ends at byte ${position}, before its recorded size.`);
  } finally {
    if (length === 0) pool.give(buffer);
  }
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
