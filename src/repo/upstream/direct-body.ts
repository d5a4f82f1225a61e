/**
 * Large bodies, read past Node's HTTP parser. The parser copies each 64 KiB of a body into memory of its own, and two streams
 * pass that on: of a large file, that takes more of a processor than all the rest together. So connections are made with
 * `onread` (of net.connect and tls.connect): what comes is read into a buffer of ours. It is handed to the parser as if
 * nothing were between, until the head of an answer says that so many bytes follow. These are then read into the reader's own
 * buffers. The parser waits for them in vain, so a connection is closed after such a body, and only large ones are worth it.
 */
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { limits } from '../../limits.ts';

/** One read of what the parser gets. */
const PIECE = 64 * 1024;

type Connect = Parameters<http.Agent['createConnection']>;

/** As http.Agent, with connections whose bodies `directBody` can read. */
export class DirectHttpAgent extends http.Agent {
  override createConnection(...[options, callback]: Connect): ReturnType<http.Agent['createConnection']> {
    return tapped(options, (all) => super.createConnection(all, callback));
  }
}

/** As https.Agent, with connections whose bodies `directBody` can read. */
export class DirectHttpsAgent extends https.Agent {
  override createConnection(...[options, callback]: Connect): ReturnType<https.Agent['createConnection']> {
    return tapped(options, (all) => super.createConnection(all, callback));
  }
}

const taps = new WeakMap<object, Tap>();

function tapped<T extends Duplex | null | undefined>(options: Connect[0], connect: (options: Connect[0]) => T): T {
  const tap = new Tap();
  const onread: net.OnReadOpts = { buffer: () => tap.room(), callback: (length, bytes) => tap.take(length, bytes) };
  const made = connect({ ...options, onread } as Connect[0]);
  if (made != null) {
    tap.socket = made;
    taps.set(made, tap);
  }
  return made;
}

/** A body whose length is known. Reads take turns. */
export interface DirectBody {
  /**
   * Reads as much as has come into `into`; waits for `least` bytes, or for as many as fit, or for the end.
   * @returns bytes read; 0 at the end only
   * @throws what `fail` was told, once all that came before has been read
   */
  read(into: Uint8Array, least?: number): Promise<number>;
  /** Nothing more will come. */
  fail(error: unknown): void;
}

/**
 * Takes the body of an answer, of which nobody has read yet. Whoever takes it closes the connection afterwards.
 * @param from bytes from which on that is worth it
 * @returns undefined where it cannot be had in this way: then the stream is to be read
 */
export function directBody(response: http.IncomingMessage, from: number): DirectBody | undefined {
  const { headers, socket } = response;
  const length = Number(headers['content-length'] ?? Number.NaN);
  if (!(length >= from) || headers['transfer-encoding'] !== undefined || response.complete) return undefined;
  const tap = taps.get(socket);
  if (tap === undefined || socket.readableLength > 0) return undefined;
  return tap.divert(response, length);
}

/** Where what comes over one connection goes: to the parser, and from some point on to the reader of one body. */
class Tap {
  socket: Duplex | undefined;
  readonly #own = Buffer.allocUnsafeSlow(PIECE);
  #body: Body | undefined;

  /** Where the next bytes are to be put. */
  room(): Uint8Array {
    return this.#body?.room() ?? this.#own;
  }

  /** @returns whether reading shall go on */
  take(length: number, bytes: Uint8Array): boolean {
    const piece = bytes.subarray(0, length);
    if (this.#body !== undefined) return this.#body.take(piece, length === bytes.byteLength);
    return this.socket?.push(Buffer.from(piece)) ?? false;
  }

  divert(response: http.IncomingMessage, length: number): DirectBody {
    const body = new Body(length, () => this.socket?.resume());
    this.#body = body;
    // what the parser has already passed on
    for (let piece = response.read(); piece !== null; piece = response.read()) body.take(piece, false);
    return body;
  }
}

interface Reading {
  readonly into: Uint8Array;
  readonly least: number;
  filled: number;
  readonly done: PromiseWithResolvers<number>;
}

class Body implements DirectBody {
  /** Bytes that no reader has got. */
  #remaining: number;
  readonly #resume: () => void;
  /** Came before anybody asked for it: what the parser had, and at most one read more. */
  readonly #early: Uint8Array[] = [];
  #reading: Reading | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(length: number, resume: () => void) {
    this.#remaining = length;
    this.#resume = resume;
  }

  async read(into: Uint8Array, least = 1): Promise<number> {
    const room = into.subarray(0, this.#remaining);
    const reading = {
      into: room,
      least: Math.min(least, room.length),
      filled: 0,
      done: Promise.withResolvers<number>(),
    };
    while (this.#early.length > 0 && reading.filled < room.length) this.#put(reading, this.#early.shift() ?? room);
    if (reading.filled >= reading.least) this.#end(reading);
    else if (this.#failure !== undefined) this.#fail(reading, this.#failure.error);
    else {
      this.#reading = reading;
      this.#resume();
    }
    return await reading.done.promise;
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    if (this.#reading !== undefined) this.#fail(this.#reading, error);
  }

  room(): Uint8Array | undefined {
    return this.#reading?.into.subarray(this.#reading.filled);
  }

  /** @param isFull as much as there was room for @returns whether reading shall go on */
  take(piece: Uint8Array, isFull: boolean): boolean {
    const reading = this.#reading;
    if (reading === undefined) {
      this.#early.push(Buffer.from(piece));
      return false;
    }
    this.#put(reading, piece);
    const { filled, least, into } = reading;
    if (filled < least) return true;
    if (!isFull || filled === into.length) this.#end(reading);
    else setImmediate(() => reading === this.#reading && this.#end(reading)); // the system may have more at hand
    return this.#reading !== undefined;
  }

  /** The piece lies where it belongs if `room` said so before it was read. */
  #put(reading: Reading, piece: Uint8Array): void {
    const { into, filled } = reading;
    const fits = piece.subarray(0, into.length - filled);
    const isThere = fits.buffer === into.buffer && fits.byteOffset === into.byteOffset + filled;
    if (!isThere) into.set(fits, filled);
    reading.filled += fits.length;
    if (fits.length < piece.length) this.#early.unshift(Buffer.from(piece.subarray(fits.length)));
  }

  #end({ filled, done }: Reading): void {
    this.#reading = undefined;
    this.#remaining -= filled;
    done.resolve(filled);
  }

  /** What came before the failure counts. */
  #fail(reading: Reading, error: unknown): void {
    if (reading.filled > 0) this.#end(reading);
    else {
      this.#reading = undefined;
      reading.done.reject(error);
    }
  }
}

/** The pieces of a body, each in memory of its own: larger ones where they come fast. */
export async function* pieces(body: DirectBody): AsyncGenerator<Uint8Array, void, undefined> {
  for (let room = PIECE; ; ) {
    const buffer = Buffer.allocUnsafeSlow(room);
    const length = await body.read(buffer);
    if (length === 0) return;
    yield buffer.subarray(0, length);
    room = length === room ? Math.min(2 * room, limits.proxy.directPiece) : Math.max(PIECE, room / 2);
  }
}
