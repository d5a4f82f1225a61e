import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { writerHasEnded } from './blob-errors.ts';
import type { BlobStat, BlobWriter, ByteRange, Digest, Expected, FilePlace } from './blob-store.ts';
import type { ByteRanges } from './byte-ranges.ts';
import { mismatch, mustHaveNoGap } from './commit-checks.ts';
import { blobStat } from './disk-reader.ts';
import { asSpaceError, syncDirectory } from './durable.ts';
import type { Hashing } from './hashing.ts';
import { blobPath, digestOfHex, partPath, rangesPath } from './layout.ts';
import { writeJournal } from './partial-journal.ts';
import type { PositionalFile } from './positional-file.ts';
import { PrefixHash } from './prefix-hash.ts';
import type { Shards } from './shards.ts';

/** A stored blob is not written to again, by nobody. */
const READ_ONLY = 0o444;
const WRITABLE = 0o600;

/** Given back to a full file system so that the journal of a suspended writer fits. Bytes. */
const JOURNAL_ROOM = 64 * 1024;

/** A partial file, open, and what is in it. */
export interface Staging {
  readonly id: string;
  /** Folder in which it lies. */
  readonly dir: string;
  /** Exactly as long as the end of `ranges`. The writer closes it. */
  readonly file: PositionalFile;
  readonly ranges: ByteRanges;
  /** Writes down what is durable as it goes, so that the next process can go on if this one is killed. */
  readonly resumable: boolean;
}

/** What a writer needs of the store that it belongs to. */
export interface WriterHome {
  readonly dataDir: string;
  readonly shards: Shards;
  readonly hashing: Hashing;
  /** Gives a closed partial file to whoever resumes it. */
  suspend(id: string): Promise<void>;
  /** Told once, when the writer has nothing to do with its files any more. */
  ended(id: string): void;
}

/** Writes a blob into a partial file. Its methods take turns, in the order of the calls; `readAt` and `have` do not wait. */
export class DiskWriter implements BlobWriter {
  readonly id: string;
  readonly #home: WriterHome;
  readonly #dir: string;
  readonly #file: PositionalFile;
  readonly #ranges: ByteRanges;
  readonly #hash: PrefixHash;
  readonly #resumable: boolean;
  readonly #flushEvery: number;

  /** Bytes written since the last flush was started. */
  #unflushed = 0;
  #flushing: Promise<void> | undefined;
  /** Why nothing can be written any more. */
  #failure: unknown;
  /** A sync has failed: nobody knows which bytes are on the disk. */
  #lost = false;
  #ended = false;
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor(home: WriterHome, staging: Staging) {
    this.id = staging.id;
    this.#home = home;
    this.#dir = staging.dir;
    this.#file = staging.file;
    this.#ranges = staging.ranges;
    this.#hash = new PrefixHash(staging.file, home.hashing);
    this.#resumable = staging.resumable;
    // a journal is at most one flush late, and one more is under way: together limits.checkpointEvery
    this.#flushEvery = staging.resumable ? Math.min(limits.flushEvery, limits.checkpointEvery / 2) : limits.flushEvery;
  }

