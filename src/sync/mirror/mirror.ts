/**
 * One sync of one site: all its rules, one after the other. Each first finds out what it wants; when all have, it is known
 * what is to come and whether there is room, and only then bodies are read. A rule that fails keeps no other from its work.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { requireSpace } from '../../repo/staging.ts';
import { type Forecast, failureOf, type MirrorSite, type RuleReport } from './rule.ts';

/** One rule, or several that belong together, ready to run. */
export interface MirrorStep {
  /** For people: `releases generic-128t-isos-release-local`. */
  readonly rule: string;
  readonly run: (site: MirrorSite) => Promise<RuleReport>;
}

export interface SyncReport {
  readonly upstream: string;
  readonly dryRun: boolean;
  readonly startedAt: Date;
  readonly endedAt: Date;
  /** `incomplete`: something did not come. `unreachable`: nothing could be asked for at all. */
  readonly outcome: 'done' | 'incomplete' | 'unreachable';
  /** What was to come when it began, and what was free, in bytes. */
  readonly forecast: Forecast & { readonly free: number };
  readonly rules: readonly RuleReport[];
}

/** A rule that waits with what it found out, or has ended. */
interface Running {
  readonly done: Promise<RuleReport>;
  readonly gate: PromiseWithResolvers<void>;
}

/**
 * @param site its `announce` is made here
 * @throws space.insufficient before the first large body, interrupted, storage.failed and the like; what was published until
 *   then stays
 */
export async function syncSite(
  site: Omit<MirrorSite, 'announce'>,
  steps: readonly MirrorStep[],
  onForecast: (forecast: SyncReport['forecast']) => void,
): Promise<SyncReport> {
  const startedAt = site.now();
  const { running, total } = await askAll(site, steps);
  try {
    const free = await site.ingest.blobs.freeSpace();
    const forecast = { ...total, free };
    onForecast(forecast);
    if (!site.dryRun && total.bytes > 0) await requireSpace(site.ingest.blobs, total.bytes);
    const rules: RuleReport[] = [];
    for (const { done, gate } of running) {
      gate.resolve();
      rules.push(await done);
    }
    const { name: upstream, dryRun } = site;
    return { upstream, dryRun, startedAt, endedAt: site.now(), outcome: outcomeOf(rules), forecast, rules };
  } catch (error) {
    for (const { gate } of running) gate.reject(error);
    await Promise.allSettled(running.map(({ done }) => done));
    throw error;
  }
}

/** Starts one rule after the other, each up to where it has told what is to come. */
async function askAll(
  site: Omit<MirrorSite, 'announce'>,
  steps: readonly MirrorStep[],
): Promise<{ running: Running[]; total: Forecast }> {
  const running: Running[] = [];
  let total: Forecast = { files: 0, bytes: 0 };
  for (const step of steps) {
    const told = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    gate.promise.catch(() => undefined); // whoever waits hears of it
    let isFirst = true;
    const announce = async ({ files, bytes }: Forecast) => {
      if (!isFirst) return await requireSpace(site.ingest.blobs, bytes);
      isFirst = false;
      total = { files: total.files + files, bytes: total.bytes + bytes };
      told.resolve();
      await gate.promise;
    };
    const done = runStep(step, { ...site, announce });
    await Promise.race([told.promise, done.catch(() => undefined)]);
    running.push({ done, gate });
  }
  return { running, total };
}

async function runStep(step: MirrorStep, site: MirrorSite): Promise<RuleReport> {
  try {
    return await step.run(site);
  } catch (error) {
    if (site.signal.aborted || isForAll(error)) throw error;
    const failures = [failureOf(step.rule.replace(/^\S+ /, ''), error)];
    return { rule: step.rule, added: [], removed: [], failures, warnings: [], bytes: 0, requests: 0 };
  }
}

/** No other rule would fare better. */
function isForAll(error: unknown): boolean {
  return isAirlockError(
    error,
    'interrupted',
    'space.insufficient',
    'storage.failed',
    'catalog.corrupt',
    'catalog.busy',
  );
}

const FAR: ReadonlySet<string> = new Set(['upstream.unreachable', 'upstream.failed', 'upstream.unauthorized']);

/** What came of a sync with these rules. */
export function outcomeOf(rules: readonly RuleReport[]): SyncReport['outcome'] {
  const failures = rules.flatMap((rule) => rule.failures);
  if (failures.length === 0) return 'done';
  const isFar = failures.every(({ code }) => FAR.has(code)) && rules.every((rule) => rule.failures.length > 0);
  return isFar && rules.every(({ added, bytes }) => added.length === 0 && bytes === 0) ? 'unreachable' : 'incomplete';
}

/** @returns what to throw where no rule could ask the site for anything */
export function unreachable({ upstream, rules }: SyncReport): AirlockError {
  const [first] = rules.flatMap(({ failures }) => failures);
  return new AirlockError(first?.code ?? 'upstream.unreachable', first?.message ?? `${upstream} cannot be reached.`, {
    details: { upstream },
  });
}
