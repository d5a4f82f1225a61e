/** Queries and row mappings that the catalog and its transactions share. */
import { type Kysely, type RawBuilder, type Selectable, type SqlBool, sql } from 'kysely';
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact, RepositoryKind } from './artifact.ts';
import type { BlobRecord, Entry, Repository } from './catalog.ts';
import { splitPath } from './names.ts';
import type { BlobsTable, Database, RepositoriesTable } from './schema.ts';

const ENTRY_COLUMNS = [
  'entries.repository',
  'entries.folder',
  'entries.name',
  'entries.from_revision',
  'entries.modified_at',
  'artifacts.document',
] as const;

/** Entries that are found by their paths. */
export function entryQuery(db: Kysely<Database>) {
  return db
    .selectFrom('entries')
    .innerJoin('artifacts', 'artifacts.id', 'entries.artifact')
    .select([...ENTRY_COLUMNS]);
}

/**
 * Published entries that are found by their artifacts. SQLite takes the tables of a cross join in the order in which
 * they stand here; left to itself it would walk through all entries for the few artifacts that carry a release.
 */
export function publishedArtifactQuery(db: Kysely<Database>) {
  return db
    .selectFrom('artifacts')
    .crossJoin('entries')
    .whereRef('entries.artifact', '=', 'artifacts.id')
    .where('entries.until_revision', 'is', null)
    .select([...ENTRY_COLUMNS]);
}

/** What the published revision holds at a path. */
export async function publishedEntry(
  db: Kysely<Database>,
  repository: string,
  path: string,
): Promise<Entry | undefined> {
  const { folder, name } = splitPath(path);
  const row = await entryQuery(db)
    .where('entries.repository', '=', repository)
    .where('entries.folder', '=', folder)
    .where('entries.name', '=', name)
    .where('entries.until_revision', 'is', null)
    .executeTakeFirst();
  return row && toEntry(row);
}

/** What a path held last, if a revision of `since` (milliseconds since 1970) or later took it away. */
export async function formerEntry(
  db: Kysely<Database>,
  repository: string,
  path: string,
  since: number,
): Promise<Entry | undefined> {
  const { folder, name } = splitPath(path);
  const row = await entryQuery(db)
    .innerJoin('revisions', (join) =>
      join
        .onRef('revisions.repository', '=', 'entries.repository')
        .onRef('revisions.number', '=', 'entries.until_revision'),
    )
    .where('entries.repository', '=', repository)
    .where('entries.folder', '=', folder)
    .where('entries.name', '=', name)
    .where('entries.withdrawn_at', 'is', null)
    .where('revisions.created_at', '>=', since)
    .orderBy('entries.from_revision', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && toEntry(row);
}

/** @param table the alias of `entries` in the query */
export function inRevision(number: number, table = 'entries'): RawBuilder<SqlBool> {
  const from = sql.ref(`${table}.from_revision`);
  const until = sql.ref(`${table}.until_revision`);
  return sql`(${from} <= ${number} and (${until} is null or ${until} > ${number}))`;
}

/** Where an entry stands in path order. */
export interface PathKey {
  readonly folder: string;
  readonly name: string;
}

/** Before every path. */
const FIRST_PATH: PathKey = { folder: '', name: '' };

/** Entries after this path: one range of the index, where `or` would be two and a sort. */
export function afterPath(after: PathKey): RawBuilder<SqlBool> {
  return sql`(${sql.ref('entries.folder')}, ${sql.ref('entries.name')}) > (${after.folder}, ${after.name})`;
}

export async function repositoryRow(db: Kysely<Database>, name: string): Promise<Selectable<RepositoriesTable>> {
  const row = await db.selectFrom('repositories').selectAll().where('name', '=', name).executeTakeFirst();
  if (row !== undefined) return row;
  throw new AirlockError(
    'repository.not-found',
    `There is no repository ${JSON.stringify(name)}. "airlock repo list" shows those there are, "airlock repo create" makes one.`,
  );
}

export async function blobRecord(db: Kysely<Database>, digest: Digest): Promise<BlobRecord | undefined> {
  const row = await db.selectFrom('blobs').selectAll().where('digest', '=', digest).executeTakeFirst();
  return row && toBlobRecord(row);
}

export function toRepository(row: Selectable<RepositoriesTable>): Repository {
  return {
    name: row.name,
    kind: row.kind as RepositoryKind,
    published: Number(row.published),
    createdAt: new Date(Number(row.created_at)),
  };
}

export function toBlobRecord(row: Selectable<BlobsTable>): BlobRecord {
  return {
    digest: row.digest as Digest,
    size: Number(row.size),
    stamp: row.stamp,
    addedAt: new Date(Number(row.added_at)),
    verifiedAt: row.verified_at === null ? null : new Date(Number(row.verified_at)),
    within: row.container === null ? null : { container: row.container as Digest, start: Number(row.start) },
  };
}

export interface EntryRow {
  repository: string;
  folder: string;
  name: string;
  from_revision: number;
  modified_at: number;
  document: string;
}

export function toEntry(row: EntryRow): Entry {
  return {
    repository: row.repository,
    path: row.folder + row.name,
    artifact: toArtifact(row.document),
    since: Number(row.from_revision),
    modified: new Date(Number(row.modified_at)),
  };
}

/**
 * Where the next page begins. A damaged index may lead in circles, so each page must lie behind the one before.
 * @throws catalog.corrupt
 */
export function nextAfter(after: string, last: string | undefined): string | undefined {
  if (last === undefined || isBefore(after, last)) return last;
  throw damaged('an index of it leads in circles');
}

/**
 * What `page` finds, in path order, a page at a time: between pages the rows may change.
 * @param page rows behind a path (`afterPath`), in order, at most limits.catalog.page; none: the end
 */
export async function* inPathOrder<Row extends PathKey>(page: (after: PathKey) => Promise<Row[]>): AsyncGenerator<Row> {
  for (let after: PathKey | undefined = FIRST_PATH; after !== undefined; ) {
    const rows = await page(after);
    yield* rows;
    after = nextPath(after, rows.at(-1));
  }
}

/** As `nextAfter`, in path order. */
function nextPath(after: PathKey, last: PathKey | undefined): PathKey | undefined {
  if (last === undefined || isBefore(after.folder, last.folder)) return last;
  if (after.folder === last.folder && isBefore(after.name, last.name)) return last;
  throw damaged('an index of it leads in circles');
}

/** By bytes, as the database compares. */
function isBefore(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;
}

export function damaged(what: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'catalog.corrupt',
    `The catalog is damaged: ${what}. Stop the server and run "airlock doctor --rebuild-catalog": it is made anew from what is stored.`,
    { cause },
  );
}

/** @throws catalog.corrupt */
export function toArtifact(document: string): Artifact {
  try {
    return JSON.parse(document) as Artifact;
  } catch (cause) {
    throw damaged('an artifact of it cannot be read', cause);
  }
}
