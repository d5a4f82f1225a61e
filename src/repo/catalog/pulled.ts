/**
 * What is kept and not published. Most of it was fetched from elsewhere, by the path under which it is served: it belongs to
 * no repository, can always be fetched again, has no revisions, and goes when its space is needed. But its bytes are blobs as
 * all others are, so they stand in the same catalog, and `prune` sees that they are held.
 *
 * What is held back from a repository on purpose stands here too, under keys that are no paths of a server. It never makes
 * room, and the repository's revisions tell of it (`RevisionChange.hold`).
 */
import { type ExpressionBuilder, type Kysely, type Selectable, sql } from 'kysely';
import type { Digest } from '../blobs/blob-store.ts';
import type { Json } from './artifact.ts';
import { damaged } from './rows.ts';
import type { Database, PulledTable } from './schema.ts';

/** One kept content. */
export interface Pulled {
  /** `upstreams/ssr/6.3/x.iso`, `repos/images/6.3/x.iso`, `held-policies/app@3`. A key, never a file's path. */
  readonly path: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** When a client last got it, as far as that was written down. */
  readonly usedAt: Date;
  /** Validators, freshness and the like; what they mean is the proxy's affair. */
  readonly facts: { readonly [key: string]: Json };
}

export async function pulledAt(db: Kysely<Database>, path: string): Promise<Pulled | undefined> {
  const row = await db.selectFrom('pulled').selectAll().where('path', '=', path).executeTakeFirst();
  return row && toPulled(row);
}

/** The next in order of paths, from after `after` on. */
export async function pulledPage(
  db: Kysely<Database>,
  page: { readonly after?: string; readonly limit: number },
): Promise<Pulled[]> {
  const rows = await db
    .selectFrom('pulled')
    .selectAll()
    .where('path', '>', page.after ?? '')
    .orderBy('path')
    .limit(page.limit)
    .execute();
  return rows.map(toPulled);
}

/** Of what a server serves from here, those that nobody used for longest, first. Reads all of them. */
export async function leastUsed(db: Kysely<Database>, limit: number): Promise<Pulled[]> {
  const rows = await db
    .selectFrom('pulled')
    .selectAll()
    .where(isServed)
    .orderBy('used_at')
    .orderBy('path')
    .limit(limit)
    .execute();
  return rows.map(toPulled);
}

/** Of all that a server serves from here, each path counted. */
export async function pulledTotals(db: Kysely<Database>): Promise<{ files: number; bytes: number }> {
  const row = await db
    .selectFrom('pulled')
    .select(({ fn }) => [fn.countAll().as('files'), fn.sum('size').as('bytes')])
    .where(isServed)
    .executeTakeFirstOrThrow();
  return { files: Number(row.files), bytes: Number(row.bytes ?? 0) };
}

/** In a transaction. */
export async function keepPulled(db: Kysely<Database>, { path, digest, size, usedAt, facts }: Pulled): Promise<void> {
  const row = { digest, size, used_at: usedAt.getTime(), facts: JSON.stringify(facts) };
  await db
    .insertInto('pulled')
    .values({ path, ...row })
    .onConflict((oc) => oc.column('path').doUpdateSet(row))
    .execute();
}

/** In a transaction. @returns false if it was not there */
export async function dropPulled(db: Kysely<Database>, path: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('pulled').where('path', '=', path).executeTakeFirst();
  return numDeletedRows > 0n;
}

/** For queries over `blobs`: rows of those that are kept here. */
export function pulledHolding(db: Kysely<Database>) {
  return db.selectFrom('pulled').select('pulled.path').where('pulled.digest', '=', sql.ref<string>('blobs.digest'));
}

/** Paths below `upstreams/` and `repos/`, and lists of folders: `0` is the character after `/`. */
function isServed({ and, eb, or }: ExpressionBuilder<Database, 'pulled'>) {
  const below = (folder: string) => and([eb('path', '>', `${folder}/`), eb('path', '<', `${folder}0`)]);
  return or([below('upstreams'), below('repos'), below('listings')]);
}

function toPulled(row: Selectable<PulledTable>): Pulled {
  return {
    path: row.path,
    digest: row.digest as Digest,
    size: Number(row.size),
    usedAt: new Date(Number(row.used_at)),
    facts: readFacts(row.facts),
  };
}

function readFacts(text: string): Pulled['facts'] {
  try {
    return JSON.parse(text) as Pulled['facts'];
  } catch (cause) {
    throw damaged('what it keeps of a fetched file cannot be read', cause);
  }
}
