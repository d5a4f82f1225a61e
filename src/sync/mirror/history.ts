/**
 * What is remembered of syncs: when, how long, what changed, what failed. Bounded: long lists are cut, and their lengths
 * kept.
 */
import { z } from 'zod';
import { type AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Json } from '../../repo/catalog/artifact.ts';
import type { Catalog } from '../../repo/catalog/catalog.ts';
import type { SyncRecord } from '../../repo/catalog/syncs.ts';
import type { SyncReport } from './mirror.ts';

const failure = z.object({ path: z.string(), code: z.string(), message: z.string() });

const told = z.object({
  /** What it was about, where that was less than all rules: `policy app`. */
  only: z.string().nullable().default(null),
  outcome: z.enum(['done', 'incomplete', 'unreachable', 'failed', 'running']),
  /** How many there were; of these, as many as were kept. */
  counts: z.object({ added: z.number(), removed: z.number(), failures: z.number() }),
  added: z.array(z.string()),
  removed: z.array(z.string()),
  failures: z.array(failure),
  /** Of bodies that were read. */
  bytes: z.number(),
  requests: z.number(),
});

type Told = z.output<typeof told>;

/** One sync, as it is told. */
export interface PastSync extends Omit<Told, 'outcome'> {
  readonly upstream: string;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
  /** `interrupted`: its process ended before it did. */
  readonly outcome: Told['outcome'] | 'interrupted';
}

const NOTHING: Told = {
  only: null,
  outcome: 'running',
  counts: { added: 0, removed: 0, failures: 0 },
  added: [],
  removed: [],
  failures: [],
  bytes: 0,
  requests: 0,
};

/** Which sync it is. */
export interface SyncBegin {
  readonly upstream: string;
  readonly startedAt: Date;
  /** As in PastSync. */
  readonly only: string | null;
}

/** Writes down that a sync begins: should its process die, that is known. */
export async function noteStart(catalog: Catalog, { only, ...begin }: SyncBegin): Promise<void> {
  await write(catalog, { ...begin, endedAt: null, report: json({ ...NOTHING, only }) });
}

export async function noteEnd(
  catalog: Catalog,
  { upstream, startedAt, only }: SyncBegin,
  { endedAt, outcome, rules }: Pick<SyncReport, 'endedAt' | 'outcome' | 'rules'>,
): Promise<void> {
  const added = rules.flatMap((rule) => rule.added);
  const removed = rules.flatMap((rule) => rule.removed);
  const failures = rules.flatMap((rule) => rule.failures);
  const sum = (key: 'bytes' | 'requests') => rules.reduce((total, rule) => total + rule[key], 0);
  const document: Told = {
    only,
    outcome,
    counts: { added: added.length, removed: removed.length, failures: failures.length },
    added: added.slice(0, limits.mirror.told),
    removed: removed.slice(0, limits.mirror.told),
    failures: failures.slice(0, limits.mirror.told),
    bytes: sum('bytes'),
    requests: sum('requests'),
  };
  await write(catalog, { upstream, startedAt, endedAt, report: json(document) });
}

/** What ended a sync as a whole. */
export async function noteFailure(
  catalog: Catalog,
  { upstream, startedAt, endedAt, only }: SyncBegin & { readonly endedAt: Date },
  { code, message }: Pick<AirlockError, 'code' | 'message'>,
): Promise<void> {
  const counts = { ...NOTHING.counts, failures: 1 };
  const document: Told = { ...NOTHING, only, outcome: 'failed', counts, failures: [{ path: '', code, message }] };
  await write(catalog, { upstream, startedAt, endedAt, report: json(document) });
}

/**
 * Newest first.
 * @param isRunning whether a sync of this upstream is under way
 */
export async function pastSyncs(
  catalog: Catalog,
  upstream: string,
  { limit, isRunning }: { readonly limit: number; readonly isRunning: boolean },
): Promise<PastSync[]> {
  const records = await catalog.syncs(upstream, limit);
  return records.map((record, index) => toPast(record, isRunning && index === 0));
}

/** The newest sync of all rules of an upstream; those of a part of them tell nothing of the others. */
export async function lastSync(
  catalog: Catalog,
  upstream: string,
  { isRunning }: { readonly isRunning: boolean },
): Promise<PastSync | undefined> {
  const past = await pastSyncs(catalog, upstream, { limit: limits.mirror.history, isRunning });
  return past.find(({ only }) => only === null);
}

function toPast({ upstream, startedAt, endedAt, report }: SyncRecord, isRunning: boolean): PastSync {
  const read = told.safeParse(report).data ?? NOTHING; // another version may tell other things
  const outcome = endedAt === null && !isRunning ? 'interrupted' : read.outcome;
  return { upstream, startedAt, endedAt, ...read, outcome };
}

/** On a full disk the sync's own failure is the one to tell. */
async function write(catalog: Catalog, record: SyncRecord): Promise<void> {
  try {
    await catalog.transaction((tx) => tx.recordSync(record));
  } catch (error) {
    if (!isAirlockError(error, 'space.insufficient')) throw error;
  }
}

function json(document: Told): Json {
  return JSON.parse(JSON.stringify(document)) as Json;
}
