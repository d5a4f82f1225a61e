/**
 * Small blobs, stored together. One alone costs a dozen calls to the system and two flushes of its own; of many that come at
 * once, files are flushed side by side, which a file system's journal makes one commit of, and each folder once for all that
 * got a name in it. For each of them the order stays what it is: file, then name, then folder, and only then anybody is told.
 */
import { randomBytes } from 'node:crypto';
import fs, { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { limits } from '../../limits.ts';
import { storeIsClosed } from './blob-errors.ts';
import type { BlobStat, Digest, Expected } from './blob-store.ts';
import { mismatch } from './commit-checks.ts';
import { digestOfBytes } from './digest-of.ts';
import { blobStat } from './disk-reader.ts';
import { asSpaceError, syncDirectory } from './durable.ts';
import { blobPath, partPath } from './layout.ts';
import type { Shards } from './shards.ts';

/** A stored blob is not written to again, by nobody. What is open already can be. */
const READ_ONLY = 0o444;

const open = promisify(fs.open);
const write = promisify(fs.write);
const fsync = promisify(fs.fsync);
const fstat = promisify<number, { bigint: true }, fs.BigIntStats>(fs.fstat);
const close = promisify(fs.close);

export interface SmallBlobsHome {
  readonly dataDir: string;
  readonly shards: Shards;
  /** The folder for partial files of this process. */
  home(): Promise<string>;
}

/** A blob that waits for its turn, and whoever waits for it. */
interface Waiting {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly stored: PromiseWithResolvers<BlobStat>;
}

/** A blob of the group under way. */
interface Staged extends Waiting {
  readonly part: string;
  readonly fd: number;
}

/** A blob with its name. */
interface Named extends Staged {
  readonly shard: string;
  readonly target: string;
  readonly replaces: boolean;
}

export class SmallBlobs {
  readonly #home: SmallBlobsHome;
  readonly #waiting = new Map<Digest, Waiting>();
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(home: SmallBlobsHome) {
    this.#home = home;
  }

  /** As BlobStore.put. */
  async put(bytes: Uint8Array, expected: Expected): Promise<BlobStat> {
    const digest = digestOfBytes(bytes);
    const wrong = mismatch({ digest, size: bytes.byteLength }, expected);
    if (wrong !== undefined) throw wrong;
    // One file for bytes that come twice: of two with one name, only the last to get it would have the stamp that is told.
    const waiting = this.#waiting.get(digest) ?? { digest, bytes, stored: Promise.withResolvers<BlobStat>() };
    this.#waiting.set(digest, waiting);
    this.#running ??= this.#run();
    return await waiting.stored.promise;
  }

  /** What waits fails; what is under way is brought to its end. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  /** While one group is on its way, the next one gathers. */
  async #run(): Promise<void> {
    await undefined; // whoever comes at the same time comes along
    while (this.#waiting.size > 0) {
      const group = [...this.#waiting.values().take(limits.storeTogether)];
      for (const { digest } of group) this.#waiting.delete(digest);
      if (this.#closed) for (const { stored } of group) stored.reject(storeIsClosed());
      else await this.#store(group);
    }
    this.#running = undefined;
  }

  /** Never fails: whoever waits for a blob is told. */
  async #store(group: readonly Waiting[]): Promise<void> {
    const staged = await each(group, (blob) => this.#stage(blob));
    const named = await each(staged, (blob) => this.#name(blob));
    const failures = await syncAll(new Set(named.map(({ shard }) => shard)));
    await each(named, async (blob) => {
      const failure = failures.get(blob.shard);
      try {
        if (failure !== undefined) await unname(blob, failure.error);
        blob.stored.resolve(blobStat(blob.digest, await fstat(blob.fd, { bigint: true })));
      } finally {
        await close(blob.fd).catch(() => undefined); // what had to be durable has been synced
      }
    });
  }

  async #stage({ digest, bytes, stored }: Waiting): Promise<Staged> {
    const part = partPath(await this.#home.home(), randomBytes(16).toString('hex'));
    const fd = await open(part, 'wx', READ_ONLY).catch((error: unknown) => {
      throw asSpaceError(error, part);
    });
    try {
      for (let at = 0; at < bytes.byteLength; )
        at += (await write(fd, bytes, at, bytes.byteLength - at, at)).bytesWritten;
      await fsync(fd);
      return { digest, bytes, stored, part, fd };
    } catch (error) {
      await discard(part, fd);
      throw asSpaceError(error, part, bytes.byteLength);
    }
  }

  async #name(blob: Staged): Promise<Named> {
    const { digest, part, fd } = blob;
    const target = blobPath(this.#home.dataDir, digest);
    try {
      const shard = await this.#home.shards.prepare(digest);
      const replaces = existsSync(target);
      await rename(part, target);
      return { ...blob, shard, target, replaces };
    } catch (error) {
      await discard(part, fd);
      throw asSpaceError(error, target);
    }
  }
}

/** Does `work` for all at once. @returns what came of those that did not fail; of the others, whoever waits is told */
async function each<B extends Waiting, T>(blobs: readonly B[], work: (blob: B) => Promise<T>): Promise<T[]> {
  const done: T[] = [];
  await Promise.all(
    blobs.map(async (blob) => {
      try {
        done.push(await work(blob));
      } catch (error) {
        blob.stored.reject(error);
      }
    }),
  );
  return done;
}

/** @returns the failures, by folder */
async function syncAll(folders: ReadonlySet<string>): Promise<Map<string, { readonly error: unknown }>> {
  const failures = new Map<string, { readonly error: unknown }>();
  await Promise.all(
    [...folders].map((folder) => syncDirectory(folder).catch((error: unknown) => failures.set(folder, { error }))),
  );
  return failures;
}

/**
 * A name that may not last must not stand there and look stored; where it took the place of an older copy, it stays, as
 * DiskWriter has it.
 * @throws `error`
 */
async function unname({ target, replaces }: Named, error: unknown): Promise<never> {
  if (!replaces) await rm(target, { force: true }).catch(() => undefined);
  throw error;
}

async function discard(part: string, fd: number): Promise<void> {
  await rm(part, { force: true }).catch(() => undefined);
  await close(fd).catch(() => undefined);
}
