/**
 * The catalog over any SQL database that Kysely speaks to. Nothing here knows which one it is.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Kysely, type RawBuilder, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import {
  type BlobRecord,
  type Catalog,
  type CatalogTransaction,
  type Entry,
  type FolderItem,
  LEASE_MS,
  type ReleaseFilter,
  type Repository,
  type Revision,
} from './catalog.ts';
import { splitPath } from './names.ts';
import {
  olderThanLog,
  type RevisionFile,
  type RevisionHeader,
  type RevisionLine,
  type RevisionLog,
} from './revision-log.ts';
import {
  afterPath,
  blobRecord,
  damaged,
  entryQuery,
  FIRST_PATH,
  inRevision,
  nextAfter,
  nextPath,
  type PathKey,
  publishedArtifactQuery,
  toArtifact,
  toBlobRecord,
  toEntry,
  toRepository,
} from './rows.ts';
import { type Database, migrations } from './schema.ts';
import { artifactId, NO_LOG, SqlTransaction } from './sql-transaction.ts';

export interface SqlCatalogParts {
  /** Queries outside of transactions. */
  readonly read: Kysely<Database>;
  /** Transactions, which take the write lock when they begin. May be the same as `read`. */
  readonly write: Kysely<Database>;
  readonly log: RevisionLog;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly version: () => number;
  /** What the database itself can tell of damage. */
  readonly check: () => string[] | Promise<string[]>;
  readonly close: () => Promise<void>;
}

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

export class SqlCatalog implements Catalog {
  readonly #parts: SqlCatalogParts;
  /** Of the leases that this catalog takes. */
  readonly #holder = randomUUID();
  readonly version: () => number;

  constructor(parts: SqlCatalogParts) {
    this.#parts = parts;
    this.version = parts.version;
  }

