/**
 * Revisions as files, `DATA/revisions/<repository>/<number, 8 digits>.jsonl`: what the catalog can be rebuilt from.
 *
 * The first revision of a repository is its base, each later one lists its changes. A file is a header line, one
 * line for each change, and a closing line with their count and the digest of all bytes before it; a file without
 * a closing line is torn.
 *
 * A revision is written and made durable as `DATA/revisions/.pending/<number>-<repository>.jsonl` (`…~1.jsonl` if a
 * dead process left one of this name) before the catalog's transaction ends, and becomes part of the log by a rename
 * after it. So every published revision has its file, and what is in the log was published: nothing in it is ever
 * removed or overwritten, whatever a catalog that was lost, damaged or restored from an old backup may say. Which
 * pending files were published, the catalog tells by their ids.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { type FileHandle, open, opendir } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { AirlockError, about, isAirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import { asSpaceError, makeDirectorySync, syncDirectorySync } from '../blobs/durable.ts';
import type { Artifact, Json, RepositoryKind } from './artifact.ts';
import { isRepositoryName } from './names.ts';

export interface RevisionHeader {
  readonly format: 1;
  /** 32 random hexadecimal digits: two attempts at one number are two revisions, of which one was published. */
  readonly id: string;
  readonly repository: string;
  readonly kind: RepositoryKind;
  readonly revision: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly reason: string;
}

export type RevisionLine =
  | { readonly put: string; readonly artifact: Artifact }
  | { readonly remove: string }
  /** Every entry that an earlier revision of this repository had, and that held this digest, no longer holds it. */
  | { readonly withdraw: Digest }
  /** Content that is kept and not published, under a key of its own (pulled.ts). */
  | { readonly hold: string; readonly content: HeldContent }
  | { readonly unhold: string };

export interface HeldContent {
  readonly digest: Digest;
  readonly size: number;
  /** Milliseconds since the epoch. */
  readonly usedAt: number;
  readonly facts: { readonly [key: string]: Json };
}

/** One revision being written. Lines go to disk as they come. */
export interface RevisionFile {
  /** @throws space.insufficient, or the system error as it is */
  add(line: RevisionLine): void;
  /**
   * Makes it durable, though not yet part of the log.
   * @throws space.insufficient, or the system error as it is: a failed fsync must fail the transaction
   */
  close(): void;
  /**
   * The catalog's transaction has ended: makes it part of the log. Never fails; if it cannot be done now, the next
   * opening does it.
   */
  keep(): void;
  /** Throws it away; a no-op after `keep`. Never fails. */
  cancel(): void;
}

/** A revision that was written, and may have been published. */
export interface PendingRevision {
  readonly repository: string;
  readonly revision: number;
  /** As in its header; undefined if not even that was written. */
  readonly id: string | undefined;
  /** Its file; the log's own business. */
  readonly file: string;
}

/** A revision that could not be read, and is empty now. */
export interface LostRevision {
  readonly repository: string;
  readonly revision: number;
  /** Why it could not be read. */
  readonly why: string;
  /** Where its file is kept; null if there was none. */
  readonly kept: string | null;
  /** Some of the paths that it seems to have filled, as far as they could be read. Nothing vouches for them. */
  readonly paths: readonly string[];
}

export interface RevisionLog {
  /**
   * Begins the file of the next revision.
   * @throws catalog.corrupt if the log has this revision already, for then the catalog is older than its log
   */
  begin(header: RevisionHeader): RevisionFile;
  /** True if this revision is part of the log. */
  has(repository: string, revision: number): boolean;
  /** Revisions of transactions that run, or of which nobody here knows how they ended. */
  pending(): PendingRevision[];
  /** Makes a pending revision part of the log, or removes it, if its transaction has not done so by now. */
  end(revision: PendingRevision, isPublished: boolean): void;
  /** Repositories that have revisions, by name. */
  repositories(): Promise<string[]>;
  /**
   * Puts an empty revision in the place of each one that is torn, changed, or missing in between, so that the others
   * can be read. What was there is moved to `folder`.
   * @returns what was lost
   * @throws revision.damaged if no such order can be made
   */
  mend(repository: string, folder: string): Promise<LostRevision[]>;
  /**
   * Revisions of a repository in ascending order, each proven whole before it is given. The lines of one can be
   * read until the next one is asked for.
   * @throws revision.damaged when a file is torn or changed, or one is missing in between; catalog.newer-format
   */
  revisions(repository: string): AsyncIterable<{ header: RevisionHeader; lines: AsyncIterable<RevisionLine> }>;
}

