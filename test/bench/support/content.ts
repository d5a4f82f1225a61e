/**
 * Files to be served, and how they come in: by the command line, as users do it.
 */
import { createCipheriv, createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../../src/repo/blobs/layout.ts';
import { runAirlock } from './airlock-server.ts';
import type { Bench } from './bench.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** A file, and the digest that every copy of it must have. */
export interface MadeFile {
  readonly file: string;
  readonly name: string;
  readonly size: number;
  readonly digest: Digest;
}

/** Writes a file that does not compress; the same name gives the same bytes. */
export async function makeFile(dir: string, name: string, size: number): Promise<MadeFile> {
  const file = path.join(dir, name);
  const handle = await open(file, 'w');
  try {
    return { file, name, size, digest: await fill(handle, name, size) };
  } finally {
    await handle.close();
  }
}

async function fill(handle: FileHandle, seed: string, size: number): Promise<Digest> {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(MiB);
  const hash = createHash('sha256');
  for (let left = size; left > 0; left -= MiB) {
    const bytes = cipher.update(left < MiB ? zeros.subarray(0, left) : zeros);
    hash.update(bytes);
    await handle.writeFile(bytes);
  }
  return digestOf(hash);
}

/**
 * Imports files into the repository `files` of a data directory.
 * @throws Error if one is refused, or stored with another digest
 */
export async function importFiles(bench: Bench, dataDir: string, files: readonly MadeFile[]): Promise<void> {
  for (const { file, name, digest } of files) {
    const args = ['--json', '--data', dataDir, 'import', 'file', '--repository', 'files', '--path', name, file];
    const stored = JSON.parse(await runAirlock(bench, args)) as { digest?: string };
    if (stored.digest !== digest) throw new Error(`${name} was stored as ${stored.digest}, and is ${digest}`);
  }
}

/** Where the data directory keeps the bytes of a file: others serve the same ones. */
export function storedAt(dataDir: string, { digest }: MadeFile): string {
  return blobPath(dataDir, digest);
}

/** @param range first byte, and the byte after the last; default: all */
export async function hashFile(file: string, range?: { start: number; end: number }): Promise<Digest> {
  const hash = createHash('sha256');
  const options = range === undefined ? {} : { start: range.start, end: range.end - 1 };
  await pipeline(createReadStream(file, { highWaterMark: MiB, ...options }), hash);
  return digestOf(hash);
}

function digestOf(hash: Hash): Digest {
  return `sha256:${hash.digest('hex')}`;
}
