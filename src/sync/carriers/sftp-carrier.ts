import path from 'node:path';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import {
  type CarriedFile,
  type Carrier,
  type CarrierWriter,
  type CreateOptions,
  full,
  inTheWay,
  keptOf,
  kindOf,
  ListingBuilder,
  PARTIAL,
  requireFolder,
  requireSegment,
  segmentsOf,
} from './carrier.ts';
import type { SftpAddress } from './sftp-address.ts';
import { type SessionOptions, SftpSession, STATUS, statusOf } from './sftp-session.ts';

export interface SftpOptions extends SessionOptions {
  /** Written bytes are made durable each time there are so many more. Default: limits.carrier.settleEvery. */
  readonly settleEvery?: number;
}

/** What lies at a path, without following a link. */
interface Found {
  readonly size: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/**
 * A folder of an SFTP server as a carrier. The folder must be there.
 * @throws as SftpSession.open; file.not-found if the folder is not there
 */
export async function openSftpCarrier(address: SftpAddress, options: SftpOptions): Promise<Carrier> {
  const session = await SftpSession.open(address, options);
  try {
    // A link is followed here: the user named it.
    const found = await session.call<Found>((sftp, done) => sftp.stat(address.path, done)).catch(letMissingPass);
    if (found?.isDirectory() !== true) {
      throw new AirlockError(
        'file.not-found',
        `There is no folder ${quoteUnsafe(session.where)}. Make it there, or correct the path.`,
      );
    }
    return new SftpCarrier(session, address.path, [], options.settleEvery ?? limits.carrier.settleEvery);
  } catch (error) {
    await session.close();
    throw failed(session.where, error);
  }
}

class SftpCarrier implements Carrier {
  readonly where: string;
  readonly #session: SftpSession;
  readonly #root: string;
  /** Folders between the root and this one. */
  readonly #below: readonly string[];
  readonly #settleEvery: number;

  constructor(session: SftpSession, root: string, below: readonly string[], settleEvery: number) {
    this.#session = session;
    this.#root = root;
    this.#below = below;
    this.#settleEvery = settleEvery;
    this.where = [session.where.replace(/\/$/, ''), ...below].join('/');
  }

