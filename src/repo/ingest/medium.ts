/**
 * Files on media that may be pulled, worn or read-only. Nothing is ever written to them, and nothing that is not a
 * regular file is opened: a named pipe would wait for ever, a device may act.
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, type ErrorCode, isAirlockError, systemCode } from '../../errors.ts';
import type { ByteSource } from '../blobs/blob-store.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { throwIfAborted } from '../staging.ts';

/** An open file of a medium. Whoever opened it closes it. */
export interface MediumFile extends ByteSource {
  /** Its name there, without folders. Data, never a path of ours. */
  readonly name: string;
  /** Last change, milliseconds since the epoch. */
  readonly mtime: number;
  close(): Promise<void>;
}

export interface MediumOptions {
  /** What the error is called for anything but a regular file. Default `usage.invalid`. */
  readonly otherwise?: ErrorCode;
  /** Nobody named this file, it was found beside another: links are not followed. */
  readonly found?: boolean;
  /** Reads throw `interrupted` once it has fired. */
  readonly signal?: AbortSignal;
}

/** What reading gives when the medium goes away, or its sectors do. */
const GONE = new Set([
  ...['EIO', 'ENXIO', 'ENODEV', 'ENOMEDIUM', 'ESTALE', 'EREMOTEIO', 'ETIMEDOUT'],
  ...['ENOTCONN', 'ECONNABORTED'], // of a driver in user space that ended
]);

/** True for what the system says when a medium went away, or has bad sectors. */
export function isGone(error: unknown): boolean {
  return GONE.has(systemCode(error) ?? '');
}

/**
 * @throws file.not-found, `options.otherwise` for anything but a regular file, usage.invalid for one that may not be
 *   read, source.lost, interrupted; reads throw source.lost when the medium is pulled or the file gets shorter
 */
export async function openMediumFile(file: string, options: MediumOptions = {}): Promise<MediumFile> {
  await requireFile(file, options);
  const handle = await opened(file, options);
  try {
    const stats = await handle.stat();
    requireRegular(file, stats, options);
    return {
      name: path.basename(file),
      size: stats.size,
      mtime: Math.trunc(stats.mtimeMs),
      readAt: (into, position) => readFully(handle, file, stats.size, into, position, options.signal),
      close: () => release(handle),
    };
  } catch (error) {
    await release(handle);
    throw error;
  }
}

/**
 * Looks at a file without opening it.
 * @throws as openMediumFile
 */
export async function requireFile(file: string, options: MediumOptions = {}): Promise<void> {
  if (options.signal !== undefined) throwIfAborted(options.signal);
  const stats = await (options.found === true ? lstat(file) : stat(file)).catch((error: unknown) => {
    throw unopened(file, error, options);
  });
  requireRegular(file, stats, options);
}

/**
 * Reads a small file whole.
 * @returns undefined if it is not there
 * @throws `options.otherwise` if it is larger than `limit` bytes or no regular file; usage.invalid, source.lost
 */
export async function readSmallFile(
  file: string,
  limit: number,
  options: MediumOptions = {},
): Promise<Buffer | undefined> {
  const medium = await openIfThere(file, options);
  if (medium === undefined) return undefined;
  try {
    if (medium.size > limit) {
      throw new AirlockError(
        options.otherwise ?? 'usage.invalid',
        `${quoteUnsafe(file)} has ${medium.size} bytes; a file of its kind has ${limit} at most. It is not what its name says.`,
      );
    }
    const bytes = Buffer.alloc(medium.size);
    await medium.readAt(bytes, 0);
    return bytes;
  } finally {
    await medium.close();
  }
}

/** As openMediumFile. @returns undefined if there is no such file */
export async function openIfThere(file: string, options: MediumOptions = {}): Promise<MediumFile | undefined> {
  try {
    return await openMediumFile(file, options);
  } catch (error) {
    if (isAirlockError(error, 'file.not-found')) return undefined;
    throw error;
  }
}

function requireRegular(
  file: string,
  stats: Stats,
  { otherwise = 'usage.invalid', found = false }: MediumOptions,
): void {
  if (stats.isFile()) return;
  const remedy = found
    ? 'Put the file itself there, or take this away.'
    : 'Give the file itself; "hunt" searches folders.';
  throw new AirlockError(otherwise, `${quoteUnsafe(file)} is ${kindOf(stats)}, not a file. ${remedy}`);
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isSymbolicLink()) return 'a symbolic link';
  if (stats.isFIFO()) return 'a named pipe';
  return stats.isSocket() ? 'a socket' : 'a device';
}

/** Without waiting for anything, should the file have been swapped since it was looked at. */
async function opened(file: string, options: MediumOptions): Promise<FileHandle> {
  const links = options.found === true ? constants.O_NOFOLLOW : 0;
  try {
    return await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | links);
  } catch (error) {
    throw unopened(file, error, options);
  }
}

function unopened(file: string, cause: unknown, { otherwise = 'usage.invalid' }: MediumOptions): unknown {
  const name = quoteUnsafe(file);
  const code = systemCode(cause);
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG') {
    return new AirlockError('file.not-found', `There is no file ${name}.`, { cause });
  }
  if (code === 'ELOOP') {
    return new AirlockError(otherwise, `${name} is a symbolic link that leads nowhere. Give the file itself.`, {
      cause,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new AirlockError(
      'usage.invalid',
      `${name} may not be read by this user. Give it read permission, or run as a user that has it.`,
      { cause },
    );
  }
  return lost(file, cause);
}

async function readFully(
  handle: FileHandle,
  file: string,
  size: number,
  into: Uint8Array,
  position: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const wanted = Math.max(0, Math.min(into.byteLength, size - position));
  let done = 0;
  while (done < wanted) {
    if (signal !== undefined) throwIfAborted(signal);
    let bytesRead: number;
    try {
      ({ bytesRead } = await handle.read(into, done, wanted - done, position + done));
    } catch (error) {
      throw lost(file, error);
    }
    if (bytesRead === 0) throw lost(file, new Error(`the file ended at ${position + done} of ${size} bytes`));
    done += bytesRead;
  }
  return done;
}

/** A file that was only read: that its medium is gone is told by what was read, and closing it has nothing to add. */
async function release(handle: FileHandle): Promise<void> {
  await handle.close().catch((error: unknown) => {
    if (!isGone(error)) throw error;
  });
}

function lost(file: string, cause: unknown): unknown {
  if (systemCode(cause) !== undefined && !isGone(cause)) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new AirlockError(
    'source.lost',
    `${quoteUnsafe(file)} could not be read to its end (${quoteUnsafe(why)}). Nothing of it was imported. Check the medium, plug it in again and run the same command.`,
    { cause },
  );
}
