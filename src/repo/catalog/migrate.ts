/** Brings a database to the format that this program knows. */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { AirlockError } from '../../errors.ts';
import { type Database, migrations } from './schema.ts';

/**
 * Brings the tables up to date, all or nothing.
 * @param text the type of text columns in this dialect (schema.ts)
 * @throws catalog.newer-format
 */
export async function migrate(db: Kysely<Database>, text: RawBuilder<unknown>): Promise<void> {
  const known = migrations(text);
  const applied = await appliedMigrations(db);
  const foreign = applied.filter((name) => !Object.hasOwn(known, name));
  if (foreign.length > 0) {
    throw new AirlockError(
      'catalog.newer-format',
      `The catalog was made by a newer Airlock (${foreign.join(', ')}). Use that version, or one after it, with this data directory.`,
    );
  }
  if (applied.length === Object.keys(known).length) return;
  await db.transaction().execute(async (transaction) => {
    const provider = { getMigrations: () => Promise.resolve(known) };
    const { error } = await new Migrator({ db: transaction, provider }).migrateToLatest();
    if (error !== undefined) throw error;
  });
}

/** Without the write lock, so that opening waits for nobody. */
async function appliedMigrations(db: Kysely<Database>): Promise<string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === 'kysely_migration')) return [];
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  return rows.map((row) => row.name);
}