  writeAt(position: number, bytes: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      this.#mustBeUsable();
      await this.#hash.before(position, bytes);
      const storing = this.#file.writeAt(bytes, position, (start, end) => this.#ranges.add(start, end));
      this.#hash.along(position, bytes); // while the system copies
      await storing.catch((error: unknown) => {
        this.#failure = asSpaceError(error, this.#file.path, bytes.byteLength);
        throw this.#failure;
      });
      this.#hash.written(this.#ranges.firstGap(0));
      await this.#flushWhenDue(bytes.byteLength);
    });
  }

  have(): readonly ByteRange[] {
    return this.#ranges.list();
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    const there = Math.max(0, this.#ranges.firstGap(position) - position);
    return this.#file.readAt(into.subarray(0, Math.min(into.byteLength, there)), position);
  }

  get inFile(): FilePlace {
    return { fd: this.#file.fd, start: 0 };
  }

  seal(): Promise<{ digest: Digest; size: number }> {
    return this.#inTurn(async () => {
      this.#mustBeUsable();
      return this.#seal();
    });
  }

  suspend(): Promise<void> {
    return this.#inTurn(async () => {
      this.#mustNotHaveEnded();
      await this.#flushing;
      if (this.#lost) throw this.#failure;
      await this.#sync(this.#file.datasync());
      await this.#writeLastJournal();
      await this.#close();
      await this.#home.suspend(this.id).finally(() => this.#home.ended(this.id));
    });
  }

  commit(expected: Expected = {}): Promise<BlobStat> {
    return this.#inTurn(async () => {
      this.#mustNotHaveEnded();
      try {
        this.#mustBeUsable();
        return await this.#commit(expected);
      } catch (error) {
        // these two leave something that is worth going on with
        if (!isAirlockError(error, 'blob.incomplete', 'space.insufficient')) await this.#discard();
        throw error;
      }
    });
  }

  cancel(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#ended) await this.#discard();
    });
  }

  async #commit(expected: Expected): Promise<BlobStat> {
    const size = mustHaveNoGap(this.#ranges);
    const wrongSize = mismatch({ size }, expected); // before reading gigabytes again for nothing
    if (wrongSize !== undefined) throw wrongSize;
    const sealed = await this.#seal();
    const wrong = mismatch(sealed, expected);
    if (wrong !== undefined) throw wrong;
    return this.#publish(sealed.digest, size);
  }

  async #seal(): Promise<{ digest: Digest; size: number }> {
    const size = mustHaveNoGap(this.#ranges);
    const { hex, to } = await this.#hash.digest(size);
    const digest = digestOfHex(hex);
    if (to === size && digest !== undefined) return { digest, size };
    throw new AirlockError(
      'blob.damaged',
      `${this.#file.path} ends at byte ${to}, though ${size} bytes were written. Somebody cut it; start again.`,
    );
  }

  /** Invariant 1: file, then name, then folder. */
  async #publish(digest: Digest, size: number): Promise<BlobStat> {
    const shard = await this.#home.shards.prepare(digest);
    const target = blobPath(this.#home.dataDir, digest);
    await this.#flushing;
    this.#mustBeUsable();
    const before = await this.#file.stat();
    if (Number(before.size) !== size) {
      throw new AirlockError('blob.damaged', `${this.#file.path} is not the file that was written. Start again.`);
    }
    await this.#file.chmod(READ_ONLY);
    await this.#sync(this.#file.sync());
    const replaces = existsSync(target);
    await rename(this.#file.path, target).catch(async (error: unknown) => {
      await this.#file.chmod(WRITABLE);
      throw asSpaceError(error, target);
    });
    await syncDirectory(shard).catch(async (error: unknown) => {
      // A name that may not last must not stand there and look stored. Where it took the place of an older copy, taking
      // it away would lose both: it stays, and should the old copy come back, nothing is worse than before.
      if (!replaces) await rm(target, { force: true }).catch(() => undefined);
      throw error;
    });
    const stat = blobStat(digest, await this.#file.stat());
    await this.#close();
    await rm(rangesPath(this.#dir, this.id), { force: true }).catch(() => undefined); // rubbish that a next start removes
    this.#home.ended(this.id);
    return stat;
  }

  /**
   * Starts writing dirty pages out early, so that the last fsync finds few. Writing goes on meanwhile; only a
   * resumable writer waits if the flush before is still under way, so that its journal never falls far behind.
   */
  async #flushWhenDue(written: number): Promise<void> {
    this.#unflushed += written;
    if (this.#unflushed < this.#flushEvery) return;
    if (this.#flushing !== undefined && !this.#resumable) return;
    await this.#flushing;
    this.#mustBeUsable();
    this.#unflushed = 0;
    this.#flushing = this.#flush()
      .catch((error: unknown) => {
        this.#failure ??= error; // told at the next call
      })
      .finally(() => {
        this.#flushing = undefined;
      });
  }

  async #flush(): Promise<void> {
    const durable = this.#ranges.list(); // what is written while the sync runs may miss it
    await this.#sync(this.#file.datasync());
    if (this.#resumable) await writeJournal(rangesPath(this.#dir, this.id), durable);
  }

  async #sync(sync: Promise<void>): Promise<void> {
    await sync.catch((error: unknown) => {
      this.#lost = true;
      this.#failure = asSpaceError(error, this.#file.path);
      throw this.#failure;
    });
  }

  async #writeLastJournal(): Promise<void> {
    const journal = rangesPath(this.#dir, this.id);
    try {
      await writeJournal(journal, this.#ranges.list());
    } catch (error) {
      if (!isAirlockError(error, 'space.insufficient')) throw error;
      const size = Math.max(0, this.#ranges.end - JOURNAL_ROOM);
      this.#ranges.clip(size);
      await this.#file.truncate(this.#ranges.end);
      await writeJournal(journal, this.#ranges.list());
    }
  }

  async #discard(): Promise<void> {
    await this.#flushing;
    await rm(rangesPath(this.#dir, this.id), { force: true }).catch(() => undefined);
    await rm(partPath(this.#dir, this.id), { force: true }).catch(() => undefined);
    await this.#close();
    this.#home.ended(this.id);
  }

  /** What had to be durable has been synced: a failure of close tells nothing more. */
  async #close(): Promise<void> {
    this.#ended = true;
    await this.#hash.end();
    await this.#file.close().catch(() => undefined);
  }

  #mustBeUsable(): void {
    this.#mustNotHaveEnded();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #mustNotHaveEnded(): void {
    if (this.#ended) throw writerHasEnded(this.id);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }
}
