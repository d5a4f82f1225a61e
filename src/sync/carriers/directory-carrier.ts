import { constants, type Stats } from 'node:fs';
import { lstat, mkdir, opendir, rename, rm, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, isAirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { asSpaceError, syncDirectory } from '../../repo/blobs/durable.ts';
import { PositionalFile } from '../../repo/blobs/positional-file.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { isGone, openIfThere } from '../../repo/ingest/medium.ts';
import { throwIfAborted } from '../../repo/staging.ts';
import {
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
import { dropFromMemory } from './drop-from-memory.ts';

export interface DirectoryOptions {
  /** Reads and writes throw `interrupted` once it has fired. */
  readonly signal?: AbortSignal | undefined;
  /** Written bytes are made durable each time there are so many more. Default: limits.flushEvery. */
  readonly settleEvery?: number;
}

/** A folder that was there when it was named, on a medium that may be pulled. */
interface Root {
  readonly dir: string;
  /** Of its file system: another one under the same path is another medium. */
  readonly device: number;
}

/**
 * A folder of a medium as a carrier. Reading writes nothing, so read-only media serve.
 * @throws file.not-found if there is no such folder; source.lost
 */
export async function openDirectoryCarrier(dir: string, options: DirectoryOptions = {}): Promise<Carrier> {
  const full = path.resolve(dir);
  const stats = await stat(full).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw failed(full, error);
  });
  if (stats?.isDirectory() !== true) {
    throw new AirlockError(
      'file.not-found',
      `There is no folder ${quoteUnsafe(dir)}. Check that the medium is mounted, and make the folder.`,
    );
  }
  return new DirectoryCarrier({ dir: full, device: stats.dev }, [], options);
}

class DirectoryCarrier implements Carrier {
  readonly where: string;
  readonly #root: Root;
  /** Folders between the root and this one. */
  readonly #below: readonly string[];
  readonly #options: DirectoryOptions;

  constructor(root: Root, below: readonly string[], options: DirectoryOptions) {
    this.#root = root;
    this.#below = below;
    this.#options = options;
    this.where = path.join(root.dir, ...below);
  }