  get #db(): Kysely<Database> {
    return this.#parts.read;
  }

  /**
   * Ends what dead transactions left in the log. For the driver, once, before the catalog is used.
   * @throws catalog.corrupt if the catalog knows less than the log, unless it may
   */
  async cleanUp({ mayLag = false } = {}): Promise<void> {
    const { log, write } = this.#parts;
    for (const name of log.pending()) {
      await write.transaction().execute(async (db) => log.settle(name, await publishedRevision(db, name)));
    }
    if (mayLag) return;
    for (const name of await log.repositories()) {
      if (!log.has(name, (await publishedRevision(this.#db, name)) + 1)) continue;
      // Somebody may just have published it; under the lock nobody does.
      await write.transaction().execute(async (db) => {
        const next = (await publishedRevision(db, name)) + 1;
        if (log.has(name, next)) throw olderThanLog(name, next);
      });
    }
  }

  async repositories(): Promise<Repository[]> {
    return (await this.#db.selectFrom('repositories').selectAll().orderBy('name').execute()).map(toRepository);
  }

  async repository(name: string): Promise<Repository | undefined> {
    const row = await this.#db.selectFrom('repositories').selectAll().where('name', '=', name).executeTakeFirst();
    return row && toRepository(row);
  }

  async revisions(repository: string): Promise<Revision[]> {
    const rows = await this.#db
      .selectFrom('revisions')
      .selectAll()
      .where('repository', '=', repository)
      .orderBy('number', 'desc')
      .execute();
    return rows.map((row) => ({
      number: Number(row.number),
      createdAt: new Date(Number(row.created_at)),
      reason: row.reason,
      put: Number(row.put),
      removed: Number(row.removed),
    }));
  }

  async lookup(repository: string, path: string): Promise<Entry | undefined> {
    if (!isText(path)) return undefined;
    const { folder, name } = splitPath(path);
    const row = await entryQuery(this.#db)
      .where('entries.repository', '=', repository)
      .where('entries.folder', '=', folder)
      .where('entries.name', '=', name)
      .where('entries.until_revision', 'is', null)
      .executeTakeFirst();
    return row && toEntry(row);
  }

  async folder(repository: string, folder: string, page: { after?: FolderItem; limit: number }): Promise<FolderItem[]> {
    const items: FolderItem[] = [];
    if (!isText(folder)) return items;
    if (page.after?.type !== 'file') {
      let after = page.after?.name;
      while (items.length < page.limit) {
        const name = await this.#nextSubfolder(repository, folder, after);
        if (name === undefined) break;
        items.push({ type: 'folder', name });
        after = name;
      }
    }
    if (items.length < page.limit) {
      const after = page.after?.type === 'file' ? page.after.name : '';
      const rows = await entryQuery(this.#db)
        .where('entries.repository', '=', repository)
        .where('entries.folder', '=', folder)
        .where('entries.name', '>', after)
        .where('entries.until_revision', 'is', null)
        .orderBy('entries.name')
        .limit(page.limit - items.length)
        .execute();
      nextAfter(after, rows.at(-1)?.name);
      for (const row of rows) items.push({ type: 'file', name: row.name, entry: toEntry(row) });
    }
    return items;
  }

  /**
   * One seek in the index. All folders below `x/` lie between `x/` and `x0`, `0` being the character after `/`;
   * so the next sibling of `x` is the first one from there on.
   */
  async #nextSubfolder(repository: string, folder: string, after: string | undefined): Promise<string | undefined> {
    let query = this.#db
      .selectFrom('entries')
      .select('folder')
      .where('repository', '=', repository)
      .where('folder', after === undefined ? '>' : '>=', after === undefined ? folder : `${folder}${after}0`)
      .where('until_revision', 'is', null);
    if (folder !== '') query = query.where('folder', '<', `${folder.slice(0, -1)}0`);
    const row = await query.orderBy('folder').limit(1).executeTakeFirst();
    nextAfter(after === undefined ? folder : `${folder}${after}/`, row?.folder);
    return row?.folder.slice(folder.length).split('/', 1)[0];
  }

  async *entries(repository: string, revision: number): AsyncIterable<Entry> {
    for (let after: PathKey | undefined = FIRST_PATH; after !== undefined; ) {
      const rows = await entryQuery(this.#db)
        .where('entries.repository', '=', repository)
        .where(afterPath(after))
        .where(inRevision(revision))
        .orderBy('entries.folder')
        .orderBy('entries.name')
        .limit(limits.catalog.page)
        .execute();
      for (const row of rows) yield toEntry(row);
      after = nextPath(after, rows.at(-1));
    }
  }

  async releases(filter: ReleaseFilter = {}): Promise<Entry[]> {
    let query = publishedArtifactQuery(this.#db).where('artifacts.order_key', 'is not', null);
    if (filter.vendor !== undefined) query = query.where('artifacts.vendor', '=', filter.vendor);
    if (filter.release !== undefined) query = query.where('artifacts.release', '=', filter.release);
    const rows = await query
      .orderBy('artifacts.order_key', 'desc')
      .orderBy('artifacts.name')
      .orderBy('entries.repository')
      .orderBy('entries.folder')
      .orderBy('entries.name')
      .execute();
    return rows.map(toEntry);
  }

  async newestRelease(vendor: string, release: string): Promise<Entry | undefined> {
    const row = await publishedArtifactQuery(this.#db)
      .where('artifacts.vendor', '=', vendor)
      .where('artifacts.release', '=', release)
      .where('artifacts.order_key', 'is not', null)
      .orderBy('artifacts.order_key', 'desc')
      .orderBy('artifacts.name')
      .limit(1)
      .executeTakeFirst();
    return row && toEntry(row);
  }

  async entriesOfVersion(vendor: string, version: string): Promise<Entry[]> {
    const rows = await publishedArtifactQuery(this.#db)
      .where('artifacts.vendor', '=', vendor)
      .where('artifacts.version', '=', version)
      .orderBy('entries.repository')
      .orderBy('entries.folder')
      .orderBy('entries.name')
      .execute();
    return rows.map(toEntry);
  }

  async entriesOf(digest: Digest): Promise<Entry[]> {
    const rows = await publishedArtifactQuery(this.#db)
      .where('artifacts.digest', '=', digest)
      .orderBy('entries.repository')
      .orderBy('entries.folder')
      .orderBy('entries.name')
      .execute();
    return rows.map(toEntry);
  }

  blob(digest: Digest): Promise<BlobRecord | undefined> {
    return blobRecord(this.#db, digest);
  }

  async blobs(page: { after?: Digest; limit: number }): Promise<BlobRecord[]> {
    const rows = await this.#db
      .selectFrom('blobs')
      .selectAll()
      .where('digest', '>', page.after ?? '')
      .orderBy('digest')
      .limit(page.limit)
      .execute();
    nextAfter(page.after ?? '', rows.at(-1)?.digest);
    return rows.map(toBlobRecord);
  }

  async totals(): Promise<{ blobs: number; bytes: number }> {
    const row = await this.#db
      .selectFrom('blobs')
      .select(({ fn }) => [fn.countAll().as('blobs'), fn.sum('size').as('bytes')])
      .executeTakeFirstOrThrow();
    return { blobs: Number(row.blobs), bytes: Number(row.bytes ?? 0) };
  }

  lease(digest: Digest): Promise<BlobRecord | undefined> {
    const expires = this.#parts.now() + LEASE_MS;
    return this.#parts.write.transaction().execute(async (db) => {
      await db
        .insertInto('leases')
        .values({ digest, holder: this.#holder, expires_at: expires })
        .onConflict((oc) => oc.columns(['digest', 'holder']).doUpdateSet({ expires_at: expires }))
        .execute();
      await db.deleteFrom('doomed').where('digest', '=', digest).execute();
      return blobRecord(db, digest);
    });
  }

  async *prune(options: {
    before: Date;
    dryRun?: boolean;
    remove: (digest: Digest) => Promise<void>;
  }): AsyncIterable<{ digest: Digest; size: number }> {
    const { before, dryRun = false, remove } = options;
    if (!dryRun) await this.#removeDoomed(remove);
    for await (const range of this.#digestRanges()) {
      const query = (db: Kysely<Database>) =>
        unreferenced(db, range, { before: before.getTime(), now: this.#parts.now() }).execute();
      let rows = await query(this.#db);
      if (rows.length === 0) continue;
      if (!dryRun) {
        // Looked for without the lock; whoever refers to one of them, or leased it, since then keeps it.
        rows = await this.#parts.write.transaction().execute(async (db) => {
          const still = await query(db);
          for (const { digest } of still) await doom(db, digest);
          return still;
        });
        await this.#removeDoomed(remove);
      }
      for (const row of rows) yield { digest: row.digest as Digest, size: Number(row.size) };
    }
  }

  /** All recorded blobs in ranges of a page: a query over one of them takes a bounded time. */
  async *#digestRanges(): AsyncIterable<DigestRange> {
    for (let after: string | undefined = ''; after !== undefined; ) {
      const last: { digest: string } | undefined = await this.#db
        .selectFrom('blobs')
        .select('digest')
        .where('digest', '>', after)
        .orderBy('digest')
        .limit(1)
        .offset(limits.catalog.page - 1)
        .executeTakeFirst();
      yield { after, upTo: last?.digest };
      after = nextAfter(after, last?.digest);
    }
  }

  /** Bytes go after the row has gone, and while nobody can lease the digest; whoever was quicker keeps them. */
  async #removeDoomed(remove: (digest: Digest) => Promise<void>): Promise<void> {
    while (!(await this.#removeSomeDoomed(remove))) await sleep(limits.catalog.busyPoll);
  }

  /** For so long as others can be made to wait. @returns true if none is left */
  #removeSomeDoomed(remove: (digest: Digest) => Promise<void>): Promise<boolean> {
    return this.#parts.write.transaction().execute(async (db) => {
      const end = performance.now() + limits.catalog.turn;
      await db.deleteFrom('leases').where('expires_at', '<=', this.#parts.now()).execute();
      const rows = await db.selectFrom('doomed').select('digest').limit(limits.catalog.page).execute();
      for (const { digest } of rows) {
        await remove(digest as Digest);
        const { numDeletedRows } = await db.deleteFrom('doomed').where('digest', '=', digest).executeTakeFirst();
        if (numDeletedRows === 0n) throw damaged('an index of it misses what its table has');
        if (performance.now() > end) return false;
      }
      return rows.length < limits.catalog.page;
    });
  }

  discard(digest: Digest, remove: (digest: Digest) => Promise<void>): Promise<boolean> {
    return this.#parts.write.transaction().execute(async (db) => {
      const lease = await db
        .selectFrom('leases')
        .select('digest')
        .where('digest', '=', digest)
        .where('expires_at', '>', this.#parts.now())
        .executeTakeFirst();
      if (lease !== undefined || (await blobRecord(db, digest)) !== undefined) return false;
      await remove(digest);
      return true;
    });
  }

  restore(header: RevisionHeader, lines: AsyncIterable<RevisionLine>): Promise<void> {
    const parts = { log: NO_LOG, now: header.createdAt, holder: this.#holder };
    return this.#parts.write.transaction().execute((db) => new SqlTransaction(db, parts).restore(header, lines));
  }

  restoreBlobs(blobs: Iterable<{ digest: Digest; size: number }>): Promise<void> {
    return this.#parts.write.transaction().execute(async (db) => {
      for (const { digest, size } of blobs) {
        await db
          .insertInto('blobs')
          .values({ digest, size, stamp: null, added_at: this.#parts.now(), verified_at: null })
          .onConflict((oc) => oc.column('digest').doNothing())
          .execute();
      }
    });
  }

  async meta(key: string): Promise<string | undefined> {
    return (await this.#db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst())?.value;
  }

  setMeta(key: string, value: string | undefined): Promise<void> {
    return this.#parts.write.transaction().execute(async (db) => {
      await db.deleteFrom('meta').where('key', '=', key).execute();
      if (value !== undefined) await db.insertInto('meta').values({ key, value }).execute();
    });
  }

  async transaction<T>(work: (tx: CatalogTransaction) => Promise<T>): Promise<T> {
    const { log, now, write } = this.#parts;
    const files: RevisionFile[] = [];
    const begin = (header: RevisionHeader) => {
      const file = log.begin(header);
      files.push(file);
      return file;
    };
    let isEnding = false;
    try {
      const result = await write.transaction().execute(async (db) => {
        const tx = new SqlTransaction(db, { log: { begin }, now: now(), holder: this.#holder });
        const value = await work(tx);
        tx.assertWhole();
        isEnding = true;
        return value;
      });
      for (const file of files) file.keep();
      return result;
    } catch (error) {
      if (!isEnding) for (const file of files) file.cancel();
      // COMMIT itself failed: whether it took effect, only the catalog knows. If it cannot tell now, the next opening asks.
      else if (files.length > 0) await this.cleanUp().catch(() => undefined);
      throw error;
    }
  }

  async check(): Promise<string[]> {
    const findings = await this.#parts.check();
    if (findings.length > 0) return findings;
    findings.push(...(await this.#wrongNumbers()));
    for await (const id of this.#changedArtifacts()) {
      findings.push(`artifact ${id} is not what was recorded`);
      if (findings.length >= limits.catalog.findings) break;
    }
    return findings;
  }

  /** Numbers that do not fit each other, which are nothing to the database. */
  async #wrongNumbers(): Promise<string[]> {
    const findings: string[] = [];
    for (const { name, published } of await this.repositories()) {
      const { first, last, count } = await this.#db
        .selectFrom('revisions')
        .select(({ fn }) => [fn.min('number').as('first'), fn.max('number').as('last'), fn.countAll().as('count')])
        .where('repository', '=', name)
        .executeTakeFirstOrThrow();
      const fits =
        Number(count) === published && (published === 0 || (Number(first) === 1 && Number(last) === published));
      if (!fits) findings.push(`${name} should have revisions 1 to ${published}, and has ${count}`);
      const entry = await this.#db
        .selectFrom('entries')
        .select(['folder', 'name'])
        .where('repository', '=', name)
        .where(({ eb, or, ref }) =>
          or([
            eb('from_revision', '>', published),
            eb('until_revision', '>', published),
            eb('until_revision', '<=', ref('from_revision')),
          ]),
        )
        .limit(1)
        .executeTakeFirst();
      if (entry !== undefined) findings.push(`${name}/${entry.folder}${entry.name} is in revisions that are not there`);
    }
    return findings;
  }

  /** An artifact's id is its digest, so that damage shows which the database takes for data. */
  async *#changedArtifacts(): AsyncIterable<string> {
    for (let after: string | undefined = ''; after !== undefined; ) {
      const rows: { id: string; document: string }[] = await this.#db
        .selectFrom('artifacts')
        .select(['id', 'document'])
        .where('id', '>', after)
        .orderBy('id')
        .limit(limits.catalog.page)
        .execute();
      for (const { id, document } of rows) if (!isRecorded(id, document)) yield id;
      after = nextAfter(after, rows.at(-1)?.id);
    }
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}

/** PostgreSQL refuses to compare anything with what can be in no text of it. */
function isText(path: string): boolean {
  return !path.includes('\0');
}

async function publishedRevision(db: Kysely<Database>, repository: string): Promise<number> {
  const row = await db.selectFrom('repositories').select('published').where('name', '=', repository).executeTakeFirst();
  return Number(row?.published ?? 0);
}

function isRecorded(id: string, document: string): boolean {
  try {
    return artifactId(toArtifact(document)) === id;
  } catch (error) {
    if (isAirlockError(error, 'catalog.corrupt')) return false;
    throw error;
  }
}

/** After the one digest, up to and with the other, or all if there is none. */
interface DigestRange {
  readonly after: string;
  readonly upTo: string | undefined;
}

/** Blobs of a range, recorded by `before`, that no entry holds: none refers to them, or all were withdrawn by then. */
function unreferenced(
  db: Kysely<Database>,
  { after, upTo }: DigestRange,
  { before, now }: { before: number; now: number },
) {
  let query = db.selectFrom('blobs').select(['blobs.digest', 'blobs.size']).where('blobs.digest', '>', after);
  if (upTo !== undefined) query = query.where('blobs.digest', '<=', upTo);
  return query
    .where('blobs.added_at', '<=', before)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('leases')
            .select('leases.digest')
            .whereRef('leases.digest', '=', 'blobs.digest')
            .where('leases.expires_at', '>', now),
        ),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('artifacts')
            .innerJoin('entries', 'entries.artifact', 'artifacts.id')
            .select('artifacts.id')
            .whereRef('artifacts.digest', '=', 'blobs.digest')
            .where((eb) => eb.or([eb('entries.withdrawn_at', 'is', null), eb('entries.withdrawn_at', '>', before)])),
        ),
      ),
    )
    .orderBy('blobs.digest');
}

async function doom(db: Kysely<Database>, digest: string): Promise<void> {
  await db.deleteFrom('blobs').where('digest', '=', digest).execute();
  await db
    .insertInto('doomed')
    .values({ digest })
    .onConflict((oc) => oc.column('digest').doNothing())
    .execute();
}
