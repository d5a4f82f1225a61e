import { randomBytes } from 'node:crypto';
import { constants, type Dirent } from 'node:fs';
import { chmod, lstat, open, opendir, rename, rm, stat, statfs, unlink } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, systemCode } from '../../errors.ts';
import { busyPartial, missingBlob, missingPartial, storeIsClosed } from './blob-errors.ts';
import type { BlobReader, BlobStat, BlobStore, BlobWriter, CreateOptions, Digest, Expected } from './blob-store.ts';
import { ByteRanges } from './byte-ranges.ts';
import { blobStat, DiskReader } from './disk-reader.ts';
import { DiskWriter, type Staging, type WriterHome } from './disk-writer.ts';
import { asSpaceError, makeDirectory, syncDirectory } from './durable.ts';
import { Hashing } from './hashing.ts';
import * as layout from './layout.ts';
import { readJournal } from './partial-journal.ts';
import { Partials } from './partials.ts';
import { PositionalFile } from './positional-file.ts';
import { Shards } from './shards.ts';
import { SmallBlobs } from './small-blobs.ts';

export interface DiskStoreOptions {
  /** Clock for the age of partial files, milliseconds since 1970. Default Date.now. */
  readonly now?: () => number;
  /** Told when cleaning up did not work (on a read-only data directory, say); the store opens all the same. */
  readonly onCleanUpFailure?: (error: unknown) => void;
}

/**
 * Opens the blobs of a data directory, making it if it is missing, and removes what processes left there that are gone.
 * Several processes may have it open at once. The caller closes the store.
 * @throws usage.invalid if `dataDir` is not a directory
 */
export async function openDiskStore(dataDir: string, options: DiskStoreOptions = {}): Promise<BlobStore> {
  const root = path.resolve(dataDir);
  await makeDirectory(root);
  if (!(await stat(root)).isDirectory()) {
    throw new AirlockError('usage.invalid', `${root} is not a directory. Name another one with --data.`);
  }
  const partials = new Partials(root, options.now ?? Date.now);
  await partials.cleanUp().catch((error: unknown) => options.onCleanUpFailure?.(error));
  return new DiskStore(root, partials);
}

class DiskStore implements BlobStore {
  readonly #dataDir: string;
  readonly #partials: Partials;
  readonly #writerHome: WriterHome;
  readonly #smallBlobs: SmallBlobs;
  readonly #readers = new Set<DiskReader>();
  /** By identifier; undefined while its partial file is being opened. */
  readonly #writers = new Map<string, DiskWriter | undefined>();
  #closed = false;

