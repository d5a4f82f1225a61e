/**
 * Files that are still there after a power cut (invariant 1): bytes to a temporary file, fsync, rename, fsync of
 * the directory. A failed fsync is thrown and never tried again: Linux reports such a failure once and drops the
 * pages, so that a second fsync would succeed over lost bytes.
 *
 * Each helper comes for promises and, for callers inside a catalog transaction, synchronous.
 */

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, about, systemCode } from '../../errors.ts';

/** What a file shall hold: text, bytes, or lines without their line feeds (one is put after each). */
export type FileContent = string | Uint8Array | Iterable<string>;

export interface WriteOptions {
  /** Permissions of the file, before the umask. Default 0o644. */
  readonly mode?: number;
}

/** Characters of lines that are written at once. */
const BATCH = 64 * 1024;
const TEMPORARY = /\.[0-9a-f]{16}\.tmp$/;

/**
 * Makes the names in a directory durable: files made, renamed or removed in it.
 * File systems that cannot do this to a directory (some network and FUSE ones answer EINVAL or ENOTSUP) are let pass.
 * @throws the system error of fsync, as it is
 */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync().catch((error: unknown) => letUnsupportedPass(about(error, dir)));
  } finally {
    await handle.close();
  }
}

/** As `syncDirectory`. */
export function syncDirectorySync(dir: string): void {
  const fd = fs.openSync(dir, 'r');
  try {
    fs.fsyncSync(fd);
  } catch (error) {
    letUnsupportedPass(about(error, dir));
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Makes a directory and its missing parents, each of them durable before the next one is made in it.
 * One that is there already is left alone.
 * @returns true if anything was made
 * @throws space.insufficient, or the system error as it is
 */
export async function makeDirectory(dir: string): Promise<boolean> {
  const missing = missingDirectories(dir);
  try {
    for (const each of missing) {
      await mkdir(each).catch(letExistingPass);
      await syncDirectory(path.dirname(each));
    }
  } catch (error) {
    throw asSpaceError(error, dir);
  }
  return missing.length > 0;
}

/** As `makeDirectory`. */
export function makeDirectorySync(dir: string): boolean {
  const missing = missingDirectories(dir);
  try {
    for (const each of missing) {
      try {
        fs.mkdirSync(each);
      } catch (error) {
        letExistingPass(error);
      }
      syncDirectorySync(path.dirname(each));
    }
  } catch (error) {
    throw asSpaceError(error, dir);
  }
  return missing.length > 0;
}

/**
 * Puts a whole file in place, durably: a reader, also after a power cut, finds the old content or the new one, never
 * a mix. The directory must exist. If only the last step fails (fsync of the directory), the new content stands
 * there, but a power cut may bring back the old one.
 * A process killed half way leaves a file that `isTemporaryName` knows.
 * @throws space.insufficient, or the system error as it is
 */
export async function writeFileDurably(file: string, content: FileContent, options: WriteOptions = {}): Promise<void> {
  const temporary = temporaryName(file);
  try {
    const handle = await open(temporary, 'wx', options.mode ?? 0o644);
    await fill(handle, content);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw asSpaceError(error, file);
  }
  await syncDirectory(path.dirname(file));
}

/** As `writeFileDurably`. */
export function writeFileDurablySync(file: string, content: FileContent, options: WriteOptions = {}): void {
  const temporary = temporaryName(file);
  try {
    const fd = fs.openSync(temporary, 'wx', options.mode ?? 0o644);
    try {
      for (const batch of batches(content)) fs.writeFileSync(fd, batch);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, file);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw asSpaceError(error, file);
  }
  syncDirectorySync(path.dirname(file));
}

/** True for what a killed `writeFileDurably` leaves beside its file; may be deleted once its process is gone. */
export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}

/**
 * Turns the system errors that mean "does not fit" into space.insufficient, naming the place and the numbers.
 * @param needed bytes that were to be written, if known
 * @returns the AirlockError, or `error` itself, with its path noted on it, if it is of another kind
 */
export function asSpaceError(error: unknown, file: string, needed?: number): unknown {
  const code = systemCode(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EFBIG') return about(error, file);
  const free = freeBytes(path.dirname(file));
  const what = needed === undefined ? '' : ` (${needed} bytes to write, ${free ?? 'unknown'} free)`;
  const message = {
    ENOSPC: `No space left for ${file}${what}. Free some, for example with \`airlock prune --grace 0\`, and try again.`,
    EDQUOT: `The disk quota is used up at ${file}${what}. Raise it or free space, and try again.`,
    EFBIG: `The file system, or a limit of this process, does not take a file as large as ${file}${what}. Move the data directory to another file system.`,
  }[code];
  return new AirlockError('space.insufficient', message, {
    cause: error,
    details: {
      path: file,
      reason: code,
      ...(needed === undefined ? {} : { needed }),
      ...(free === undefined ? {} : { free }),
    },
  });
}

function freeBytes(dir: string): number | undefined {
  try {
    const { bavail, bsize } = fs.statfsSync(dir);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** Takes over `handle`: writes, syncs, and closes in any case. */
async function fill(handle: FileHandle, content: FileContent): Promise<void> {
  try {
    for (const batch of batches(content)) await handle.writeFile(batch);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function* batches(content: FileContent): Iterable<string | Uint8Array> {
  if (typeof content === 'string' || content instanceof Uint8Array) {
    yield content;
    return;
  }
  let batch = '';
  for (const line of content) {
    batch += `${line}\n`;
    if (batch.length < BATCH) continue;
    yield batch;
    batch = '';
  }
  yield batch;
}

/** Missing ancestors of `dir` and `dir` itself, outermost first. */
function missingDirectories(dir: string): string[] {
  const missing: string[] = [];
  for (let each = path.resolve(dir); !fs.existsSync(each); each = path.dirname(each)) missing.unshift(each);
  return missing;
}

/** In the same directory: a rename moves nothing between file systems. */
function temporaryName(file: string): string {
  return `${file}.${randomBytes(8).toString('hex')}.tmp`;
}

function letUnsupportedPass(error: unknown): void {
  const code = systemCode(error);
  if (code !== 'EINVAL' && code !== 'ENOTSUP') throw error;
}

function letExistingPass(error: unknown): void {
  if (systemCode(error) !== 'EEXIST') throw error;
}
