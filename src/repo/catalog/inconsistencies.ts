/** Damage in the catalog that its database takes for data. Looking for it reads everything once, in pages. */
import type { Kysely } from 'kysely';
import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Artifact } from './artifact.ts';
import { listKey } from './list-key.ts';
import { artifactId } from './open-revision.ts';
import { nextAfter, toArtifact, toRepository } from './rows.ts';
import type { Database } from './schema.ts';

/**
 * Revision numbers that do not fit each other, for a person. Outside of a transaction, what others publish meanwhile
 * may look so.
 */
export async function* wrongNumbers(db: Kysely<Database>): AsyncIterable<string> {
  for (const row of await db.selectFrom('repositories').selectAll().orderBy('name').execute()) {
    const { name, published } = toRepository(row);
    const { first, last, count } = await db
      .selectFrom('revisions')
      .select(({ fn }) => [fn.min('number').as('first'), fn.max('number').as('last'), fn.countAll().as('count')])
      .where('repository', '=', name)
      .executeTakeFirstOrThrow();
    const fits =
      Number(count) === published && (published === 0 || (Number(first) === 1 && Number(last) === published));
    if (!fits) yield `${name} should have revisions 1 to ${published}, and has ${count}`;
    const entry = await db
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
    if (entry !== undefined) yield `${name}/${entry.folder}${entry.name} is in revisions that are not there`;
  }
}

/** Artifacts that are not what their ids, which are digests, say, and packages that stand where others belong. For a person. */
export async function* changedArtifacts(db: Kysely<Database>): AsyncIterable<string> {
  for (let after: string | undefined = ''; after !== undefined; ) {
    const rows: { id: string; document: string }[] = await db
      .selectFrom('artifacts')
      .select(['id', 'document'])
      .where('id', '>', after)
      .orderBy('id')
      .limit(limits.catalog.page)
      .execute();
    const keys = new Map<string, string | null>();
    for (const { id, document } of rows) {
      const artifact = recorded(id, document);
      if (artifact === undefined) yield `artifact ${id} is not what was recorded`;
      else keys.set(id, listKey(artifact));
    }
    yield* misplaced(db, keys);
    after = nextAfter(after, rows.at(-1)?.id);
  }
}

/** @returns undefined if it is another one */
function recorded(id: string, document: string): Artifact | undefined {
  try {
    const artifact = toArtifact(document);
    return artifactId(artifact) === id ? artifact : undefined;
  } catch (error) {
    if (isAirlockError(error, 'catalog.corrupt')) return undefined;
    throw error;
  }
}

/** @param keys of artifacts, by their ids: their entries have the same */
async function* misplaced(db: Kysely<Database>, keys: ReadonlyMap<string, string | null>): AsyncIterable<string> {
  if (keys.size === 0) return;
  const rows = await db
    .selectFrom('entries')
    .select(['artifact', 'list_key'])
    .distinct()
    .where('artifact', 'in', [...keys.keys()])
    .execute();
  for (const { artifact, list_key } of rows) {
    if (list_key !== keys.get(artifact)) yield `an entry of artifact ${artifact} is not listed where it belongs`;
  }
}