  constructor(dataDir: string, partials: Partials) {
    this.#dataDir = dataDir;
    this.#partials = partials;
    this.#writerHome = {
      dataDir,
      shards: new Shards(dataDir),
      hashing: new Hashing(),
      suspend: (id) => partials.suspend(id),
      ended: (id) => this.#writers.delete(id),
    };
    const { shards } = this.#writerHome;
    this.#smallBlobs = new SmallBlobs({ dataDir, shards, home: () => partials.home() });
  }

  async stat(digest: Digest): Promise<BlobStat | undefined> {
    this.#mustBeOpen();
    const stats = await lstat(layout.blobPath(this.#dataDir, digest), { bigint: true }).catch(letMissingPass);
    return stats?.isFile() ? blobStat(digest, stats) : undefined;
  }

  async open(digest: Digest): Promise<BlobReader> {
    this.#mustBeOpen();
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
    const file = await PositionalFile.open(layout.blobPath(this.#dataDir, digest), flags).catch(letMissingPass);
    if (file === undefined) throw missingBlob(digest);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw missingBlob(digest);
      this.#mustBeOpen();
      const reader = new DiskReader(file, blobStat(digest, stats), (closed) => this.#readers.delete(closed));
      this.#readers.add(reader);
      return reader;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  create(options: CreateOptions = {}): Promise<BlobWriter> {
    const id = randomBytes(16).toString('hex');
    return this.#startWriter(id, async () => {
      const dir = await this.#partials.home();
      try {
        const file = await PositionalFile.open(layout.partPath(dir, id), 'wx+', 0o600);
        return { id, dir, file, ranges: new ByteRanges(), resumable: options.resumable ?? false };
      } catch (error) {
        throw asSpaceError(error, layout.partPath(dir, id));
      }
    });
  }

  async put(bytes: Uint8Array, expected: Expected = {}): Promise<BlobStat> {
    this.#mustBeOpen();
    return await this.#smallBlobs.put(bytes, expected);
  }

  async resume(id: string): Promise<BlobWriter> {
    if (!layout.isWriterId(id)) throw missingPartial(id);
    if (this.#writers.has(id)) throw busyPartial(id);
    return this.#startWriter(id, async () => openPartial(await this.#partials.claim(id), id));
  }

  async delete(digest: Digest): Promise<boolean> {
    this.#mustBeOpen();
    const gone = await unlink(layout.blobPath(this.#dataDir, digest)).then(() => true, letMissingPass);
    if (gone !== true) return false;
    await syncDirectory(layout.shardDir(this.#dataDir, digest));
    return true;
  }

  async quarantine(digest: Digest): Promise<string | undefined> {
    if ((await this.stat(digest)) === undefined) return undefined;
    await makeDirectory(layout.quarantineDir(this.#dataDir));
    const place = await this.#newQuarantinePlace(digest);
    const moved = await rename(layout.blobPath(this.#dataDir, digest), place).then(() => true, letMissingPass);
    if (moved !== true) {
      await rm(place, { force: true });
      return undefined;
    }
    await syncDirectory(layout.quarantineDir(this.#dataDir));
    await syncDirectory(layout.shardDir(this.#dataDir, digest));
    return place;
  }

  async *list(): AsyncGenerator<BlobStat, void, undefined> {
    const shards = layout.shardsDir(this.#dataDir);
    for await (const shard of entriesOf(shards)) {
      if (!layout.isShardName(shard.name)) continue;
      for await (const { name } of entriesOf(path.join(shards, shard.name))) {
        const digest = layout.digestOfName(shard.name, name);
        const found = digest && (await this.stat(digest));
        if (found) yield found;
      }
    }
  }

  async freeSpace(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#dataDir);
    return bavail * bsize;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#writers.values()].map((writer) => writer?.cancel()));
    await Promise.all([...this.#readers].map((reader) => reader.close()));
    await this.#smallBlobs.close();
    await this.#writerHome.hashing.close();
    await this.#partials.release();
  }

  /** Keeps the identifier from being resumed a second time while its file is being opened. */
  async #startWriter(id: string, open: () => Promise<Staging>): Promise<BlobWriter> {
    this.#mustBeOpen();
    this.#writers.set(id, undefined);
    try {
      const writer = new DiskWriter(this.#writerHome, await open());
      this.#writers.set(id, writer);
      if (this.#closed) await writer.cancel();
      this.#mustBeOpen();
      return writer;
    } catch (error) {
      this.#writers.delete(id);
      throw error;
    }
  }

  /** An empty file that keeps the name for us: a rename would silently replace what is there. */
  async #newQuarantinePlace(digest: Digest): Promise<string> {
    for (let n = 1; ; n++) {
      const place = layout.quarantinePath(this.#dataDir, digest, n);
      try {
        await (await open(place, 'wx')).close();
        return place;
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw asSpaceError(error, place);
      }
    }
  }

  #mustBeOpen(): void {
    if (this.#closed) throw storeIsClosed();
  }
}

/** What the journal does not vouch for is cut off: it was not durable. */
async function openPartial(dir: string, id: string): Promise<Staging> {
  const ranges = await readJournal(layout.rangesPath(dir, id));
  if (ranges === undefined) {
    await rm(layout.rangesPath(dir, id), { force: true });
    await rm(layout.partPath(dir, id), { force: true });
    throw missingPartial(id);
  }
  await chmod(layout.partPath(dir, id), 0o600); // a process killed in its commit may have made it read-only already
  const file = await PositionalFile.open(layout.partPath(dir, id), 'r+');
  try {
    ranges.clip(Number((await file.stat()).size));
    await file.truncate(ranges.end);
    return { id, dir, file, ranges, resumable: true };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The entries of a folder, read as they are asked for; none if there is no such folder. */
async function* entriesOf(dir: string): AsyncGenerator<Dirent, void, undefined> {
  const entries = await opendir(dir).catch((error: unknown) => {
    const code = systemCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
  });
  if (entries !== undefined) yield* entries;
}

function letMissingPass(error: unknown): undefined {
  const code = systemCode(error);
  if (code !== 'ENOENT' && code !== 'ELOOP') throw error; // ELOOP: a symbolic link is no blob of ours
}
