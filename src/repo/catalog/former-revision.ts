/** What is asked of an older revision that is about to be published again. */
import type { Kysely } from 'kysely';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Entry } from './catalog.ts';
import { afterPath, entryQuery, inPathOrder, inRevision, repositoryRow, toEntry } from './rows.ts';
import type { Database } from './schema.ts';

/** @throws repository.not-found, revision.not-found, revision.incomplete if bytes of it are gone */
export async function requireComplete(db: Kysely<Database>, repository: string, number: number): Promise<void> {
  await repositoryRow(db, repository);
  if (!(await isRevision(db, repository, number))) {
    throw new AirlockError(
      'revision.not-found',
      `The repository ${repository} has no revision ${number}. "airlock repo revisions ${repository}" lists them.`,
    );
  }
  const lost = await entryQuery(db)
    .leftJoin('blobs', 'blobs.digest', 'artifacts.digest')
    .where('entries.repository', '=', repository)
    .where(inRevision(number))
    .where('blobs.digest', 'is', null)
    .limit(20)
    .execute();
  if (lost.length === 0) return;
  const paths = lost.map((row) => row.folder + row.name);
  throw new AirlockError(
    'revision.incomplete',
    `Revision ${number} of ${repository} can no longer be published: files of it were deleted since (${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ', …' : ''}). Import them again first, or choose a later revision.`,
    { details: { lost: paths } },
  );
}

async function isRevision(db: Kysely<Database>, repository: string, number: number): Promise<boolean> {
  if (!Number.isSafeInteger(number)) return false;
  const row = await db
    .selectFrom('revisions')
    .select('number')
    .where('repository', '=', repository)
    .where('number', '=', number)
    .executeTakeFirst();
  return row !== undefined;
}

/** Published paths that a revision did not have, in pages, while they are being removed. */
export async function* pathsMissingIn(db: Kysely<Database>, repository: string, number: number): AsyncIterable<string> {
  const rows = inPathOrder((after) =>
    db
      .selectFrom('entries')
      .select(['entries.folder', 'entries.name'])
      .where('entries.repository', '=', repository)
      .where(afterPath(after))
      .where('entries.until_revision', 'is', null)
      .where('entries.from_revision', '>', number)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('entries as old')
              .select('old.name')
              .whereRef('old.repository', '=', 'entries.repository')
              .whereRef('old.folder', '=', 'entries.folder')
              .whereRef('old.name', '=', 'entries.name')
              .where(inRevision(number, 'old')),
          ),
        ),
      )
      .orderBy('entries.folder')
      .orderBy('entries.name')
      .limit(limits.catalog.page)
      .execute(),
  );
  for await (const row of rows) yield row.folder + row.name;
}

/** Entries of a revision that are no longer live, in pages, while they are being put back. */
export async function* entriesNotLive(db: Kysely<Database>, repository: string, number: number): AsyncIterable<Entry> {
  const rows = inPathOrder((after) =>
    entryQuery(db)
      .where('entries.repository', '=', repository)
      .where(afterPath(after))
      .where(inRevision(number))
      .where('entries.until_revision', 'is not', null)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('entries as live')
              .select('live.name')
              .whereRef('live.repository', '=', 'entries.repository')
              .whereRef('live.folder', '=', 'entries.folder')
              .whereRef('live.name', '=', 'entries.name')
              .whereRef('live.artifact', '=', 'entries.artifact')
              .where('live.until_revision', 'is', null),
          ),
        ),
      )
      .orderBy('entries.folder')
      .orderBy('entries.name')
      .limit(limits.catalog.page)
      .execute(),
  );
  for await (const row of rows) yield toEntry(row);
}
