/** Single requests to an SFTP server, with what servers do differently, and the words for what they answer. */
import path from 'node:path';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { full } from './carrier.ts';
import { type SftpSession, STATUS, statusOf } from './sftp-session.ts';

/** What lies at a path, without following a link. */
export interface Found {
  readonly size: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

export interface Place {
  /** Path there, and for messages. */
  readonly file: string;
  readonly told: string;
  readonly dir: string;
}

/** One step where the server can do so. Otherwise the former file is taken away first. */
export async function renameOver(session: SftpSession, from: string, to: string): Promise<void> {
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
export async function syncFolder(session: SftpSession, dir: string): Promise<void> {
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

export async function freeSpace(session: SftpSession, dir: string): Promise<number | undefined> {
  const found = await session.extension<Record<string, unknown>>((sftp, done) => sftp.ext_openssh_statvfs(dir, done));
  if (found === undefined) return undefined;
  const bytes = Number(found.value.f_frsize) * Number(found.value.f_bavail);
  return Number.isFinite(bytes) ? bytes : undefined;
}

/** What was closed badly was read or synced well before; what was lost with the connection is told elsewhere. */
export async function closeHandle(session: SftpSession, handle: Buffer): Promise<void> {
  await session.call<void>((sftp, done) => sftp.close(handle, asVoid(done))).catch(() => undefined);
}

export function letMissingPass(error: unknown): undefined {
  if (statusOf(error) !== STATUS.noSuchFile) throw error;
  return undefined;
}

/** A callback that is told of an error only. */
export function asVoid(done: (error: Error | null | undefined, value: undefined) => void) {
  return (error?: Error | null) => done(error, undefined);
}

/** SFTP has one word for a full disk and all else: the server is asked how much is free. */
export async function asFull(session: SftpSession, error: unknown, { told, dir }: Place): Promise<unknown> {
  if (isAirlockError(error) || statusOf(error) !== STATUS.failure) return failed(told, error);
  const free = await freeSpace(session, dir).catch(() => undefined);
  const isFull = free !== undefined && free < limits.carrier.requests * limits.carrier.request;
  return isFull ? full(path.posix.basename(told), path.posix.dirname(told), free, error) : failed(told, error);
}

/** What the server says, in the words of the seam. */
export function failed(told: string, error: unknown): unknown {
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
