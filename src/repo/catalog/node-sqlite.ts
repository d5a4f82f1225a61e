/** Kysely over node:sqlite, for one database file that several processes have open. */
import fs from 'node:fs';
import path from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDialect,
  SqliteDriver,
  type SqliteStatement,
} from 'kysely';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { readFailure } from './read-failure.ts';

/** A connection to a database file, and the dialect that makes a Kysely of it. */
export interface SqliteConnection {
  readonly database: DatabaseSync;
  readonly dialect: Dialect;
}

/**
 * Opens a database file, making it if it is not there. Whoever gets the connection closes `database`.
 * What this connection reads waits for a lock with the thread; transactions wait without (see ImmediateDriver).
 * @throws catalog.corrupt, catalog.inaccessible, storage.failed, space.insufficient
 */
export function connectSqlite(file: string): SqliteConnection {
  const database = translated(file, () => new DatabaseSync(file, { timeout: limits.catalog.busyTimeout }));
  try {
    translated(file, () => database.exec(PRAGMAS));
  } catch (error) {
    database.close();
    throw error;
  }
  return { database, dialect: new NodeSqliteDialect(new StatementCache(file, database), database) };
}

const PRAGMAS = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA foreign_keys = ON;
  PRAGMA cell_size_check = ON;
  PRAGMA cache_size = -${limits.catalog.cache / 1024};
  PRAGMA journal_size_limit = ${limits.catalog.journal};
`;

/** Kysely's SQLite dialect with what it leaves out: transactions that take the write lock first, and DDL inside them. */
class NodeSqliteDialect extends SqliteDialect {
  readonly #statements: StatementCache;
  readonly #database: DatabaseSync;

  constructor(statements: StatementCache, database: DatabaseSync) {
    super({ database: statements });
    this.#statements = statements;
    this.#database = database;
  }

  override createDriver(): Driver {
    return new ImmediateDriver(this.#statements, this.#database);
  }

  override createAdapter(): SqliteAdapter {
    return new TransactionalDdlAdapter();
  }
}

class TransactionalDdlAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class ImmediateDriver extends SqliteDriver {
  readonly #database: DatabaseSync;

  constructor(statements: StatementCache, database: DatabaseSync) {
    super({ database: statements });
    this.#database = database;
  }

  /**
   * A plain `begin` that reads and then writes fails at once under a second writer, whatever the timeout; so the
   * lock is taken first. SQLite would wait for it with the whole thread; this waits without.
   */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    const deadline = performance.now() + limits.catalog.busyTimeout;
    for (let pause = 1; ; pause = Math.min(2 * pause, limits.catalog.busyPoll)) {
      if (await this.#tryBegin(connection, performance.now() < deadline)) return;
      await sleep(pause);
    }
  }

  /** @returns false if somebody else has the lock */
  async #tryBegin(connection: DatabaseConnection, mayWait: boolean): Promise<boolean> {
    this.#database.exec('PRAGMA busy_timeout = 0');
    try {
      await connection.executeQuery(CompiledQuery.raw('begin immediate'));
      return true;
    } catch (error) {
      if (mayWait && isAirlockError(error, 'catalog.busy')) return false;
      throw error;
    } finally {
      this.#database.exec(`PRAGMA busy_timeout = ${limits.catalog.busyTimeout}`);
    }
  }

  /** When the disk is full or fails, SQLite has ended the transaction by itself. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#database.isTransaction) await super.rollbackTransaction(connection);
  }
}

/** What Kysely wants of a database, over node:sqlite. Each statement is prepared once. */
class StatementCache implements SqliteDatabase {
  readonly #file: string;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, SqliteStatement>();

  constructor(file: string, database: DatabaseSync) {
    this.#file = file;
    this.#database = database;
  }

  prepare(sql: string): SqliteStatement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = wrap(
      this.#file,
      translated(this.#file, () => this.#database.prepare(sql)),
    );
    if (this.#statements.size >= limits.catalog.statements) this.#statements.clear();
    this.#statements.set(sql, statement);
    return statement;
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

function wrap(file: string, statement: StatementSync): SqliteStatement {
  const values = (parameters: ReadonlyArray<unknown>) => parameters as SQLInputValue[];
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => translated(file, () => statement.all(...values(parameters))),
    run: (parameters) => translated(file, () => statement.run(...values(parameters))),
    iterate: (parameters) => statement.iterate(...values(parameters)),
  };
}

/** What SQLite reports as errors of the statement, but only damage can bring about here. */
const DAMAGED_SCHEMA = /^(unsupported file format|no such (table|column)\b)/;

const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

/**
 * Gives SQLite's own errors the names that users know.
 * @throws catalog.corrupt, catalog.busy, catalog.inaccessible, storage.failed, space.insufficient, or what `work` throws
 */
export function translated<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (DAMAGED_SCHEMA.test(messageOf(error))) throw corrupt(file, error);
    switch (primaryCode(error)) {
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        throw corrupt(file, error);
      case SQLITE_FULL:
        throw full(file, error);
      case SQLITE_BUSY:
        throw new AirlockError(
          'catalog.busy',
          'Another process has been changing the catalog all the while. Wait for it to end and try again.',
          { cause: error },
        );
      case SQLITE_IOERR:
        throw hasRoom(file) ? diskFailed(file, error) : full(file, error);
      case SQLITE_READONLY:
      case SQLITE_CANTOPEN:
        if (!hasRoom(file)) throw full(file, error);
        throw new AirlockError(
          'catalog.inaccessible',
          `The catalog ${file} cannot be read or written (${messageOf(error)}). See that the data directory belongs to the user who runs Airlock, and that its disk is well and not full.`,
          { cause: error },
        );
      default:
        throw error;
    }
  }
}

function full(file: string, cause: unknown): AirlockError {
  return new AirlockError(
    'space.insufficient',
    `No space left for the catalog ${file}. Free some, for instance with "airlock prune --grace 0", and try again. If that finds no space either, move something else off this disk first; 1 MiB is enough.`,
    { cause },
  );
}

/** The error for a disk that fails under a database. */
export function diskFailed(file: string, cause: unknown): AirlockError {
  return new AirlockError(
    'storage.failed',
    `The disk fails at the catalog ${file} (${messageOf(cause)}). See that the disk is mounted, check it ("dmesg", its cable, its SMART values), and run the same command again.`,
    { cause, details: { path: file } },
  );
}

/** SQLite calls it an input/output error when the file that it shares with other processes does not fit. */
function hasRoom(file: string): boolean {
  try {
    const { bavail, bsize } = fs.statfsSync(path.dirname(file));
    return bavail * bsize >= limits.catalog.shared;
  } catch {
    return true;
  }
}

/** The error for a damaged database, or for a disk that cannot read it: SQLite calls both corruption. */
export function corrupt(file: string, cause: unknown): AirlockError {
  const unreadable = readFailure(file);
  if (unreadable !== undefined) return diskFailed(file, unreadable);
  return new AirlockError(
    'catalog.corrupt',
    `The catalog ${file} is damaged (${messageOf(cause)}). Stop the server and run "airlock doctor --rebuild-catalog": it is made anew from what is stored.`,
    { cause },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function primaryCode(error: unknown): number | undefined {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined;
  return typeof code === 'number' ? code & 0xff : undefined;
}
