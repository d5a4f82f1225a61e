/** The history of syncs: when upstreams were mirrored, and what changed. The newest of each upstream are kept. */
import type { Kysely, Selectable } from 'kysely';
import { limits } from '../../limits.ts';
import type { Json } from './artifact.ts';
import { damaged } from './rows.ts';
import type { Database, SyncsTable } from './schema.ts';

/** One sync of one upstream. */
export interface SyncRecord {
  /** Name of the upstream. */
  readonly upstream: string;
  readonly startedAt: Date;
  /** null: it runs, or its process died. */
  readonly endedAt: Date | null;
  /** What came of it; what that means is mirroring's affair. */
  readonly report: Json;
}

/** Newest first. */
export async function syncsOf(db: Kysely<Database>, upstream: string, limit: number): Promise<SyncRecord[]> {
  const rows = await db
    .selectFrom('syncs')
    .selectAll()
    .where('upstream', '=', upstream)
    .orderBy('started_at', 'desc')
    .limit(limit)
    .execute();
  return rows.map(toRecord);
}

/** In a transaction. Two records of one upstream with one start are one: the later one is kept. Old ones go. */
export async function recordSync(db: Kysely<Database>, { upstream, startedAt, endedAt, report }: SyncRecord) {
  const row = { ended_at: endedAt?.getTime() ?? null, report: JSON.stringify(report) };
  await db
    .insertInto('syncs')
    .values({ upstream, started_at: startedAt.getTime(), ...row })
    .onConflict((oc) => oc.columns(['upstream', 'started_at']).doUpdateSet(row))
    .execute();
  const oldest = await db
    .selectFrom('syncs')
    .select('started_at')
    .where('upstream', '=', upstream)
    .orderBy('started_at', 'desc')
    .limit(1)
    .offset(limits.mirror.history - 1)
    .executeTakeFirst();
  if (oldest === undefined) return;
  await db.deleteFrom('syncs').where('upstream', '=', upstream).where('started_at', '<', oldest.started_at).execute();
}

function toRecord(row: Selectable<SyncsTable>): SyncRecord {
  return {
    upstream: row.upstream,
    startedAt: new Date(Number(row.started_at)),
    endedAt: row.ended_at === null ? null : new Date(Number(row.ended_at)),
    report: readReport(row.report),
  };
}

function readReport(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    throw damaged('what it keeps of a sync cannot be read', cause);
  }
}
