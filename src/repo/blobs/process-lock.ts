import { DatabaseSync } from 'node:sqlite';

/** SQLite's result code for a lock that somebody else has. */
const SQLITE_BUSY = 5;

/** Keeps the databases from the garbage collector, which would close them and so let go of the locks. */
const held = new Set<ProcessLock>();

/**
 * A lock that the kernel lets go of when the process dies, however it dies.
 *
 * It is an exclusive transaction on an empty SQLite database: a POSIX lock (fcntl), so it holds between all processes
 * of one kernel, containers included, and, because SQLite keeps its own books, also between two holders in one process.
 * The file stays empty and stays there; no journal is left beside it.
 *
 * Surprises of POSIX locks, which every user of this class must know:
 * - Never open the lock file in the holding process by other means (not even to read or copy it): closing *any*
 *   descriptor of it drops the lock. Renaming or unlinking it, or its folder, is fine; the lock stays with the file.
 * - On network file systems it is worth what their server makes of fcntl locks.
 */
export class ProcessLock {
  /** The lock file, as it was named when the lock was taken. */
  readonly path: string;
  readonly #database: DatabaseSync;

  private constructor(path: string, database: DatabaseSync) {
    this.path = path;
    this.#database = database;
  }

  /**
   * Takes the lock without waiting. Makes the file, not its folder.
   * @returns undefined if another process, or another holder in this one, has it. Of two that try in the very same
   *   instant both may be told so: whoever must get a lock that is only held for moments tries again a little later.
   * @throws the error of SQLite if the file cannot be opened (its folder is missing) or holds something else
   */
  static tryAcquire(path: string): ProcessLock | undefined {
    return ProcessLock.#try(path, 'BEGIN EXCLUSIVE');
  }

  /**
   * As `tryAcquire`, but a lock that any number of holders may share; none while somebody has it alone, or just tries
   * to have it.
   */
  static tryShare(path: string): ProcessLock | undefined {
    return ProcessLock.#try(path, 'BEGIN; SELECT count(*) FROM sqlite_schema');
  }

  static #try(path: string, begin: string): ProcessLock | undefined {
    const database = new DatabaseSync(path, { timeout: 0 });
    try {
      // without MEMORY a journal file would appear: opening an empty database for writing counts as a change
      database.exec(`PRAGMA journal_mode = MEMORY; ${begin}`);
    } catch (error) {
      database.close();
      if (isBusy(error)) return undefined;
      throw error;
    }
    const lock = new ProcessLock(path, database);
    held.add(lock);
    return lock;
  }

  /** Lets go. The file stays. A second call does nothing. */
  release(): void {
    if (held.delete(this)) this.#database.close();
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}
