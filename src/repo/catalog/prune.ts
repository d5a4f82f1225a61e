/**
 * How blobs leave the catalog: first their rows, then, while nobody can lease them, their bytes. Between the two they
 * are doomed: whoever dies there leaves a note for the next prune.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Kysely, type Selectable, sql } from 'kysely';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Catalog, Unreferenced } from './catalog.ts';
import { forgetStrayPackages } from './packages.ts';
import { pulledHolding } from './pulled.ts';
import { rememberedHolding } from './remembered.ts';
import { damaged, nextAfter } from './rows.ts';
import type { BlobsTable, Database } from './schema.ts';

export type PruneOptions = Parameters<Catalog['prune']>[0];

/** What no entry holds any more, but whose slices some entry does. */
export async function stranded(
  parts: Pick<PruneParts, 'read' | 'now'>,
  before: Date,
): Promise<Selectable<BlobsTable>[]> {
  const found: Selectable<BlobsTable>[] = [];
  for await (const range of digestRanges(parts.read)) {
    const query = unreferenced(parts.read, range, { before: before.getTime(), now: parts.now() });
    found.push(
      ...(await query
        .where(({ exists }) => exists(slices(parts.read)))
        .selectAll('blobs')
        .execute()),
    );
  }
  return found;
}

export interface PruneParts {
  readonly read: Kysely<Database>;
  /** Its transactions take the write lock when they begin. */
  readonly write: Kysely<Database>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** As Catalog.prune promises. */
export async function* prune(
  parts: PruneParts,
  { before, dryRun = false, remove }: PruneOptions,
): AsyncIterable<Unreferenced> {
  if (!dryRun) await removeDoomed(parts, remove);
  for await (const range of digestRanges(parts.read)) {
    const query = (db: Kysely<Database>) =>
      unreferenced(db, range, { before: before.getTime(), now: parts.now() })
        .where(({ not, exists }) => not(exists(slices(db))))
        .execute();
    let rows = await query(parts.read);
    if (rows.length === 0) continue;
    if (!dryRun) {
      // Looked for without the lock; whoever refers to one of them, or leased it, since then keeps it.
      rows = await parts.write.transaction().execute(async (db) => {
        const still = await query(db);
        for (const { digest } of still) await doom(db, digest);
        return still;
      });
      await removeDoomed(parts, remove);
    }
    for (const { digest, size, added_at, withdrawn_at, container } of rows) {
      const since = new Date(Math.max(Number(added_at), Number(withdrawn_at ?? 0)));
      yield { digest: digest as Digest, size: Number(size), since, isSlice: container !== null };
    }
  }
  if (!dryRun) await parts.write.transaction().execute((db) => forgetStrayPackages(db, before.getTime()));
}

/**
 * Removes a blob that was let go of, if nothing holds it: no revision, however old, no path under which it is kept or
 * remembered, no slice, no lease. Nobody could publish it again, so no grace is due.
 */
export async function removeUnheld(
  parts: PruneParts,
  digest: Digest,
  remove: PruneOptions['remove'],
): Promise<boolean> {
  const isDoomed = await parts.write.transaction().execute(async (db) => {
    const row = await db
      .selectFrom('blobs')
      .select('blobs.digest')
      .where('blobs.digest', '=', digest)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('artifacts')
              .innerJoin('entries', 'entries.artifact', 'artifacts.id')
              .select('artifacts.id')
              .whereRef('artifacts.digest', '=', 'blobs.digest'),
          ),
        ),
      )
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('leases')
              .select('leases.digest')
              .whereRef('leases.digest', '=', 'blobs.digest')
              .where('leases.expires_at', '>', parts.now()),
          ),
        ),
      )
      .where(({ not, exists }) => not(exists(pulledHolding(db))))
      .where(({ not, exists }) => not(exists(rememberedHolding(db))))
      .where(({ not, exists }) => not(exists(slices(db))))
      .executeTakeFirst();
    if (row !== undefined) await doom(db, digest);
    return row !== undefined;
  });
  if (isDoomed) await removeDoomed(parts, remove);
  return isDoomed;
}

/** All recorded blobs in ranges of a page: a query over one of them takes a bounded time. */
async function* digestRanges(db: Kysely<Database>): AsyncIterable<DigestRange> {
  for (let after: string | undefined = ''; after !== undefined; ) {
    const last: { digest: string } | undefined = await db
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
async function removeDoomed(parts: PruneParts, remove: PruneOptions['remove']): Promise<void> {
  while (!(await removeSomeDoomed(parts, remove))) await sleep(limits.catalog.busyPoll);
}

/** For so long as others can be made to wait. @returns true if none is left */
function removeSomeDoomed({ write, now }: PruneParts, remove: PruneOptions['remove']): Promise<boolean> {
  return write.transaction().execute(async (db) => {
    const end = performance.now() + limits.catalog.turn;
    await db.deleteFrom('leases').where('expires_at', '<=', now()).execute();
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
  let query = db
    .selectFrom('blobs')
    .select(['blobs.digest', 'blobs.size', 'blobs.added_at', 'blobs.container'])
    .select(({ selectFrom }) =>
      selectFrom('artifacts')
        .innerJoin('entries', 'entries.artifact', 'artifacts.id')
        .select(({ fn }) => fn.max('entries.withdrawn_at').as('latest'))
        .whereRef('artifacts.digest', '=', 'blobs.digest')
        .as('withdrawn_at'),
    )
    .where('blobs.digest', '>', after);
  if (upTo !== undefined) query = query.where('blobs.digest', '<=', upTo);
  return query
    .where('blobs.added_at', '<=', before)
    .where(({ not, exists }) => not(exists(pulledHolding(db))))
    .where(({ not, exists }) => not(exists(rememberedHolding(db))))
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

/** Of the blob in the query around it. */
function slices(db: Kysely<Database>) {
  return db
    .selectFrom('blobs as slice')
    .select('slice.digest')
    .where('slice.container', '=', sql.ref<string>('blobs.digest'));
}

async function doom(db: Kysely<Database>, digest: string): Promise<void> {
  await db.deleteFrom('blobs').where('digest', '=', digest).execute();
  await db.deleteFrom('packages').where('digest', '=', digest).execute();
  await db.deleteFrom('provides').where('digest', '=', digest).execute();
  await db
    .insertInto('doomed')
    .values({ digest })
    .onConflict((oc) => oc.column('digest').doNothing())
    .execute();
}
