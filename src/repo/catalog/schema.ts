/**
 * Tables of the catalog and the migrations that make them, in the dialect-free part of Kysely, so that SQLite and
 * PostgreSQL get the same.
 *
 * A folder is stored with its closing slash (`''`, `6.3/`, `a/b/`): then all that lies below a folder is one
 * contiguous range of the index, and the children of a folder are found by seeking from one to the next.
 */
import { type Kysely, type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import { limits } from '../../limits.ts';
import { listKey } from './list-key.ts';
import { toArtifact } from './rows.ts';

export interface Database {
  repositories: RepositoriesTable;
  revisions: RevisionsTable;
  artifacts: ArtifactsTable;
  entries: EntriesTable;
  blobs: BlobsTable;
  leases: LeasesTable;
  doomed: DoomedTable;
  packages: PackagesTable;
  provides: ProvidesTable;
  pulled: PulledTable;
  remembered: RememberedTable;
  syncs: SyncsTable;
  meta: MetaTable;
}

export interface RepositoriesTable {
  name: string;
  kind: string;
  published: number;
  created_at: number;
}

export interface RevisionsTable {
  repository: string;
  number: number;
  /** As in its file (revision-log.ts). */
  id: string;
  created_at: number;
  reason: string;
  put: number;
  removed: number;
}

/** `id` is the digest of everything else in the row: the same facts are one row. */
export interface ArtifactsTable {
  id: string;
  digest: string;
  size: number;
  kind: string;
  name: string;
  vendor: string | null;
  release: string | null;
  version: string | null;
  order_key: string | null;
  /** The whole Artifact as JSON; the columns above are what queries need of it. */
  document: string;
}

/** A path held an artifact from one revision up to, not including, another; `until_revision` null: it still does. */
export interface EntriesTable {
  repository: string;
  folder: string;
  name: string;
  from_revision: number;
  until_revision: number | null;
  artifact: string;
  modified_at: number;
  /** When the artifact was deleted on purpose; such an entry no longer holds its blob. */
  withdrawn_at: number | null;
  /** Of a package: where it stands in metadata (packages.ts). It follows from the artifact. */
  list_key: string | null;
}

export interface BlobsTable {
  digest: string;
  size: number;
  stamp: string | null;
  added_at: number;
  verified_at: number | null;
  /** For a slice: the blob that holds its bytes, and where in it they begin. */
  container: string | null;
  start: number | null;
}

export interface LeasesTable {
  digest: string;
  /** Whoever leased; each opened catalog is one holder, and ends its own leases only. */
  holder: string;
  expires_at: number;
}

/** Blobs that left the catalog and whose bytes are still to be removed. */
export interface DoomedTable {
  digest: string;
}

/** What repodata says of a package, deflated; made from its bytes, and made again where it is not there. */
export interface PackagesTable {
  digest: string;
  recorded_at: number;
  primary_xml: Uint8Array;
  filelists_xml: Uint8Array;
  other_xml: Uint8Array;
}

/** What a package provides. `name` is a capability, or the path of a file that others may require. */
export interface ProvidesTable {
  digest: string;
  position: number;
  name: string;
  /** rpm's comparison bits; 0 where no version is given. */
  flags: number;
  evr: string | null;
}

/** What was fetched from elsewhere and is kept (pulled.ts). */
export interface PulledTable {
  path: string;
  digest: string;
  size: number;
  used_at: number;
  /** As JSON. */
  facts: string;
}

/** What paths of upstream sites held when they were last asked (remembered.ts). */
export interface RememberedTable {
  site: string;
  path: string;
  etag: string | null;
  modified_at: number | null;
  size: number;
  digest: string;
  /** 1: the bytes stay as long as the row; 0: they do not. */
  held: number;
  listed: string | null;
}

/** When upstreams were mirrored, and what came of it (syncs.ts). */
export interface SyncsTable {
  upstream: string;
  started_at: number;
  ended_at: number | null;
  /** As JSON. */
  report: string;
}

export interface MetaTable {
  key: string;
  value: string;
}

/** The type of all text columns. They must compare in byte order, whatever the locale of the database. */
export const sqliteText = sql`text`;
export const postgresText = sql`text collate "C"`;

const initial = (string: RawBuilder<unknown>): Migration => ({
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('repositories')
      .addColumn('name', string, (c) => c.primaryKey())
      .addColumn('kind', string, (c) => c.notNull())
      .addColumn('published', 'bigint', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema
      .createTable('revisions')
      .addColumn('repository', string, (c) => c.notNull().references('repositories.name'))
      .addColumn('number', 'bigint', (c) => c.notNull())
      .addColumn('id', string, (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('reason', string, (c) => c.notNull())
      .addColumn('put', 'bigint', (c) => c.notNull())
      .addColumn('removed', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('revisions_key', ['repository', 'number'])
      .execute();
    await db.schema
      .createTable('artifacts')
      .addColumn('id', string, (c) => c.primaryKey())
      .addColumn('digest', string, (c) => c.notNull())
      .addColumn('size', 'bigint', (c) => c.notNull())
      .addColumn('kind', string, (c) => c.notNull())
      .addColumn('name', string, (c) => c.notNull())
      .addColumn('vendor', string)
      .addColumn('release', string)
      .addColumn('version', string)
      .addColumn('order_key', string)
      .addColumn('document', string, (c) => c.notNull())
      .execute();
    await db.schema.createIndex('artifacts_by_digest').on('artifacts').column('digest').execute();
    await db.schema
      .createIndex('artifacts_by_release')
      .on('artifacts')
      .columns(['vendor', 'release', 'order_key desc', 'name'])
      .where(sql.ref('order_key'), 'is not', null)
      .execute();
    await db.schema
      .createIndex('artifacts_by_version')
      .on('artifacts')
      .columns(['vendor', 'version'])
      .where(sql.ref('version'), 'is not', null)
      .execute();
    await db.schema
      .createIndex('artifacts_by_order')
      .on('artifacts')
      .columns(['order_key desc', 'name'])
      .where(sql.ref('order_key'), 'is not', null)
      .execute();
    await db.schema
      .createTable('entries')
      .addColumn('repository', string, (c) => c.notNull().references('repositories.name'))
      .addColumn('folder', string, (c) => c.notNull())
      .addColumn('name', string, (c) => c.notNull())
      .addColumn('from_revision', 'bigint', (c) => c.notNull())
      .addColumn('until_revision', 'bigint')
      .addColumn('artifact', string, (c) => c.notNull().references('artifacts.id'))
      .addColumn('modified_at', 'bigint', (c) => c.notNull())
      .addColumn('withdrawn_at', 'bigint')
      .addPrimaryKeyConstraint('entries_key', ['repository', 'folder', 'name', 'from_revision'])
      .execute();
    await db.schema
      .createIndex('entries_published')
      .unique()
      .on('entries')
      .columns(['repository', 'folder', 'name'])
      .where(sql.ref('until_revision'), 'is', null)
      .execute();
    await db.schema.createIndex('entries_by_artifact').on('entries').columns(['artifact', 'repository']).execute();
    await db.schema
      .createTable('blobs')
      .addColumn('digest', string, (c) => c.primaryKey())
      .addColumn('size', 'bigint', (c) => c.notNull())
      .addColumn('stamp', string)
      .addColumn('added_at', 'bigint', (c) => c.notNull())
      .addColumn('verified_at', 'bigint')
      .execute();
    await db.schema
      .createTable('leases')
      .addColumn('digest', string, (c) => c.notNull())
      .addColumn('holder', string, (c) => c.notNull())
      .addColumn('expires_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('leases_key', ['digest', 'holder'])
      .execute();
    await db.schema
      .createTable('doomed')
      .addColumn('digest', string, (c) => c.primaryKey())
      .execute();
    await db.schema
      .createTable('meta')
      .addColumn('key', string, (c) => c.primaryKey())
      .addColumn('value', string, (c) => c.notNull())
      .execute();
  },
});

const packages = (string: RawBuilder<unknown>): Migration => ({
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('blobs').addColumn('container', string).execute();
    await db.schema.alterTable('blobs').addColumn('start', 'bigint').execute();
    await db.schema
      .createIndex('blobs_by_container')
      .on('blobs')
      .columns(['container', 'digest'])
      .where(sql.ref('container'), 'is not', null)
      .execute();
    await db.schema
      .createTable('packages')
      .addColumn('digest', string, (c) => c.primaryKey())
      .addColumn('recorded_at', 'bigint', (c) => c.notNull())
      .addColumn('primary_xml', 'bytea', (c) => c.notNull())
      .addColumn('filelists_xml', 'bytea', (c) => c.notNull())
      .addColumn('other_xml', 'bytea', (c) => c.notNull())
      .execute();
    await db.schema
      .createTable('provides')
      .addColumn('digest', string, (c) => c.notNull())
      .addColumn('position', 'bigint', (c) => c.notNull())
      .addColumn('name', string, (c) => c.notNull())
      .addColumn('flags', 'bigint', (c) => c.notNull())
      .addColumn('evr', string)
      .addPrimaryKeyConstraint('provides_key', ['digest', 'position'])
      .execute();
    await db.schema.createIndex('provides_by_name').on('provides').columns(['name', 'digest']).execute();
  },
});

const pulled = (string: RawBuilder<unknown>): Migration => ({
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('pulled')
      .addColumn('path', string, (c) => c.primaryKey())
      .addColumn('digest', string, (c) => c.notNull())
      .addColumn('size', 'bigint', (c) => c.notNull())
      .addColumn('used_at', 'bigint', (c) => c.notNull())
      .addColumn('facts', string, (c) => c.notNull())
      .execute();
    await db.schema.createIndex('pulled_by_digest').on('pulled').column('digest').execute();
  },
});

const mirrored = (string: RawBuilder<unknown>): Migration => ({
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('remembered')
      .addColumn('site', string, (c) => c.notNull())
      .addColumn('path', string, (c) => c.notNull())
      .addColumn('etag', string)
      .addColumn('modified_at', 'bigint')
      .addColumn('size', 'bigint', (c) => c.notNull())
      .addColumn('digest', string, (c) => c.notNull())
      .addColumn('held', 'bigint', (c) => c.notNull())
      .addColumn('listed', string)
      .addPrimaryKeyConstraint('remembered_key', ['site', 'path'])
      .execute();
    await db.schema.createIndex('remembered_by_digest').on('remembered').columns(['digest', 'held']).execute();
    await db.schema
      .createTable('syncs')
      .addColumn('upstream', string, (c) => c.notNull())
      .addColumn('started_at', 'bigint', (c) => c.notNull())
      .addColumn('ended_at', 'bigint')
      .addColumn('report', string, (c) => c.notNull())
      .addPrimaryKeyConstraint('syncs_key', ['upstream', 'started_at'])
      .execute();
  },
});

const listed = (string: RawBuilder<unknown>): Migration => ({
  async up(db: Kysely<Database>): Promise<void> {
    await db.schema.alterTable('entries').addColumn('list_key', string).execute();
    for (let after: string | undefined = ''; after !== undefined; ) after = await keyPackages(db, after);
    await db.schema
      .createIndex('entries_listed')
      .on('entries')
      .columns(['repository', 'list_key', 'until_revision']) // the last one is for SQLite: it then reads the index only
      .where(sql<SqlBool>`until_revision is null and list_key is not null`)
      .execute();
  },
});

/** @returns the last one of a page of artifacts; undefined at the end */
async function keyPackages(db: Kysely<Database>, after: string): Promise<string | undefined> {
  const rows = await db
    .selectFrom('artifacts')
    .select(['id', 'document'])
    .where('id', '>', after)
    .where('kind', '=', 'rpm')
    .orderBy('id')
    .limit(limits.catalog.page)
    .execute();
  for (const { id, document } of rows) {
    const list_key = listKey(toArtifact(document));
    await db.updateTable('entries').set({ list_key }).where('artifact', '=', id).execute();
  }
  return rows.at(-1)?.id;
}

/** In order of their names; one that was released is never changed. */
export function migrations(string: RawBuilder<unknown>): Record<string, Migration> {
  return {
    '0001-initial': initial(string),
    '0002-packages': packages(string),
    '0003-pulled': pulled(string),
    '0004-mirrored': mirrored(string),
    '0005-listed': listed(string),
  };
}