  async list(folder?: string) {
    const below = folder === undefined ? this.#below : [...this.#below, requireSegment(folder)];
    const dir = path.posix.join(this.#root, ...below);
    const listing = new ListingBuilder(this.#told(dir));
    try {
      if (!(await this.#isThere(below))) return listing.end();
      const handle = await this.#session.call<Buffer>((sftp, done) => sftp.opendir(dir, done));
      try {
        for (let page = await this.#page(handle); page !== undefined; page = await this.#page(handle)) {
          for (const { filename, attrs } of page) await listing.add(filename, kindOf(attrs), () => attrs.size);
        }
      } finally {
        await closeHandle(this.#session, handle);
      }
      return listing.end();
    } catch (error) {
      throw failed(this.#told(dir), error);
    }
  }

  async open(name: string): Promise<CarriedFile | undefined> {
    const { folders, file } = this.#place(name);
    try {
      if (!(await this.#isThere(folders))) return undefined;
      const found = await this.#lstat(file);
      if (found === undefined) return undefined;
      requireFile(this.#told(file), found);
      const handle = await this.#session.call<Buffer>((sftp, done) => sftp.open(file, 'r', done));
      try {
        const { size } = await this.#session.call<Found>((sftp, done) => sftp.fstat(handle, done));
        return new SftpFile(this.#session, handle, this.#told(file), size);
      } catch (error) {
        await closeHandle(this.#session, handle);
        throw error;
      }
    } catch (error) {
      throw failed(this.#told(file), error);
    }
  }

  async create(name: string, { anew = false }: CreateOptions = {}): Promise<CarrierWriter> {
    const { folders, file } = this.#place(name);
    try {
      await this.#makeFolders(folders);
      const partial = `${file}${PARTIAL}`;
      const there = await this.#lstat(partial);
      if (there?.isDirectory() === true) throw inTheWay(this.#told(partial));
      const resumes = there?.isFile() === true && !anew;
      // A link is taken away, not followed; 'wx' follows none either.
      if (there !== undefined && !resumes) await this.#unlink(partial);
      const handle = await this.#session.call<Buffer>((sftp, done) =>
        sftp.open(partial, resumes ? 'r+' : 'wx', { mode: 0o644 }, done),
      );
      const offset = keptOf(resumes ? there.size : 0, this.#settleEvery);
      const place = { file, told: this.#told(file), dir: path.posix.dirname(file) };
      const writer = new SftpWriter(this.#session, handle, { place, offset, settleEvery: this.#settleEvery });
      if (resumes) await writer.cut();
      return writer;
    } catch (error) {
      throw failed(this.#told(file), error);
    }
  }

  async remove(name: string): Promise<void> {
    const { folders, file } = this.#place(name);
    try {
      if (await this.#isThere(folders)) await this.#unlink(file);
    } catch (error) {
      throw failed(this.#told(file), error);
    }
  }

  folder(name: string): Carrier {
    const below = [...this.#below, requireSegment(name)];
    return new SftpCarrier(this.#session, this.#root, below, this.#settleEvery);
  }

  async freeSpace(): Promise<number | undefined> {
    try {
      return await freeSpace(this.#session, this.#root);
    } catch (error) {
      throw failed(this.where, error);
    }
  }

  async sync(): Promise<void> {
    const { folders } = await this.list();
    const dir = path.posix.join(this.#root, ...this.#below);
    const inside = folders.map((name) => path.posix.join(dir, name));
    const up = this.#below.map((_, index) => path.posix.join(this.#root, ...this.#below.slice(0, index)));
    try {
      for (const each of [...inside, dir, ...up.reverse()]) await syncFolder(this.#session, each);
    } catch (error) {
      throw failed(this.where, error);
    }
  }

  async close(): Promise<void> {
    if (this.#below.length === 0) await this.#session.close();
  }

  #place(name: string): { folders: string[]; file: string } {
    const segments = [...this.#below, ...segmentsOf(name)];
    return { folders: segments.slice(0, -1), file: path.posix.join(this.#root, ...segments) };
  }

  #told(file: string): string {
    const below = path.posix.relative(this.#root, file);
    const root = this.#session.where.replace(/\/$/, '');
    return below === '' ? root : `${root}/${below}`;
  }

  #lstat(file: string): Promise<Found | undefined> {
    return this.#session.call<Found>((sftp, done) => sftp.lstat(file, done)).catch(letMissingPass);
  }

  async #unlink(file: string): Promise<void> {
    await this.#session.call<void>((sftp, done) => sftp.unlink(file, asVoid(done))).catch(letMissingPass);
  }

  /** A page of a listing; undefined at its end. */
  async #page(handle: Buffer): Promise<{ filename: string; attrs: Found }[] | undefined> {
    type Page = { filename: string; attrs: Found }[];
    return await this.#session
      .call<Page | undefined>((sftp, done) => sftp.readdir(handle, done))
      .catch((error: unknown) => {
        if (statusOf(error) !== STATUS.eof) throw error;
        return undefined;
      });
  }

  /** @returns false if a folder is missing. @throws bundle.invalid for links, and anything but folders */
  async #isThere(folders: readonly string[]): Promise<boolean> {
    for (const dir of this.#paths(folders)) {
      const found = await this.#lstat(dir);
      if (found === undefined) return false;
      requireFolder(this.#told(dir), found);
    }
    return true;
  }

  /** Each durable before something is made in it. */
  async #makeFolders(folders: readonly string[]): Promise<void> {
    for (const dir of this.#paths(folders)) {
      const found = await this.#lstat(dir);
      if (found === undefined) {
        await this.#session.call<void>((sftp, done) => sftp.mkdir(dir, asVoid(done))).catch(this.#explainFull(dir));
        await syncFolder(this.#session, path.posix.dirname(dir));
      } else requireFolder(this.#told(dir), found);
    }
  }

  #explainFull(file: string): (error: unknown) => Promise<never> {
    return async (error) => {
      throw await asFull(this.#session, error, { file, told: this.#told(file), dir: path.posix.dirname(file) });
    };
  }

  #paths(folders: readonly string[]): string[] {
    return folders.map((_, index) => path.posix.join(this.#root, ...folders.slice(0, index + 1)));
  }
}

/** Reads with several requests at once. */
class SftpFile implements CarriedFile {
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

interface Place {
  /** Path there, and for messages. */
  readonly file: string;
  readonly told: string;
  readonly dir: string;
}

/** Sends ahead: so many requests are on their way at once as the session lets. */
class SftpWriter implements CarrierWriter {
  readonly offset: number;
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

/** One step where the server can do so. Otherwise the former file is taken away first. */
async function renameOver(session: SftpSession, from: string, to: string): Promise<void> {
  if (await session.extension<unknown>((sftp, done) => sftp.ext_openssh_rename(from, to, asVoid(done)))) return;
  const rename = () => session.call<void>((sftp, done) => sftp.rename(from, to, asVoid(done)));
  try {
    await rename();
  } catch (error) {
    if (statusOf(error) !== STATUS.failure) throw error;
    await session.call<void>((sftp, done) => sftp.unlink(to, asVoid(done))).catch(letMissingPass);
    await rename();
  }
}

/** A folder, opened as if it were a file, can be synced at OpenSSH's server. Others refuse that, and are let pass. */
async function syncFolder(session: SftpSession, dir: string): Promise<void> {
  let handle: Buffer;
  try {
    handle = await session.call<Buffer>((sftp, done) => sftp.open(dir, 'r', done));
  } catch (error) {
    if (statusOf(error) === undefined) throw error;
    return;
  }
  try {
    await session.extension<unknown>((sftp, done) => sftp.ext_openssh_fsync(handle, done));
  } catch (error) {
    // EINVAL: a file system that cannot do this to a folder.
    if (statusOf(error) !== STATUS.badMessage) throw error;
  } finally {
    await closeHandle(session, handle);
  }
}

async function freeSpace(session: SftpSession, dir: string): Promise<number | undefined> {
  const found = await session.extension<Record<string, unknown>>((sftp, done) => sftp.ext_openssh_statvfs(dir, done));
  if (found === undefined) return undefined;
  const bytes = Number(found.value.f_frsize) * Number(found.value.f_bavail);
  return Number.isFinite(bytes) ? bytes : undefined;
}

/** What was closed badly was read or synced well before; what was lost with the connection is told elsewhere. */
async function closeHandle(session: SftpSession, handle: Buffer): Promise<void> {
  await session.call<void>((sftp, done) => sftp.close(handle, asVoid(done))).catch(() => undefined);
}

function requireFile(told: string, found: Found): void {
  if (found.isFile()) return;
  const kind = { folder: 'a folder', link: 'a symbolic link', special: 'no file', file: '' }[kindOf(found)];
  throw new AirlockError(
    'bundle.invalid',
    `${quoteUnsafe(told)} is ${kind}. Put the file itself there, or take it away.`,
  );
}

function letMissingPass(error: unknown): undefined {
  if (statusOf(error) !== STATUS.noSuchFile) throw error;
  return undefined;
}

/** Node.js's view on the same memory. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A callback that is told of an error only. */
function asVoid(done: (error: Error | null | undefined, value: undefined) => void) {
  return (error?: Error | null) => done(error, undefined);
}

/** SFTP has one word for a full disk and all else: the server is asked how much is free. */
async function asFull(session: SftpSession, error: unknown, { told, dir }: Place): Promise<unknown> {
  if (isAirlockError(error) || statusOf(error) !== STATUS.failure) return failed(told, error);
  const free = await freeSpace(session, dir).catch(() => undefined);
  const isFull = free !== undefined && free < limits.carrier.requests * limits.carrier.request;
  return isFull ? full(path.posix.basename(told), path.posix.dirname(told), free, error) : failed(told, error);
}

/** What the server says, in the words of the seam. */
function failed(told: string, error: unknown): unknown {
  const status = statusOf(error);
  if (isAirlockError(error) || status === undefined) return error;
  const name = quoteUnsafe(told);
  const answer = quoteUnsafe(error instanceof Error ? error.message : String(error));
  if (status === STATUS.permissionDenied) {
    return new AirlockError(
      'usage.invalid',
      `The server does not let this user do that at ${name} (${answer}). Have its owner change the rights, or log in as another user.`,
      { cause: error },
    );
  }
  if (status === STATUS.noSuchFile) {
    return new AirlockError(
      'source.lost',
      `${name} is not there any more (${answer}). Check the folder on the server, and run the same command.`,
      { cause: error },
    );
  }
  return new AirlockError(
    'storage.failed',
    `The server failed at ${name} (${answer}; code ${status}). Its log and its disk say why: full, over quota, read-only or damaged. Then run the same command.`,
    { cause: error, details: { where: told, status } },
  );
}
