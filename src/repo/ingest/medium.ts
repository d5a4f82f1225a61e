/**
 * Files on media that may be pulled, worn or read-only. Nothing is ever written to them.
 */
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, systemCode } from '../../errors.ts';
import type { ByteSource } from '../blobs/blob-store.ts';

/** An open file of a medium. Whoever opened it closes it. */
export interface MediumFile extends ByteSource {
  /** Its name there, without folders. Data, never a path of ours. */
  readonly name: string;
  /** Last change, milliseconds since the epoch. */
  readonly mtime: number;
  close(): Promise<void>;
}

/** What reading gives when the medium goes away, or its sectors do. */
const GONE = new Set(['EIO', 'ENXIO', 'ENODEV', 'ENOMEDIUM', 'ESTALE', 'ENOTCONN', 'EREMOTEIO', 'ETIMEDOUT']);

/**
 * @throws file.not-found, usage.invalid for anything but a regular file, source.lost; reads throw source.lost when the
 *   medium is pulled or the file gets shorter
 */
export async function openMediumFile(file: string): Promise<MediumFile> {
  const handle = await opened(file);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) {
      throw new AirlockError('usage.invalid', `${file} is not a file. Give the file itself; "hunt" searches folders.`);
    }
    return {
      name: path.basename(file),
      size: stat.size,
      mtime: Math.trunc(stat.mtimeMs),
      readAt: (into, position) => readFully(handle, file, stat.size, into, position),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Reads a small file whole.
 * @returns undefined if it is not there
 * @throws checksum.invalid if it is larger than `limit` bytes, source.lost
 */
export async function readSmallFile(file: string, limit: number): Promise<Buffer | undefined> {
  let medium: MediumFile;
  try {
    medium = await openMediumFile(file);
  } catch (error) {
    if (error instanceof AirlockError && error.code === 'file.not-found') return undefined;
    throw error;
  }
  try {
    if (medium.size > limit) {
      throw new AirlockError(
        'checksum.invalid',
        `${file} has ${medium.size} bytes; a file of its kind has ${limit} at most. It is not what its name says.`,
      );
    }
    const bytes = Buffer.alloc(medium.size);
    await medium.readAt(bytes, 0);
    return bytes;
  } finally {
    await medium.close();
  }
}

async function opened(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'r');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new AirlockError('file.not-found', `There is no file ${file}.`, { cause: error });
    if (code === 'EACCES' || code === 'EPERM') {
      throw new AirlockError(
        'usage.invalid',
        `${file} may not be read by this user. Give it read permission, or run as a user that has it.`,
        { cause: error },
      );
    }
    throw lost(file, error);
  }
}

async function readFully(
  handle: FileHandle,
  file: string,
  size: number,
  into: Uint8Array,
  position: number,
): Promise<number> {
  const wanted = Math.max(0, Math.min(into.byteLength, size - position));
  let done = 0;
  while (done < wanted) {
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

function lost(file: string, cause: unknown): unknown {
  const code = systemCode(cause);
  if (code !== undefined && !GONE.has(code)) return cause;
  return new AirlockError(
    'source.lost',
    `${file} could not be read to its end (${cause instanceof Error ? cause.message : String(cause)}). Nothing of it was imported. Check the medium, plug it in again and run the same command.`,
    { cause },
  );
}
