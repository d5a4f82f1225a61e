/** Files of an SFTP server: both ways, several requests are on their way at once. */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { type CarriedFile, type CarrierWriter, PARTIAL } from './carrier.ts';
import {
  asFull,
  asVoid,
  closeHandle,
  type Found,
  failed,
  type Place,
  renameOver,
  syncFolder,
} from './sftp-requests.ts';
import type { SftpSession } from './sftp-session.ts';

/** Reads with several requests at once. */
export class SftpFile implements CarriedFile {
  readonly size: number;
  readonly #session: SftpSession;
  readonly #handle: Buffer;
  readonly #told: string;
  #closing: Promise<void> | undefined;

  constructor(session: SftpSession, handle: Buffer, told: string, size: number) {
    this.#session = session;
    this.#handle = handle;
    this.#told = told;
    this.size = size;
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    const wanted = Math.max(0, Math.min(into.byteLength, this.size - position));
    try {
      const read = await readPieces(this.#session, this.#handle, into.subarray(0, wanted), position);
      if (read === wanted) return read;
    } catch (error) {
      throw failed(this.#told, error);
    }
    throw new AirlockError(
      'source.lost',
      `${quoteUnsafe(this.#told)} got shorter while it was read: it has ${this.size} bytes no more. Nothing of it was imported. Check that nobody writes there, and run the same command.`,
    );
  }

  close(): Promise<void> {
    this.#closing ??= closeHandle(this.#session, this.#handle);
    return this.#closing;
  }
}

/** Sends ahead: so many requests are on their way at once as the session lets. */
export class SftpWriter implements CarrierWriter {
  readonly offset: number;
  readonly held: number;
  readonly #session: SftpSession;
  readonly #handle: Buffer;
  readonly #place: Place;
  readonly #settleEvery: number;
  readonly #underWay = new Set<Promise<void>>();
  #position: number;
  #failure: unknown;
  #ended = false;

  constructor(
    session: SftpSession,
    handle: Buffer,
    { place, offset, settleEvery }: { place: Place; offset: number; settleEvery: number },
  ) {
    this.#session = session;
    this.#handle = handle;
    this.#place = place;
    this.#settleEvery = settleEvery;
    this.offset = offset;
    this.held = offset;
    this.#position = offset;
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    const wanted = Math.max(0, Math.min(into.byteLength, this.offset - position));
    try {
      return await readPieces(this.#session, this.#handle, into.subarray(0, wanted), position);
    } catch (error) {
      throw failed(this.#place.told, error);
    }
  }

  /** Takes away what an earlier attempt left above `offset`. Closes if that fails. */
  async cut(): Promise<void> {
    try {
      await this.#session.call<void>((sftp, done) => sftp.fsetstat(this.#handle, { size: this.offset }, asVoid(done)));
    } catch (error) {
      await this.#end();
      throw error;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.byteLength; ) {
        const room = this.#settleEvery - (this.#position % this.#settleEvery);
        const piece = bytes.subarray(done, done + Math.min(limits.carrier.request, room));
        await this.#send(piece);
        done += piece.byteLength;
        if (this.#position % this.#settleEvery === 0) await this.#settle();
      }
    } catch (error) {
      throw await asFull(this.#session, error, this.#place);
    }
  }

  async commit(): Promise<void> {
    const { file, told, dir } = this.#place;
    try {
      await this.#settle();
      const { size } = await this.#session.call<Found>((sftp, done) => sftp.fstat(this.#handle, done));
      if (size !== this.#position) {
        throw new AirlockError(
          'storage.failed',
          `${quoteUnsafe(told)} has ${size} bytes on the server after ${this.#position} were sent: somebody else writes there, or the server loses data. Nothing was put in place. Check the server, and run the same command.`,
        );
      }
      this.#ended = true;
      await closeHandle(this.#session, this.#handle);
      await renameOver(this.#session, `${file}${PARTIAL}`, file);
      await syncFolder(this.#session, dir);
    } catch (error) {
      if (!this.#ended) await this.#end();
      throw await asFull(this.#session, error, this.#place);
    }
  }

  async suspend(): Promise<void> {
    try {
      await this.#settle();
    } catch (error) {
      throw await asFull(this.#session, error, this.#place);
    } finally {
      await this.#end();
    }
  }

  async cancel(): Promise<void> {
    if (this.#ended) return;
    await this.#end();
    const partial = `${this.#place.file}${PARTIAL}`;
    await this.#session.call<void>((sftp, done) => sftp.unlink(partial, asVoid(done))).catch(() => undefined);
  }

  async #end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#underWay);
    await closeHandle(this.#session, this.#handle);
  }

  async #send(piece: Uint8Array): Promise<void> {
    await this.#session.acquire();
    if (this.#failure !== undefined) {
      this.#session.release();
      throw this.#failure;
    }
    const [buffer, position] = [bufferOf(piece), this.#position];
    // The request holds a copy of the bytes as soon as it is made.
    const answer = this.#session
      .call<void>((sftp, done) => sftp.write(this.#handle, buffer, 0, buffer.length, position, asVoid(done)))
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#session.release();
        this.#underWay.delete(answer);
      });
    this.#underWay.add(answer);
    this.#position += piece.byteLength;
  }

  /** Everything that was sent has arrived, and is durable if the server can say so. */
  async #settle(): Promise<void> {
    await Promise.all(this.#underWay);
    if (this.#failure !== undefined) throw this.#failure;
    await this.#session.extension<unknown>((sftp, done) => sftp.ext_openssh_fsync(this.#handle, done));
  }
}

/** @returns bytes read: fewer than asked for only where the file ends */
async function readPieces(session: SftpSession, handle: Buffer, into: Uint8Array, position: number): Promise<number> {
  const buffer = bufferOf(into);
  const pieces: Promise<number>[] = [];
  for (let at = 0; at < buffer.length; at += limits.carrier.request) {
    pieces.push(readPiece(session, handle, buffer.subarray(at, at + limits.carrier.request), position + at));
  }
  const results = await Promise.allSettled(pieces); // all: none may write into the caller's memory later
  let total = 0;
  let isWhole = true;
  for (const [index, result] of results.entries()) {
    if (result.status === 'rejected') throw result.reason;
    if (isWhole) total += result.value;
    isWhole &&= result.value === Math.min(limits.carrier.request, buffer.length - index * limits.carrier.request);
  }
  return total;
}

/** A server may give less than was asked for: it is asked again, until it gives nothing. */
async function readPiece(session: SftpSession, handle: Buffer, into: Buffer, position: number): Promise<number> {
  await session.acquire();
  try {
    let done = 0;
    while (done < into.length) {
      const [from, length] = [done, into.length - done];
      const read = await session.call<number>((sftp, end) =>
        sftp.read(handle, into, from, length, position + from, (error, count) => end(error, count)),
      );
      if (read === 0) break;
      done += read;
    }
    return done;
  } finally {
    session.release();
  }
}

/** Node.js's view on the same memory. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