/** How to go on without a revision that cannot be read. */
export const WITHOUT =
  '"airlock doctor --rebuild-catalog --skip-damaged" makes the catalog from the others, and tells what is lost.';

const PENDING = '.pending';
const FILE_NAME = /^(\d{8,15})\.jsonl$/;
const PENDING_NAME = /^(\d{8,15})-([^~]+)(?:~\d+)?\.jsonl$/;
/** How each file begins. */
const FILE_ID = /^\{"format":1,"id":"([0-9a-f]{32})"/;
/** Characters that are written at once. */
const BATCH = 64 * 1024;

/** The log in a folder on local disk. Repository names are safe as folder names (see names.ts). */
export class DiskRevisionLog implements RevisionLog {
  readonly #dir: string;
  readonly #pending: string;

  /** @param dir `DATA/revisions`; made when first written to */
  constructor(dir: string) {
    this.#dir = dir;
    this.#pending = path.join(dir, PENDING);
  }

  begin(header: RevisionHeader): RevisionFile {
    if (this.has(header.repository, header.revision)) throw olderThanLog(header.repository, header.revision);
    const target = this.#file(header.repository, header.revision);
    return new PendingFile(
      path.join(this.#pending, `${digitsOf(header.revision)}-${header.repository}`),
      target,
      header,
    );
  }

  has(repository: string, revision: number): boolean {
    return fs.existsSync(this.#file(repository, revision));
  }

  pending(): PendingRevision[] {
    const found: PendingRevision[] = [];
    for (const name of namesIn(this.#pending).sort()) {
      const [, digits, repository = ''] = PENDING_NAME.exec(name) ?? [];
      const file = path.join(this.#pending, name);
      if (isRepositoryName(repository)) found.push({ repository, revision: Number(digits), id: idIn(file), file });
    }
    return found;
  }

  end({ repository, revision, file }: PendingRevision, isPublished: boolean): void {
    if (!isPublished || this.has(repository, revision)) {
      fs.rmSync(file, { force: true });
      return;
    }
    try {
      putInPlace(file, this.#file(repository, revision));
    } catch (error) {
      // Whoever published it was quicker.
      if (systemCode(error) !== 'ENOENT' || !this.has(repository, revision)) throw error;
    }
  }

  async repositories(): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const item of await opendir(this.#dir)) {
        if (item.isDirectory() && isRepositoryName(item.name)) names.push(item.name);
      }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    return names.sort();
  }

  async *revisions(repository: string): AsyncIterable<{ header: RevisionHeader; lines: AsyncIterable<RevisionLine> }> {
    for (const [index, number] of this.#numbers(repository).entries()) {
      if (number !== index + 1) throw damaged(this.#file(repository, index + 1), 'it is missing');
      const { header, lines } = await this.#read(repository, number);
      try {
        yield { header, lines };
      } finally {
        await lines.return(undefined);
      }
    }
  }

  async mend(repository: string, folder: string): Promise<LostRevision[]> {
    const numbers = this.#numbers(repository);
    const last = numbers.at(-1) ?? 0;
    if (last - numbers.length > limits.catalog.gaps)
      throw damaged(this.#file(repository, last), 'its number is too high');
    let kind: RepositoryKind = 'file';
    const lost: LostRevision[] = [];
    for (let number = last; number >= 1; number -= 1) {
      try {
        const { header, lines } = await this.#read(repository, number);
        await lines.return(undefined);
        kind = header.kind;
      } catch (error) {
        if (!isAirlockError(error, 'revision.damaged')) throw error;
        lost.unshift(await this.#setAside(repository, number, folder, error));
      }
    }
    for (const { revision, why } of lost) {
      const reason = `lost: ${why}`;
      const id = randomBytes(16).toString('hex');
      const empty = this.begin({ format: 1, id, repository, kind, revision, createdAt: Date.now(), reason });
      empty.close();
      empty.keep();
    }
    return lost;
  }

  async #setAside(repository: string, revision: number, folder: string, error: AirlockError): Promise<LostRevision> {
    const file = this.#file(repository, revision);
    if (!fs.existsSync(file)) return { repository, revision, why: 'it is missing', kept: null, paths: [] };
    const why = String(error.details.why ?? error.message);
    const paths = await pathsIn(file).catch(() => []);
    const kept = path.join(folder, `${repository}-${path.basename(file)}`);
    makeDirectorySync(folder);
    fs.renameSync(file, kept);
    syncDirectorySync(folder);
    syncDirectorySync(path.dirname(file));
    return { repository, revision, why, kept, paths };
  }

  #numbers(repository: string): number[] {
    return namesIn(path.join(this.#dir, repository))
      .flatMap((name) => FILE_NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
  }

  /** One that is proven whole. Whoever gets the lines returns them. @throws revision.damaged, catalog.newer-format */
  async #read(
    repository: string,
    number: number,
  ): Promise<{ header: RevisionHeader; lines: AsyncGenerator<RevisionLine, undefined> }> {
    const file = this.#file(repository, number);
    const lines = jsonLines(file, await provenLength(file));
    try {
      const header = (await lines.next()).value as RevisionHeader;
      if (header.format !== 1) throw newerFormat(file);
      if (header.repository !== repository || header.revision !== number) throw damaged(file, 'it is another revision');
      return { header, lines: lines as AsyncGenerator<RevisionLine, undefined> };
    } catch (error) {
      await lines.return(undefined);
      throw error;
    }
  }

  #file(repository: string, revision: number): string {
    return path.join(this.#dir, repository, `${digitsOf(revision)}.jsonl`);
  }
}

/** A file in `.pending`. It is made when there is something to write, so a change of nothing touches no disk. */
class PendingFile implements RevisionFile {
  /** Without what is added to a name that is taken. */
  readonly #stem: string;
  readonly #target: string;
  readonly #hash: Hash = createHash('sha256');
  #temporary: string;
  #buffered: string;
  #count = 0;
  #fd: number | undefined;
  #wasMade = false;
  #isKept = false;

  constructor(stem: string, target: string, header: RevisionHeader) {
    this.#stem = stem;
    this.#temporary = `${stem}.jsonl`;
    this.#target = target;
    this.#buffered = `${JSON.stringify(header)}\n`;
  }

  add(line: RevisionLine): void {
    this.#buffered += `${JSON.stringify(line)}\n`;
    this.#count += 1;
    if (this.#buffered.length > BATCH) this.#write();
  }

  close(): void {
    this.#write();
    this.#buffered = `${JSON.stringify({ end: this.#count, sha256: this.#hash.copy().digest('hex') })}\n`;
    const fd = this.#write();
    try {
      fs.fsyncSync(fd);
    } catch (error) {
      throw about(error, this.#temporary);
    }
    this.#closeFile();
    syncDirectorySync(path.dirname(this.#temporary));
  }

  keep(): void {
    this.#isKept = true;
    try {
      putInPlace(this.#temporary, this.#target);
    } catch {
      // It is published all the same, and lies in `.pending`: whoever opens the catalog next puts it in place.
    }
  }

  cancel(): void {
    if (this.#isKept) return;
    try {
      if (this.#wasMade) fs.rmSync(this.#temporary, { force: true });
      this.#closeFile();
    } catch {
      // As above: the next opening removes it.
    }
  }

  #write(): number {
    try {
      this.#fd ??= this.#create();
      const bytes = Buffer.from(this.#buffered);
      this.#hash.update(bytes);
      fs.writeFileSync(this.#fd, bytes);
      this.#buffered = '';
      return this.#fd;
    } catch (error) {
      throw asSpaceError(error, this.#temporary);
    }
  }

  /** A file that somebody left behind is never overwritten: it may yet turn out that it was published. */
  #create(): number {
    makeDirectorySync(path.dirname(this.#stem));
    for (let attempt = 1; ; attempt++) {
      try {
        const fd = fs.openSync(this.#temporary, 'wx');
        this.#wasMade = true;
        return fd;
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw error;
        this.#temporary = `${this.#stem}~${attempt}.jsonl`;
      }
    }
  }

  #closeFile(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function putInPlace(temporary: string, target: string): void {
  makeDirectorySync(path.dirname(target));
  fs.renameSync(temporary, target);
  syncDirectorySync(path.dirname(target));
}

/**
 * Hashes a revision file.
 * @returns its length without the closing line. @throws revision.damaged
 */
async function provenLength(file: string): Promise<number> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw damaged(file, 'it cannot be read', error);
  });
  try {
    const closing = await closingLine(file, handle);
    const hash = createHash('sha256');
    for await (const chunk of handle.createReadStream({ start: 0, end: closing.position - 1, autoClose: false })) {
      hash.update(chunk as Buffer);
    }
    if (hash.digest('hex') !== closing.sha256) throw damaged(file, 'its content was changed');
    return closing.position;
  } catch (error) {
    throw systemCode(error) === undefined ? error : damaged(file, 'it cannot be read', error);
  } finally {
    await handle.close();
  }
}

/** Longer than any closing line. */
const TAIL = 256;
const CLOSING = /(?:^|\n)(\{"end":\d+,"sha256":"([0-9a-f]{64})"\}\n)$/;

async function closingLine(file: string, handle: FileHandle): Promise<{ position: number; sha256: string }> {
  const { size } = await handle.stat();
  const start = Math.max(0, size - TAIL);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(TAIL), 0, TAIL, start);
  const [, line, sha256] = CLOSING.exec(buffer.toString('latin1', 0, bytesRead)) ?? [];
  if (line === undefined || sha256 === undefined || line.length === size) throw damaged(file, 'its end is missing');
  return { position: size - line.length, sha256 };
}

/** The lines of the first `length` bytes of a file that is proven to be as we wrote it. */
async function* jsonLines(file: string, length: number): AsyncGenerator<unknown, undefined> {
  let rest = '';
  const chunks = fs.createReadStream(file, { end: length - 1, encoding: 'utf8', highWaterMark: limits.chunk });
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line);
  }
}

/** For a catalog that knows less than its log: a lost one, one restored from a backup, one half rebuilt. */
export function olderThanLog(repository: string, revision: number): AirlockError {
  return new AirlockError(
    'catalog.corrupt',
    `The catalog is older than the revision files beside it: those of ${repository} go on to revision ${revision}, the catalog does not. It was lost, restored from a backup, or only half rebuilt. Stop the server and run "airlock doctor --rebuild-catalog": it is made anew from what is stored.`,
    { details: { repository, revision } },
  );
}

function damaged(file: string, what: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'revision.damaged',
    `The revision file ${file} is damaged: ${what}. Restore it from a backup of the data directory, or go on without it: ${WITHOUT}`,
    { cause, details: { file, why: what } },
  );
}

function newerFormat(file: string): AirlockError {
  return new AirlockError(
    'catalog.newer-format',
    `The revision file ${file} was written by a newer Airlock. Use that version, or one after it, with this data directory.`,
    { details: { file } },
  );
}

/** Paths that the readable lines of a damaged file put, the first ones. */
async function pathsIn(file: string): Promise<string[]> {
  const paths: string[] = [];
  const lines = createInterface({ input: fs.createReadStream(file, { encoding: 'utf8' }) });
  for await (const line of lines) {
    const [, put] = /^\{"put":("(?:[^"\\]|\\.)*"),/.exec(line) ?? [];
    if (put !== undefined) paths.push(JSON.parse(put) as string);
    if (paths.length >= limits.catalog.findings) break;
  }
  return paths;
}

function idIn(file: string): string | undefined {
  const start = Buffer.alloc(64);
  try {
    const fd = fs.openSync(file, 'r');
    try {
      fs.readSync(fd, start, 0, start.length, 0);
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  return FILE_ID.exec(start.toString('latin1'))?.[1];
}

function digitsOf(revision: number): string {
  return String(revision).padStart(8, '0');
}

function namesIn(dir: string): string[] {
  try {
    return fs.readdirSync(dir);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}
