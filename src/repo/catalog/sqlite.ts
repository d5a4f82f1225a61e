/**
 * The embedded catalog: SQLite by node:sqlite, in `DATA/catalog.sqlite`.
 *
 * Several processes open it at once (WAL). Every acknowledged transaction survives a power cut (synchronous=FULL).
 * Reading and writing have a connection each, so that a reader never waits for a writer of its own process.
 */
import type { DatabaseSync } from 'node:sqlite';
import { Kysely } from 'kysely';
import { isAirlockError } from '../../errors.ts';
import type { Catalog } from './catalog.ts';
import { migrate } from './migrate.ts';
import { connectSqlite, corrupt, diskFailed, translated } from './node-sqlite.ts';
import { readFailure } from './read-failure.ts';
import type { RevisionLog } from './revision-log.ts';
import { type Database, sqliteText } from './schema.ts';
import { SqlCatalog } from './sql-catalog.ts';

export interface SqliteCatalogOptions {
  /** Milliseconds since the epoch; the real clock by default. */
  readonly now?: () => number;
  /** The catalog is about to be rebuilt from the log, so it may know less than the log. */
  readonly mayLag?: boolean;
}

/**
 * Opens the catalog in `file`, making or upgrading it if need be, and ends what dead processes left in the log.
 * The caller closes it.
 * @param file where the database is; its folder exists
 * @param log where revisions are kept outside of the database
 * @throws catalog.corrupt (also if it knows less than the log), catalog.newer-format, catalog.inaccessible,
 *   storage.failed, space.insufficient
 */
export async function openSqliteCatalog(
  file: string,
  log: RevisionLog,
  options: SqliteCatalogOptions = {},
): Promise<Catalog> {
  const opened: DatabaseSync[] = [];
  const connect = () => {
    const { database, dialect } = connectSqlite(file);
    opened.push(database);
    return { database, kysely: new Kysely<Database>({ dialect }) };
  };
  const close = () => {
    for (const database of opened) if (database.isOpen) database.close();
  };
  try {
    const write = connect();
    await migrate(write.kysely, sqliteText);
    const read = connect();
    const dataVersion = read.database.prepare('PRAGMA data_version');
    const catalog = new SqlCatalog({
      read: read.kysely,
      write: write.kysely,
      log,
      now: options.now ?? Date.now,
      version: () => translated(file, () => Number(dataVersion.get()?.data_version)),
      check: () => checkDatabase(file, read.database),
      close: () => Promise.resolve(close()),
    });
    await catalog.cleanUp(options);
    return catalog;
  } catch (error) {
    // What looks like a newer format may be a flipped bit.
    const mayBeDamage = isAirlockError(error, 'catalog.newer-format');
    try {
      for (const database of mayBeDamage ? opened : []) {
        if (checkDatabase(file, database).length > 0) throw corrupt(file, error);
      }
    } finally {
      close();
    }
    throw error;
  }
}

/** @throws storage.failed if the disk does not give what is to be checked */
function checkDatabase(file: string, database: DatabaseSync): string[] {
  const findings = findingsIn(database);
  const failure = findings.length > 0 ? readFailure(file) : undefined;
  if (failure !== undefined) throw diskFailed(file, failure);
  return findings;
}

function findingsIn(database: DatabaseSync): string[] {
  try {
    const rows = [
      ...database.prepare('PRAGMA integrity_check').all(),
      ...database.prepare('PRAGMA foreign_key_check').all(),
    ];
    return rows.map((row) => Object.values(row).join(' ')).filter((line) => line !== 'ok');
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}
