/**
 * What paths of upstream sites held when they were last asked, so that an unchanged site costs conditional requests only.
 * With it nothing is lost but requests: a catalog that is made anew begins without.
 */
import { type Kysely, type Selectable, sql } from 'kysely';
import type { Digest } from '../blobs/blob-store.ts';
import type { Database, RememberedTable } from './schema.ts';

export interface RememberedFile {
  /** Name of the upstream. */
  readonly site: string;
  /** Of the site, as in its URLs. A key, never a file's path. */
  readonly path: string;
  readonly etag: string | null;
  readonly modified: Date | null;
  /** Bytes. */
  readonly size: number;
  readonly digest: Digest;
  /** Whether the bytes stay as a blob as long as this is remembered. */
  readonly isHeld: boolean;
  /** What a listing of the site said of it. */
  readonly listed: string | null;
}

export async function rememberedAt(
  db: Kysely<Database>,
  site: string,
  path: string,
): Promise<RememberedFile | undefined> {
  const row = await db
    .selectFrom('remembered')
    .selectAll()
    .where('site', '=', site)
    .where('path', '=', path)
    .executeTakeFirst();
  return row && toRemembered(row);
}

/** In a transaction. */
export async function remember(db: Kysely<Database>, file: RememberedFile): Promise<void> {
  const { site, path, etag, modified, size, digest, isHeld, listed } = file;
  const row = { etag, modified_at: modified?.getTime() ?? null, size, digest, held: isHeld ? 1 : 0, listed };
  await db
    .insertInto('remembered')
    .values({ site, path, ...row })
    .onConflict((oc) => oc.columns(['site', 'path']).doUpdateSet(row))
    .execute();
}

/** In a transaction. Lets go of all paths of a site that begin with `prefix`. */
export async function forgetRemembered(db: Kysely<Database>, site: string, prefix: string): Promise<void> {
  await db
    .deleteFrom('remembered')
    .where('site', '=', site)
    .where('path', '>=', prefix)
    .where('path', '<', `${prefix}\u{10ffff}`) // what no path goes on with
    .execute();
}

/** For queries over `blobs`: rows that hold one of them. */
export function rememberedHolding(db: Kysely<Database>) {
  return db
    .selectFrom('remembered')
    .select('remembered.path')
    .where('remembered.digest', '=', sql.ref<string>('blobs.digest'))
    .where('remembered.held', '=', 1);
}

function toRemembered(row: Selectable<RememberedTable>): RememberedFile {
  return {
    site: row.site,
    path: row.path,
    etag: row.etag,
    modified: row.modified_at === null ? null : new Date(Number(row.modified_at)),
    size: Number(row.size),
    digest: row.digest as Digest,
    isHeld: Number(row.held) !== 0,
    listed: row.listed,
  };
}
