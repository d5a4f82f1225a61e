import { PGlite } from '@electric-sql/pglite';
import { Kysely, type LogEvent, PGliteDialect } from 'kysely';
import type { Catalog } from '../../src/repo/catalog/catalog.ts';
import { migrate } from '../../src/repo/catalog/migrate.ts';
import type { RevisionLog } from '../../src/repo/catalog/revision-log.ts';
import { type Database, postgresText } from '../../src/repo/catalog/schema.ts';
import { SqlCatalog } from '../../src/repo/catalog/sql-catalog.ts';
import type { SqliteCatalogOptions } from '../../src/repo/catalog/sqlite.ts';

export interface PgliteCatalogOptions extends SqliteCatalogOptions {
  /** Is told of each statement sent. */
  readonly onQuery?: (sql: string) => void;
}

/** How often the data of an instance was changed, by whichever catalog. */
const changes = new WeakMap<PGlite, number>();

/**
 * The catalog in a PostgreSQL that runs inside this process, to see that nothing of it is SQLite's alone.
 * Closing the catalog leaves `pglite` open; the caller closes it.
 */
export async function openPgliteCatalog(
  pglite: PGlite,
  log: RevisionLog,
  options: PgliteCatalogOptions = {},
): Promise<Catalog> {
  const watch = ({ level, query }: LogEvent) => {
    options.onQuery?.(query.sql);
    if (level === 'query' && !/^\s*select/i.test(query.sql)) changes.set(pglite, (changes.get(pglite) ?? 0) + 1);
  };
  const db = new Kysely<Database>({ dialect: new PGliteDialect({ pglite }), log: watch });
  const catalog = new SqlCatalog({
    read: db,
    write: db,
    log,
    now: options.now ?? Date.now,
    version: () => changes.get(pglite) ?? 0,
    check: () => [],
    close: () => Promise.resolve(),
  });
  await migrate(db, postgresText);
  await catalog.cleanUp(options);
  return catalog;
}

const idle: PGlite[] = [];

/** An empty database. Starting one takes seconds, so that they are used again; give it back with `returnPglite`. */
export async function takePglite(): Promise<PGlite> {
  const pglite = idle.pop() ?? new PGlite();
  await pglite.exec('drop schema if exists public cascade; create schema public');
  return pglite;
}

export function returnPglite(pglite: PGlite): void {
  idle.push(pglite);
}

export async function closePglites(): Promise<void> {
  for (const pglite of idle.splice(0)) await pglite.close();
}
