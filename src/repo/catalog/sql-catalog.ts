/**
 * The catalog over any SQL database that Kysely speaks to. Nothing here knows which one it is.
 */
import { randomUUID } from 'node:crypto';
import type { Kysely } from 'kysely';
import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact } from './artifact.ts';
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
  type Unreferenced,
} from './catalog.ts';
import { changedArtifacts, wrongNumbers } from './inconsistencies.ts';
import {
  listedPackages,
  type PackageRecord,
  type PackageText,
  type Provide,
  packageTexts,
  providesOf,
  recordPackages,
  unrecordedPackages,
} from './packages.ts';
import { type PruneOptions, prune, removeUnheld, stranded } from './prune.ts';
import { leastUsed, type Pulled, pulledAt, pulledPage, pulledTotals } from './pulled.ts';
import { type RememberedFile, rememberedAt } from './remembered.ts';
import {
  olderThanLog,
  type PendingRevision,
  type RevisionFile,
  type RevisionHeader,
  type RevisionLine,
  type RevisionLog,
} from './revision-log.ts';
import {
  afterPath,
  blobRecord,
  entryQuery,
  formerEntry,
  inPathOrder,
  inRevision,
  nextAfter,
  publishedArtifactQuery,
  publishedEntry,
  toArtifact,
  toBlobRecord,
  toEntry,
  toRepository,
} from './rows.ts';
import type { Database } from './schema.ts';
import { holderOf, NO_LOG, SqlTransaction, setMeta } from './sql-transaction.ts';
import { type SyncRecord, syncsOf } from './syncs.ts';

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
   * Ends what dead processes left in the log. For the driver, once, before the catalog is used.
   * @param mayLag the catalog is about to be rebuilt from the log: touches nothing
   * @throws catalog.corrupt if the catalog knows less than the log
   */
  async cleanUp({ mayLag = false } = {}): Promise<void> {
    if (mayLag) return;
    const { log, write } = this.#parts;
    for (const name of await log.repositories()) {
      if (!log.has(name, (await publishedRevision(this.#db, name)) + 1)) continue;
      // Somebody may just have published it; under the lock nobody does.
      await write.transaction().execute(async (db) => {
        const next = (await publishedRevision(db, name)) + 1;
        if (log.has(name, next)) throw olderThanLog(name, next);
      });
    }
    await this.#settle();
  }

  /**
   * Ends revisions that are pending in the log although no transaction runs: of a process that died, or whose COMMIT
   * failed, so that only the catalog can tell whether it took effect.
   */
  async #settle(): Promise<void> {
    const { log, write, now } = this.#parts;
    const pending = log.pending();
    if (pending.length === 0) return;
    const published = await write.transaction().execute(async (db) => {
      // A transaction that broke off in COMMIT may lie whole behind the end of a write-ahead log, and come to life
      // when that is next recovered. This change takes its place there.
      await setMeta(db, 'log.settled', String(now()));
      return await publishedOf(db, pending);
    });
    for (const revision of pending) log.end(revision, published.has(revision));
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
    return isText(path) ? await publishedEntry(this.#db, repository, path) : undefined;
  }

  async former(repository: string, path: string, since: Date): Promise<Entry | undefined> {
    return isText(path) ? await formerEntry(this.#db, repository, path, since.getTime()) : undefined;
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

  async *entries(repository: string, revision: number, which: 'all' | 'unlisted' = 'all'): AsyncIterable<Entry> {
    const rows = inPathOrder((after) => {
      const query = entryQuery(this.#db)
        .where('entries.repository', '=', repository)
        .where(afterPath(after))
        .where(inRevision(revision));
      return (which === 'all' ? query : query.where('entries.list_key', 'is', null))
        .orderBy('entries.folder')
        .orderBy('entries.name')
        .limit(limits.catalog.page)
        .execute();
    });
    for await (const row of rows) yield toEntry(row);
  }

  listedPackages(repository: string): Promise<string[]> {
    return listedPackages(this.#db, repository);
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

  async *lostEntries(): AsyncIterable<Entry> {
    for (const { name } of await this.repositories()) {
      const rows = inPathOrder((after) =>
        entryQuery(this.#db)
          .leftJoin('blobs', 'blobs.digest', 'artifacts.digest')
          .select('blobs.digest as stored')
          .where('entries.repository', '=', name)
          .where(afterPath(after))
          .where('entries.until_revision', 'is', null)
          .orderBy('entries.folder')
          .orderBy('entries.name')
          .limit(limits.catalog.page)
          .execute(),
      );
      for await (const row of rows) if (row.stored === null) yield toEntry(row);
    }
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

  async slicesOf(container: Digest, page: { after?: Digest; limit: number }): Promise<BlobRecord[]> {
    const rows = await this.#db
      .selectFrom('blobs')
      .selectAll()
      .where('container', '=', container)
      .where('digest', '>', page.after ?? '')
      .orderBy('digest')
      .limit(page.limit)
      .execute();
    nextAfter(page.after ?? '', rows.at(-1)?.digest);
    return rows.map(toBlobRecord);
  }

  async artifactsOf(digest: Digest): Promise<Artifact[]> {
    const rows = await this.#db.selectFrom('artifacts').select('document').where('digest', '=', digest).execute();
    return rows.map((row) => toArtifact(row.document));
  }

  recordPackages(records: readonly PackageRecord[]): Promise<void> {
    return this.#parts.write.transaction().execute((db) => recordPackages(db, records, this.#parts.now()));
  }

  packageTexts(text: PackageText, digests: readonly Digest[]): Promise<Map<Digest, Buffer>> {
    return packageTexts(this.#db, text, digests);
  }

  unrecordedPackages(repository: string, limit: number): Promise<Digest[]> {
    return unrecordedPackages(this.#db, repository, limit);
  }

  provides(repository: string, name: string): Promise<Provide[]> {
    return providesOf(this.#db, repository, name);
  }

  remembered(site: string, path: string): Promise<RememberedFile | undefined> {
    return isText(path) ? rememberedAt(this.#db, site, path) : Promise.resolve(undefined);
  }

  syncs(upstream: string, limit: number): Promise<SyncRecord[]> {
    return syncsOf(this.#db, upstream, limit);
  }

  pulled(path: string): Promise<Pulled | undefined> {
    return isText(path) ? pulledAt(this.#db, path) : Promise.resolve(undefined);
  }

  pulledPage(page: { readonly after?: string; readonly limit: number }): Promise<Pulled[]> {
    return pulledPage(this.#db, page);
  }

  leastUsed(limit: number): Promise<Pulled[]> {
    return leastUsed(this.#db, limit);
  }

  pulledTotals(): Promise<{ files: number; bytes: number }> {
    return pulledTotals(this.#db);
  }

  removeUnheld(digest: Digest, remove: PruneOptions['remove']): Promise<boolean> {
    return removeUnheld(this.#parts, digest, remove);
  }

  async totals(): Promise<{ blobs: number; bytes: number }> {
    const row = await this.#db
      .selectFrom('blobs')
      .select(({ fn }) => [fn.countAll().as('blobs'), fn.sum('size').as('bytes')])
      .where('container', 'is', null)
      .executeTakeFirstOrThrow();
    return { blobs: Number(row.blobs), bytes: Number(row.bytes ?? 0) };
  }

  async lease(digest: Digest, job?: string): Promise<BlobRecord | undefined> {
    return (await this.leaseAll([digest], job)).get(digest);
  }

  leaseAll(digests: readonly Digest[], job?: string): Promise<Map<Digest, BlobRecord>> {
    const expires = this.#parts.now() + LEASE_MS;
    const holder = holderOf(this.#holder, job);
    return this.#parts.write.transaction().execute(async (db) => {
      const here = new Map<Digest, BlobRecord>();
      const all = [...new Set(digests)]; // a statement may change a row once only
      for (let at = 0; at < all.length; at += limits.catalog.page) {
        const page = all.slice(at, at + limits.catalog.page);
        await db
          .insertInto('leases')
          .values(page.map((digest) => ({ digest, holder, expires_at: expires })))
          .onConflict((oc) => oc.columns(['digest', 'holder']).doUpdateSet({ expires_at: expires }))
          .execute();
        await db.deleteFrom('doomed').where('digest', 'in', page).execute();
        const rows = await db.selectFrom('blobs').selectAll().where('digest', 'in', page).execute();
        for (const row of rows) here.set(row.digest as Digest, toBlobRecord(row));
      }
      return here;
    });
  }

  prune(options: PruneOptions): AsyncIterable<Unreferenced> {
    return prune(this.#parts, options);
  }

  async stranded(before: Date): Promise<BlobRecord[]> {
    return (await stranded(this.#parts, before)).map(toBlobRecord);
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
          .values({
            digest,
            size,
            stamp: null,
            added_at: this.#parts.now(),
            verified_at: null,
            container: null,
            start: null,
          })
          .onConflict((oc) => oc.column('digest').doNothing())
          .execute();
      }
    });
  }

  async meta(key: string): Promise<string | undefined> {
    return (await this.#db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst())?.value;
  }

  setMeta(key: string, value: string | undefined): Promise<void> {
    return this.#parts.write.transaction().execute((db) => setMeta(db, key, value));
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
      // On a full disk COMMIT has certainly not taken effect, else nobody knows. If it cannot be told now, the next
      // opening will.
      if (!isEnding || isAirlockError(error, 'space.insufficient')) for (const file of files) file.cancel();
      else await this.#settle().catch(() => undefined);
      throw error;
    }
  }

  async check(): Promise<string[]> {
    const { read, write } = this.#parts;
    const found = await this.#parts.check();
    if (found.length > 0) return found;
    try {
      const wrong = await first(wrongNumbers(read));
      if (wrong.length > 0) found.push(...(await write.transaction().execute((db) => first(wrongNumbers(db)))));
      return [...found, ...(await first(changedArtifacts(read)))];
    } catch (error) {
      if (isAirlockError(error, 'catalog.corrupt')) return [...found, error.message];
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}

async function first(findings: AsyncIterable<string>): Promise<string[]> {
  const found: string[] = [];
  for await (const finding of findings) if (found.push(finding) >= limits.catalog.findings) break;
  return found;
}

/** PostgreSQL refuses to compare anything with what can be in no text of it. */
function isText(path: string): boolean {
  return !path.includes('\0');
}

/** Those of the revisions that were published, and not only another under the same number. */
async function publishedOf(db: Kysely<Database>, revisions: readonly PendingRevision[]): Promise<Set<PendingRevision>> {
  const published = new Set<PendingRevision>();
  for (const each of revisions) {
    const { repository, revision, id } = each;
    const row = await db
      .selectFrom('revisions')
      .select('id')
      .where('repository', '=', repository)
      .where('number', '=', revision)
      .executeTakeFirst();
    if (row !== undefined && row.id === id) published.add(each);
  }
  return published;
}

async function publishedRevision(db: Kysely<Database>, repository: string): Promise<number> {
  const row = await db.selectFrom('repositories').select('published').where('name', '=', repository).executeTakeFirst();
  return Number(row?.published ?? 0);
}
