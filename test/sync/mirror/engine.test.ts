/** One sync of several rules: the forecast before the first body, failures that concern one rule or all, the schedule. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as soon } from 'node:timers/promises';
import { AirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { MemoryStore } from '../../../src/repo/blobs/memory-store.ts';
import { silent } from '../../../src/repo/progress.ts';
import { type MirrorStep, type SyncReport, syncSite, unreachable } from '../../../src/sync/mirror/mirror.ts';
import type { MirrorSite, RuleReport } from '../../../src/sync/mirror/rule.ts';
import { startSchedule } from '../../../src/sync/mirror/schedule.ts';
import { coded } from '../scene.ts';

const NOTHING = { added: [], removed: [], failures: [], warnings: [], bytes: 0, requests: 0 };

/** What the engine itself needs of a site. */
function site(free = Number.POSITIVE_INFINITY): Omit<MirrorSite, 'announce'> {
  const blobs = Object.assign(new MemoryStore(), { freeSpace: () => Promise.resolve(free) });
  const rest = { name: 'ssr', now: () => new Date(), signal: new AbortController().signal, progress: silent };
  return { ...rest, dryRun: false, ingest: { blobs } } as unknown as Omit<MirrorSite, 'announce'>;
}

function step(rule: string, log: string[], work: Partial<RuleReport> | Error, bytes?: number): MirrorStep {
  return {
    rule,
    async run({ announce }) {
      log.push(`${rule} asks`);
      if (bytes !== undefined) await announce?.({ files: 1, bytes });
      log.push(`${rule} reads`);
      await soon();
      log.push(`${rule} ends`);
      if (work instanceof Error) throw work;
      return { rule, ...NOTHING, ...work };
    },
  };
}

test('all rules ask before any reads, and then they read one after the other', async () => {
  const log: string[] = [];
  const forecasts: SyncReport['forecast'][] = [];
  const steps = [step('a', log, { added: ['x'] }, 5), step('b', log, {}), step('c', log, { added: ['y'] }, 7)];
  const report = await syncSite(site(10 ** 12), steps, (forecast) => forecasts.push(forecast));
  assert.deepEqual(log, [
    'a asks',
    'b asks',
    'b reads', // it has nothing large to read
    'b ends',
    'c asks',
    'a reads',
    'a ends',
    'c reads',
    'c ends',
  ]);
  assert.deepEqual(forecasts, [{ files: 2, bytes: 12, free: 10 ** 12 }]);
  assert.deepEqual([report.outcome, report.rules.map(({ added }) => added)], ['done', [['x'], [], ['y']]]);
});

test('where there is no room for all of them together, none reads', async () => {
  const log: string[] = [];
  const half = limits.spaceReserve + 60;
  const steps = [step('a', log, {}, 50), step('b', log, {}, 50)];
  await assert.rejects(
    syncSite(site(half), steps, () => undefined),
    coded('space.insufficient'),
  );
  assert.deepEqual(log, ['a asks', 'b asks']);
});

test('what one rule fails with keeps no other from its work, but for what concerns all', async () => {
  const broken = new AirlockError('upstream.unusable', 'a portal');
  const log: string[] = [];
  const report = await syncSite(site(), [step('a x', log, broken, 1), step('b', log, { added: ['y'] }, 1)], () => 0);
  assert.equal(report.outcome, 'incomplete');
  assert.deepEqual(report.rules[0]?.failures, [{ path: 'x', code: 'upstream.unusable', message: 'a portal' }]);
  const full = new AirlockError('space.insufficient', 'full');
  const steps = [step('a', log, full, 1), step('b', log, {}, 1)];
  log.length = 0;
  await assert.rejects(
    syncSite(site(), steps, () => 0),
    coded('space.insufficient'),
  );
  assert.ok(!log.includes('b reads'));
});

test('a site is out of reach only if no rule had anything of it', async () => {
  const far = new AirlockError('upstream.unreachable', 'far away');
  const outcomeOf = async (...steps: MirrorStep[]) => (await syncSite(site(), steps, () => 0)).outcome;
  assert.equal(await outcomeOf(step('a', [], far), step('b', [], far)), 'unreachable');
  assert.equal(await outcomeOf(step('a', [], far), step('b', [], {})), 'incomplete');
  assert.equal(await outcomeOf(step('a', [], far), step('b', [], new AirlockError('signature.bad', ''))), 'incomplete');
  const report = await syncSite(site(), [step('a', [], far)], () => 0);
  assert.equal(unreachable(report).exitCode, 8);
});

test('the schedule: each in its turn, a little late, one at a time, and a restart begins no time anew', async () => {
  const every = 3600_000;
  const before: Record<string, Date> = { old: new Date(0), recent: new Date(900_000) };
  let time = 1_000_000;
  const runs: [name: string, at: number][] = [];
  const over = Promise.withResolvers<void>();
  const schedule = startSchedule({
    names: ['new', 'old', 'recent'],
    every,
    last: (name) => Promise.resolve(before[name]),
    async run(name) {
      runs.push([name, time]);
      time += 1000;
      if (runs.length === 7) over.resolve();
      await soon();
    },
    now: () => time,
    async sleep(milliseconds, signal) {
      await soon();
      if (!signal.aborted) time += milliseconds;
    },
    random: () => 0.5,
  });
  await over.promise;
  await schedule.stop();
  const late = (every * limits.mirror.jitter) / 2;
  const [first, second, third, ...others] = runs;
  assert.deepEqual(first, ['new', 1_000_000 + (limits.mirror.soon * limits.mirror.jitter) / 2]);
  assert.deepEqual(second, ['old', every + late]); // its time, and a little
  assert.deepEqual(third, ['recent', 900_000 + every + late]);
  assert.deepEqual(
    others.map(([name]) => name),
    ['new', 'old', 'recent', 'new'],
  );
  assert.equal(others[0]?.[1], (first?.[1] ?? 0) + 1000 + every + late);
  await soon();
  assert.equal(runs.length, 7);
});
