/**
 * Chunk indexes, kept in one file so that no blob is read for one twice. It can be made anew at any time: what is damaged,
 * of another version or grown too large is dropped, and nothing is ever taken from it unproven, for the digest of what a
 * delta gives is checked in the end.
 *
 * After a line that names the version come records, each written at once: four bytes `chnk`, number of chunks, CRC-32 of
 * what follows (both little endian), the blob's SHA-256, then the hashes and then the lengths of the chunks.
 */
import { type FileHandle, open, rename, rm, stat, truncate } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { HASH_BYTES } from './chunker.ts';

const VERSION = Buffer.from('airlock chunks 1\n');
const MAGIC = Buffer.from('chnk');
const DIGEST_BYTES = 32;
const HEAD = 4 + 4 + 4 + DIGEST_BYTES;
const EACH = HASH_BYTES + 4;

/**
 * All indexes of the file, in order; none if it is not there. What is damaged, and what stands after it, is cut off.
 * @param wanted others are passed over
 */
export async function* readChunkFile(
  file: string,
  wanted: (digest: Digest) => boolean,
): AsyncGenerator<ChunkIndex, void, undefined> {
  const handle = await opened(file);
  if (handle === undefined) return;
  let good = 0;
  let isDamaged = false;
  try {
    const { size } = await handle.stat();
    const ahead = new Ahead(handle);
    if (size > limits.delta.chunkFile || !(await ahead.take(VERSION.length)).equals(VERSION)) {
      isDamaged = true;
      return;
    }
    for (good = VERSION.length; good < size; ) {
      const record = await readRecord(ahead);
      if (record === undefined) {
        isDamaged = true;
        return;
      }
      if (wanted(record.index.digest)) yield record.index;
      good += record.bytes;
    }
  } finally {
    await handle.close();
    if (isDamaged) await cut(file, good);
  }
}

/**
 * Adds an index. One of a blob with more chunks than limits.delta.chunks is not kept.
 * @throws what the system says; the file is then as good as before
 */
export async function appendToChunkFile(file: string, { digest, hashes, lengths }: ChunkIndex): Promise<void> {
  if (lengths.length > limits.delta.chunks) return;
  const record = Buffer.allocUnsafe(HEAD + lengths.length * EACH);
  MAGIC.copy(record);
  record.writeUInt32LE(lengths.length, 4);
  record.write(digest.slice('sha256:'.length), 12, 'hex');
  hashes.copy(record, HEAD);
  for (const [at, length] of lengths.entries()) record.writeUInt32LE(length, HEAD + hashes.length + at * 4);
  record.writeUInt32LE(crc32(record.subarray(12)), 8);
  await ensure(file);
  const handle = await open(file, 'a');
  try {
    await handle.writeFile(record);
  } finally {
    await handle.close();
  }
}

/** Makes the file where it is not there, whole from the start. */
async function ensure(file: string): Promise<void> {
  const there = await stat(file).catch(() => undefined);
  if (there !== undefined && there.size >= VERSION.length) return;
  const made = `${file}.${process.pid}`;
  const handle = await open(made, 'w');
  try {
    await handle.writeFile(VERSION);
  } finally {
    await handle.close();
  }
  await rename(made, file);
}

async function opened(file: string): Promise<FileHandle | undefined> {
  try {
    return await open(file, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Also where another process appends just now: it only loses what it can compute again. */
async function cut(file: string, good: number): Promise<void> {
  if (good < VERSION.length) await rm(file, { force: true });
  else await truncate(file, good);
}

/** @returns undefined for what is no whole record */
async function readRecord(ahead: Ahead): Promise<{ index: ChunkIndex; bytes: number } | undefined> {
  const head = Buffer.from(ahead.ready(HEAD) ?? (await ahead.take(HEAD)));
  if (head.length < HEAD || !head.subarray(0, 4).equals(MAGIC)) return undefined;
  const count = head.readUInt32LE(4);
  if (count > limits.delta.chunks) return undefined;
  const body = ahead.ready(count * EACH) ?? (await ahead.take(count * EACH));
  if (body.length < count * EACH) return undefined;
  if (crc32(body, crc32(head.subarray(12))) !== head.readUInt32LE(8)) return undefined;
  const hashes = Buffer.from(body.subarray(0, count * HASH_BYTES));
  const lengths = new Uint32Array(count);
  for (let at = 0; at < count; at += 1) lengths[at] = body.readUInt32LE(hashes.length + at * 4);
  const digest: Digest = `sha256:${head.toString('hex', 12)}`;
  return { index: { digest, hashes, lengths }, bytes: HEAD + body.length };
}

const WINDOW = 2 ** 20;

/** A file read from its beginning in large pieces, taken in small ones. */
class Ahead {
  readonly #handle: FileHandle;
  #window = Buffer.alloc(0);
  #position = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** The next bytes if they have been read already; good until more is taken. */
  ready(length: number): Buffer | undefined {
    if (this.#window.length < length) return undefined;
    const taken = this.#window.subarray(0, length);
    this.#window = this.#window.subarray(length);
    return taken;
  }

  /** The next bytes; fewer only where the file ends. */
  async take(length: number): Promise<Buffer> {
    const window = Buffer.allocUnsafe(Math.max(WINDOW, length));
    let filled = this.#window.copy(window);
    while (filled < window.length) {
      const { bytesRead } = await this.#handle.read(window, filled, window.length - filled, this.#position);
      if (bytesRead === 0) break;
      filled += bytesRead;
      this.#position += bytesRead;
    }
    this.#window = window.subarray(0, filled);
    return this.ready(Math.min(length, filled)) ?? this.#window;
  }
}
