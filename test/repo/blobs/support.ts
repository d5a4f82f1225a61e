import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, open, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { blobPath, parsePartialName, partialDir } from '../../../src/repo/blobs/layout.ts';

/** Runs with a new directory, which is removed afterwards. */
export async function withDirectory<T>(run: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(path.join(tmpdir(), 'airlock-blobs-'));
  try {
    return await run(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Partial files under a data directory, relative to `DATA/partial`. */
export async function partialFiles(dataDir: string): Promise<string[]> {
  if (!existsSync(partialDir(dataDir))) return [];
  const names = await readdir(partialDir(dataDir), { recursive: true });
  return names.filter((name) => parsePartialName(path.basename(name)) !== undefined).sort();
}

/** Changes a stored file in place and sets its modification time back, as somebody would who wants to hide it. */
export async function tamperFile(
  dataDir: string,
  digest: Digest,
  change: (bytes: Uint8Array) => Uint8Array,
): Promise<void> {
  const file = blobPath(dataDir, digest);
  const { atime, mtime } = await stat(file);
  const bytes = change(new Uint8Array(await readFile(file)));
  await chmod(file, 0o644);
  const handle = await open(file, 'r+');
  await handle.truncate(bytes.length);
  await handle.write(bytes, 0, bytes.length, 0);
  await handle.close();
  await utimes(file, atime, mtime);
  await chmod(file, 0o444);
}

/** A second process: a script of the tests, run by this Node.js. */
export interface Child {
  /** The next line that it prints; fails if it ends before. */
  line(): Promise<string>;
  /** Everything it printed to standard error. */
  errors(): string;
  /** Closes its standard input: it is asked to come to an end. @returns its exit code */
  finish(): Promise<number | null>;
  /** SIGKILL. Returns when it is gone. */
  kill(): Promise<void>;
}

/** Starts `node SCRIPT ARGS…`, behind `wrapper` if there is one (strace and its options). */
export function startChild(script: string, args: string[], wrapper: string[] = []): Child {
  const [command = process.execPath, ...rest] = [...wrapper, process.execPath, script, ...args];
  const child = spawn(command, rest, {
    stdio: 'pipe',
    env: { ...process.env, UV_THREADPOOL_SIZE: wrapper.length > 0 ? '1' : '4' },
  });
  const ended = once(child, 'close');
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    async line() {
      const next = await lines.next();
      if (next.done === true) throw new Error(`the process ended early: ${errors}`);
      return next.value;
    },
    errors: () => errors,
    async finish() {
      child.stdin.end();
      await ended;
      return child.exitCode;
    },
    async kill() {
      killHard(child);
      await ended;
    },
  };
}

function killHard(child: ChildProcess): void {
  child.kill('SIGKILL');
}
