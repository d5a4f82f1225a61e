/** One sync of several rules: the forecast before the first body, failures that concern one rule or all, the schedule. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setImmediate as soon } from 'node:timers/promises';
import { startSyncSchedule } from '../../../src/app/schedule.ts';
import { openApp } from '../../../src/app.ts';
import { AirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { MemoryStore } from '../../../src/repo/blobs/memory-store.ts';
import { silent } from '../../../src/repo/progress.ts';
import { type MirrorStep, type SyncReport, syncSite, unreachable } from '../../../src/sync/mirror/mirror.ts';
import type { MirrorSite, RuleReport } from '../../../src/sync/mirror/rule.ts';
import { startSchedule } from '../../../src/sync/mirror/schedule.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { coded } from '../scene.ts';

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };
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

/** A schedule whose time passes while it sleeps, and what it did when it had begun so many syncs. */
async function scheduled(
  parts: Partial<Parameters<typeof startSchedule>[0]> & { every: number },
  { count, clock }: { count: number; clock: { time: number } },
): Promise<{ runs: number[]; failures: string[] }> {
  const runs: number[] = [];
  const failures: string[] = [];
  const over = Promise.withResolvers<void>();
  const { run = () => soon(), ...others } = parts;
  const schedule = startSchedule({
    names: ['site'],
    last: () => Promise.resolve(undefined),
    async run(name, signal) {
      runs.push(clock.time);
      if (runs.length === count) over.resolve();
      await run(name, signal);
    },
    failed: (name, error) => void failures.push(`${name}: ${String(error)}`),
    now: () => clock.time,
    async sleep(milliseconds, signal) {
      await soon();
      if (!signal.aborted) clock.time += milliseconds;
    },
    random: () => 0,
    ...others,
  });
  await over.promise;
  await schedule.stop();
  return { runs, failures };
}

test('the schedule: a sync that was noted in a time to come puts off none for longer than an interval', async () => {
  const every = 3600_000;
  const clock = { time: Date.parse('2026-01-01') };
  const start = clock.time;
  const last = () => Promise.resolve(new Date('2099-01-01'));
  assert.deepEqual((await scheduled({ every, last }, { count: 2, clock })).runs, [start + every, start + 2 * every]);
});

test('the schedule: a clock that is set right while it runs puts off none for longer than an interval', async () => {
  const every = 3600_000;
  const clock = { time: Date.parse('2099-01-01') };
  const right = Date.parse('2026-01-01');
  const run = () => {
    if (clock.time > right + 100 * every) setImmediate(() => (clock.time = right));
    return Promise.resolve();
  };
  const { runs } = await scheduled({ every, run }, { count: 2, clock });
  assert.equal(runs[1], right + 2 * every); // it had slept for one when it saw the clock
});

test('the schedule: what fails is told, and it goes on; to stop it does not fail', async () => {
  const every = 3600_000;
  const clock = { time: 0 };
  const last = () => Promise.reject(new Error('database is locked'));
  const run = () => Promise.reject(new Error('spawn EAGAIN'));
  const { runs, failures } = await scheduled({ every, last, run }, { count: 3, clock });
  assert.deepEqual(runs, [0, every, 2 * every]);
  assert.deepEqual(failures.slice(0, 3), [
    'site: Error: database is locked',
    'site: Error: spawn EAGAIN',
    'site: Error: spawn EAGAIN',
  ]);
});

test('nothing is mirrored by the clock where the internet is not to be asked', async (t) => {
  const dataDir = path.join(await tempDir(t), 'data');
  const mirrored = 'upstreams: { a: { url: "http://127.0.0.1:1", mirror: [{ kind: releases, path: a }] } }';
  const isScheduled = async (sources: object, file = '') => {
    await mkdir(dataDir, { recursive: true });
    await writeFile(path.join(dataDir, 'airlock.yaml'), `${mirrored}\nschedule: { upstreams: every 12h }\n${file}\n`);
    const app = await openApp({ dataDir });
    const schedule = startSyncSchedule(app, { ...app.config, ...sources }, QUIET);
    await schedule?.stop();
    await app.close();
    return schedule !== undefined;
  };
  assert.equal(await isScheduled({}), true);
  assert.equal(await isScheduled({ sourceType: 'prefer-conductor' }), true);
  assert.equal(await isScheduled({ sourceType: 'conductor-only' }), false);
  assert.equal(await isScheduled({ offlineMode: true }), false);
  const conductor = 'conductors: ["http://127.0.0.1:2"]';
  assert.equal(await isScheduled({}, `${conductor}\nsourceType: conductor-only`), false);
  assert.equal(await isScheduled({ sourceType: 'internet-only' }, `${conductor}\nsourceType: conductor-only`), false);
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
    failed: () => assert.fail('nothing fails'),
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