  async list(folder?: string) {
    const below = folder === undefined ? this.#below : [...this.#below, requireSegment(folder)];
    const dir = path.join(this.#root.dir, ...below);
    const listing = new ListingBuilder(dir);
    if (!(await this.#isThere(below))) return listing.end();
    try {
      for await (const item of await opendir(dir)) {
        await listing.add(item.name, kindOf(item), async () => (await lstat(path.join(dir, item.name))).size);
      }
    } catch (error) {
      throw failed(dir, error);
    }
    return listing.end();
  }

  async open(name: string) {
    const { folders, file } = this.#place(name);
    if (!(await this.#isThere(folders))) return undefined;
    const { signal } = this.#options;
    const opened = await openIfThere(file, {
      otherwise: 'bundle.invalid',
      found: true,
      ...(signal === undefined ? {} : { signal }),
    });
    if (opened === undefined) return undefined;
    let closing: Promise<void> | undefined;
    return {
      size: opened.size,
      readAt: opened.readAt,
      close() {
        closing ??= opened.close();
        return closing;
      },
    };
  }

  async create(name: string, { anew = false }: CreateOptions = {}): Promise<CarrierWriter> {
    const { folders, file } = this.#place(name);
    const { signal, settleEvery = limits.flushEvery } = this.#options;
    if (signal !== undefined) throwIfAborted(signal);
    try {
      await this.#makeFolders(folders);
      const writer = await DirectoryWriter.open(file, { anew, signal, settleEvery });
      await this.#requireStillThere(() => writer.cancel());
      return writer;
    } catch (error) {
      throw failed(file, error);
    }
  }

  async remove(name: string): Promise<void> {
    const { folders, file } = this.#place(name);
    if (!(await this.#isThere(folders))) return;
    try {
      await unlink(file);
      await syncDirectory(path.dirname(file));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw failed(file, error);
    }
  }

  async dropCache(name: string): Promise<void> {
    await dropFromMemory(this.#place(name).file);
  }

  folder(name: string): Carrier {
    return new DirectoryCarrier(this.#root, [...this.#below, requireSegment(name)], this.#options);
  }

  async freeSpace(): Promise<number | undefined> {
    await this.#requireMedium();
    try {
      const { blocks, bavail, bsize } = await statfs(this.#root.dir);
      return blocks === 0 ? undefined : bavail * bsize; // FUSE drivers that cannot tell say that there are no blocks
    } catch (error) {
      throw failed(this.#root.dir, error);
    }
  }

  async sync(): Promise<void> {
    const { folders } = await this.list();
    const inside = folders.map((name) => path.join(this.where, name));
    const up = this.#below.map((_, index) => path.join(this.#root.dir, ...this.#below.slice(0, index)));
    for (const dir of [...inside, this.where, ...up.reverse()]) {
      await syncDirectory(dir).catch((error: unknown) => {
        if (systemCode(error) !== 'ENOENT') throw failed(dir, error);
      });
    }
  }

  async close(): Promise<void> {
    // nothing is kept open
  }

  #place(name: string): { folders: string[]; file: string } {
    const segments = [...this.#below, ...segmentsOf(name)];
    return { folders: segments.slice(0, -1), file: path.join(this.#root.dir, ...segments) };
  }

  /** Under the path of a stick that was pulled there often is an empty folder: nothing must be written into that. */
  async #requireMedium(): Promise<void> {
    const { dir, device } = this.#root;
    let found: Stats;
    try {
      found = await stat(dir);
    } catch (error) {
      throw failed(dir, error);
    }
    if (found.dev !== device) throw failed(dir, new Error('another file system is mounted there now'));
  }

  /**
   * After something was made: a medium that is there now was there then. Otherwise it may have been made in the folder under
   * the path, where it would lie hidden as soon as the medium is back.
   * @param undo takes it away again
   */
  async #requireStillThere(undo: () => Promise<void>): Promise<void> {
    try {
      await this.#requireMedium();
    } catch (error) {
      await undo().catch(() => undefined); // it was made on the medium, which is gone
      throw error;
    }
  }

  /** @returns false if a folder is missing. @throws bundle.invalid for links, and anything but folders */
  async #isThere(folders: readonly string[]): Promise<boolean> {
    await this.#requireMedium();
    for (const dir of this.#paths(folders)) {
      try {
        requireFolder(dir, await lstat(dir));
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return false;
        throw failed(dir, error);
      }
    }
    return true;
  }

  /** Each durable before something is made in it. */
  async #makeFolders(folders: readonly string[]): Promise<void> {
    await this.#requireMedium();
    for (const dir of this.#paths(folders)) {
      try {
        await mkdir(dir);
        await this.#requireStillThere(() => rmdir(dir));
        await syncDirectory(path.dirname(dir));
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw error;
        requireFolder(dir, await lstat(dir));
      }
    }
  }

  #paths(folders: readonly string[]): string[] {
    return folders.map((_, index) => path.join(this.#root.dir, ...folders.slice(0, index + 1)));
  }
}

interface WriterOptions {
  readonly anew: boolean;
  readonly signal: AbortSignal | undefined;
  readonly settleEvery: number;
}

class DirectoryWriter implements CarrierWriter {
  readonly offset: number;
  readonly #file: PositionalFile;
  readonly #name: string;
  readonly #options: WriterOptions;
  #position: number;
  #ended = false;

  /** What an earlier attempt left above the offset stays until it is written over: no more than one step. */
  readonly held: number;

  private constructor(file: PositionalFile, name: string, former: number, options: WriterOptions) {
    this.#file = file;
    this.#name = name;
    this.held = former;
    this.offset = keptOf(former, options.settleEvery);
    this.#position = this.offset;
    this.#options = options;
  }

  /** @param name path of the finished file */
  static async open(name: string, options: WriterOptions): Promise<DirectoryWriter> {
    const partial = `${name}${PARTIAL}`;
    const there = await lstat(partial).catch(letMissingPass);
    if (there?.isDirectory() === true) throw inTheWay(partial);
    const resumes = there?.isFile() === true && !options.anew;
    // A link is taken away, not followed.
    if (there !== undefined && !resumes) await unlink(partial);
    const how = resumes ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    const file = await PositionalFile.open(partial, how | constants.O_NOFOLLOW, 0o644);
    try {
      const size = Number((await file.stat()).size);
      return new DirectoryWriter(file, name, size, options);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    const wanted = Math.max(0, Math.min(into.byteLength, this.offset - position));
    try {
      return await this.#file.readAt(into.subarray(0, wanted), position);
    } catch (error) {
      throw failed(this.#name, error);
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { settleEvery, signal } = this.#options;
    try {
      for (let done = 0; done < bytes.byteLength; ) {
        if (signal !== undefined) throwIfAborted(signal);
        const room = settleEvery - (this.#position % settleEvery);
        const piece = bytes.subarray(done, done + room);
        await this.#file.writeAt(piece, this.#position, () => undefined);
        this.#position += piece.byteLength;
        done += piece.byteLength;
        if (this.#position % settleEvery === 0) await this.#file.datasync();
      }
    } catch (error) {
      throw failed(this.#name, error);
    }
  }

  async commit(): Promise<void> {
    this.#ended = true;
    try {
      // Only now and only if it must be: some drivers of FAT fail to write on behind a cut.
      if (this.held > this.#position) await this.#file.truncate(this.#position);
      await this.#syncAndClose();
      await rename(`${this.#name}${PARTIAL}`, this.#name);
      await syncDirectory(path.dirname(this.#name));
    } catch (error) {
      throw failed(this.#name, error);
    }
  }

  async suspend(): Promise<void> {
    this.#ended = true;
    try {
      await this.#syncAndClose();
    } catch (error) {
      throw failed(this.#name, error);
    }
  }

  async #syncAndClose(): Promise<void> {
    try {
      await this.#file.sync();
    } finally {
      await this.#file.close();
    }
  }

  async cancel(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#file.close().catch(() => undefined);
    await rm(`${this.#name}${PARTIAL}`, { force: true }).catch(() => undefined);
  }
}

function letMissingPass(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error;
  return undefined;
}

/** What the system says, in the words of the seam. */
function failed(place: string, error: unknown): unknown {
  if (isAirlockError(error) && error.code !== 'space.insufficient') return error;
  const space = asSpaceError(error, place);
  if (isAirlockError(space, 'space.insufficient')) return asFull(place, space);
  const code = systemCode(error);
  const name = quoteUnsafe(place);
  if (code === 'EACCES' || code === 'EPERM') {
    return new AirlockError(
      'usage.invalid',
      `This user may not do that at ${name} (${code}). Give it the right to, or run as a user that has it.`,
      { cause: error },
    );
  }
  if (code === 'EROFS') {
    return new AirlockError(
      'storage.failed',
      `${name} cannot be written: its file system is read-only. Open the medium's write lock and mount it for writing; a file system with errors is made read-only by the system: check it ("dmesg", fsck).`,
      { cause: error, details: { path: place, reason: code } },
    );
  }
  if (code === 'EISDIR' || code === 'ENOTDIR' || code === 'ELOOP' || code === 'EEXIST' || code === 'ENOTEMPTY') {
    return new AirlockError('bundle.invalid', `Something is in the way at ${name} (${code}). Take it away.`, {
      cause: error,
    });
  }
  if (code !== undefined && code !== 'ENOENT' && !isGone(error)) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new AirlockError(
    'source.lost',
    `The medium went away, or is worn, at ${name} (${quoteUnsafe(why)}). What is on it is incomplete. Check it, plug it in again and run the same command.`,
    { cause: error, details: { path: place, ...(code === undefined ? {} : { reason: code }) } },
  );
}

function asFull(place: string, space: AirlockError): AirlockError {
  const { free, reason } = space.details;
  const { cause } = space;
  if (reason !== 'EFBIG') {
    return full(path.basename(place), path.dirname(place), typeof free === 'number' ? free : undefined, cause);
  }
  return new AirlockError(
    'medium.full',
    `The file system at ${quoteUnsafe(path.dirname(place))} takes no file as large as ${path.basename(place)}. Choose smaller volumes: --medium fat32.`,
    { cause, details: { where: path.dirname(place), name: path.basename(place), reason } },
  );
}
