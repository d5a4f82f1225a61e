import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import {
  type CarriedFile,
  type Carrier,
  type CarrierWriter,
  type CreateOptions,
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
import { type ConnectionOptions, SftpConnection } from './sftp-connection.ts';
import { SftpFile, SftpWriter } from './sftp-files.ts';
import {
  asFull,
  asVoid,
  closeHandle,
  type Found,
  failed,
  freeSpace,
  letMissingPass,
  syncFolder,
} from './sftp-requests.ts';
import { type SftpSession, STATUS, statusOf } from './sftp-session.ts';

export interface SftpOptions extends ConnectionOptions {
  /** Written bytes are made durable each time there are so many more. Default: limits.carrier.settleEvery. */
  readonly settleEvery?: number;
}

/**
 * A folder of an SFTP server as a carrier. The folder must be there.
 * @throws as SftpSession.open; file.not-found if the folder is not there
 */
export async function openSftpCarrier(address: SftpAddress, options: SftpOptions): Promise<Carrier> {
  const connection = await SftpConnection.open(address, options);
  const { session } = connection;
  try {
    // A link is followed here: the user named it.
    const found = await session.call<Found>((sftp, done) => sftp.stat(address.path, done)).catch(letMissingPass);
    if (found?.isDirectory() !== true) {
      throw new AirlockError(
        'file.not-found',
        `There is no folder ${quoteUnsafe(session.where)}. Make it there, or correct the path.`,
      );
    }
    return new SftpCarrier(connection, address.path, [], options.settleEvery ?? limits.carrier.settleEvery);
  } catch (error) {
    await session.close();
    throw failed(session.where, error);
  }
}

class SftpCarrier implements Carrier {
  readonly where: string;
  readonly #connection: SftpConnection;
  readonly #root: string;
  /** Folders between the root and this one. */
  readonly #below: readonly string[];
  readonly #settleEvery: number;

  constructor(connection: SftpConnection, root: string, below: readonly string[], settleEvery: number) {
    this.#connection = connection;
    this.#root = root;
    this.#below = below;
    this.#settleEvery = settleEvery;
    this.where = [connection.session.where.replace(/\/$/, ''), ...below].join('/');
  }

  get #session(): SftpSession {
    return this.#connection.session;
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
    return new SftpCarrier(this.#connection, this.#root, below, this.#settleEvery);
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

  async reconnect(): Promise<void> {
    await this.#connection.reconnect();
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

function requireFile(told: string, found: Found): void {
  if (found.isFile()) return;
  const kind = { folder: 'a folder', link: 'a symbolic link', special: 'no file', file: '' }[kindOf(found)];
  throw new AirlockError(
    'bundle.invalid',
    `${quoteUnsafe(told)} is ${kind}. Put the file itself there, or take it away.`,
  );
}
