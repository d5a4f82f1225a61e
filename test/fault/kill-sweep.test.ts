/**
 * Commands killed before each of the calls that make things durable (invariant 3): the next process finds what was
 * acknowledged, all of it or none of what was not, and nothing lying about; done again, the command ends as if nothing
 * had happened. A first import has 47 such calls, of which 20 are taken, evenly; a further one 35 (8), delete 12 (6),
 * prune 15 (6). AIRLOCK_DEEP=1 takes all of them, the writes between them, and two commands more.
 */
import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type App, rebuild } from '../../src/app.ts';
import { isAirlockError } from '../../src/errors.ts';
import { deleteVersion, findDeletion } from '../../src/repo/upkeep/delete-version.ts';
import { prune } from '../../src/repo/upkeep/prune.ts';
import { airlock, airlockJson } from '../support/cli.ts';
import { type Call, needsTracing, readTrace, runTraced } from '../support/strace.ts';
import { tempDir } from '../support/temp-dir.ts';
import { quietly, withApp } from '../support/with-app.ts';
import { importAgain, type State, soundState } from './aftermath.ts';
import { describePoint, injectAt, isDeep, isIn, type Point, pointsOf, some } from './points.ts';
import { makeStick, type Stick, trustingDirectory } from './stick.ts';

/** In deep mode also the calls between them, at which the state on disk changes. */
const CALLS = isDeep
  ? 'fsync,fdatasync,rename,unlink,mkdir,rmdir,ftruncate,fchmod,pwrite64'
  : 'fsync,fdatasync,rename,unlink';

/** What the next process finds: nothing of what the command does, all of it, or an error that says what to do. */
type Found = 'before' | 'after' | 'refused';

interface Swept {
  /** The command, without `--data`. */
  readonly command: readonly string[];
  /** The data directory before it. */
  readonly base: string;
  /** Does in this process what the command does; called after each kill. */
  readonly again: (dataDir: string) => Promise<void>;
  /** Kill points to take, evenly; all in deep mode. */
  readonly sample: number;
  /** Fewer kill points than that are not all. */
  readonly least?: number;
  /** Killed half way, the next opening may refuse, naming what to do. */
  readonly mayRefuse?: RegExp;
}

/** @returns what the next process found after each kill, in the order of the calls */
async function sweep(t: TestContext, swept: Swept): Promise<Found[]> {
  const dir = await tempDir(t);
  const before = await soundState(await copyOf(swept.base, dir));
  const undisturbed = await copyOf(swept.base, dir);
  const points = await pointsOf(['--data', undisturbed, ...swept.command], path.join(dir, 'trace'), CALLS);
  const after = await soundState(undisturbed);
  const inData = points.filter((point) => isIn(undisturbed, point));
  assert.ok(inData.length >= Math.max(swept.least ?? 0, swept.sample), `only ${inData.length} kill points`);
  const chosen = some(inData, swept.sample);
  t.diagnostic(`${inData.length} kill points, ${chosen.length} taken: ${counted(chosen)}`);
  const found: Found[] = [];
  for (const point of chosen) {
    const data = await killedAt(point, swept, dir);
    try {
      found.push(await examined(data, before, after, swept));
    } catch (cause) {
      throw new Error(`after a kill before ${describePoint(point)}`, { cause });
    }
  }
  await assertNoMore(points, swept, dir);
  return found;
}

/** All copies have one name: paths are part of what strace shows. */
async function copyOf(base: string, dir: string): Promise<string> {
  const copy = path.join(dir, 'data');
  await rm(copy, { recursive: true, force: true });
  await cp(base, copy, { recursive: true, preserveTimestamps: true });
  return copy;
}

/** @returns the data directory of the dead process */
async function killedAt(
  point: Point,
  { base, command }: Pick<Swept, 'base' | 'command'>,
  dir: string,
): Promise<string> {
  const data = await copyOf(base, dir);
  const log = path.join(dir, 'trace');
  const args = ['--data', data, ...command];
  const { signal, stdout, stderr } = await runTraced(args, log, injectAt(point, 'signal=SIGKILL'), point.thread);
  assert.equal(signal, 'SIGKILL', `never reached: ${describePoint(point)}: ${stderr}`);
  assert.equal(stdout, '', 'it was killed before its end, and had told of its success');
  const last = (await readTrace(log)).at(-1);
  assert.ok(last !== undefined);
  assert.deepEqual({ what: whatItDid(last), result: last.result }, { what: whatItDid(point.call), result: '?' });
  return data;
}

/** A call without what is made up anew in each run: identifiers, and the time in a name. */
function whatItDid({ name, paths }: Call): string {
  return `${name} ${paths.join(' ')}`
    .replace(/\b([0-9a-f]{32}|[0-9a-f]{16})\b/g, '*')
    .replace(/catalog-\d+/g, 'catalog-*');
}

/** Aimed one behind the last call of each name, kills hit nothing, and the command ends by itself. */
async function assertNoMore(points: readonly Point[], { base, command }: Swept, dir: string): Promise<void> {
  for (const thread of ['main', 'pool'] as const) {
    const last = new Map(points.filter((point) => point.thread === thread).map(({ call, nth }) => [call.name, nth]));
    if (last.size === 0) continue;
    const data = await copyOf(base, dir);
    const inject = [...last].flatMap(([name, nth]) => ['-e', `inject=${name}:signal=SIGKILL:when=${nth + 1}`]);
    const options = ['-e', `trace=${[...last.keys()].join()}`, ...inject];
    const { code, signal } = await runTraced(['--data', data, ...command], '/dev/null', options, thread);
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
  }
}

async function examined(data: string, before: State, after: State, { again, mayRefuse }: Swept): Promise<Found> {
  const found = await stateOrRefusal(data, mayRefuse);
  if (found !== 'refused') assertOneOf(found.visible, before.visible, after.visible);
  await again(data);
  assert.deepEqual(await soundState(data), after);
  return found === 'refused' ? found : isSame(found.visible, after.visible) ? 'after' : 'before';
}

async function stateOrRefusal(data: string, mayRefuse: RegExp | undefined): Promise<State | 'refused'> {
  try {
    return await soundState(data);
  } catch (error) {
    if (mayRefuse === undefined || !isAirlockError(error, 'catalog.corrupt')) throw error;
    assert.match(error.message, mayRefuse);
    return 'refused';
  }
}

/** All of it or none of it. */
function assertOneOf<T>(found: T, before: T, after: T): void {
  if (!isSame(found, before)) assert.deepEqual(found, after);
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function counted(points: readonly Point[]): string {
  const groups = Object.groupBy(points, ({ thread, call }) => `${thread} ${call.name}`);
  return Object.entries(groups)
    .map(([name, group]) => `${group?.length} ${name}`)
    .join(', ');
}

/** What is done stays done, however much later the process is killed. */
function assertOnce(found: readonly string[]): void {
  assert.deepEqual(
    found,
    [...found].sort((a, b) => rank(a) - rank(b)),
  );
  assert.deepEqual(new Set(found).size, 2, `always ${found[0]}: the kills came too early or too late`);
}

function rank(found: string): number {
  return ['before', 'refused', 'after'].indexOf(found);
}

/** A data directory in which the older image is; the vendor's key is trusted. */
async function seeded(t: TestContext, ...files: ('older' | 'file')[]): Promise<{ base: string; stick: Stick }> {
  const dir = await tempDir(t);
  const stick = await makeStick(path.join(dir, 'stick'));
  const base = path.join(dir, 'base');
  await trustingDirectory(base, stick);
  for (const file of files) await importAgain(base, stick[file]);
  return { base, stick };
}

const VERSION = '6.3.0-107.r1.el7';

test('the first import, killed before calls that make something durable', needsTracing(), async (t) => {
  const { base, stick } = await seeded(t);
  const found = await sweep(t, {
    command: ['import', 'iso', 'filepath', stick.file],
    base,
    again: (data) => importAgain(data, stick.file),
    least: 40,
    sample: 20,
  });
  assertOnce(found);
});

test(
  'after a kill just before its transaction every command shows nothing of an import, just after it all',
  needsTracing(),
  async (t) => {
    const { base, stick } = await seeded(t, 'older');
    const dir = await tempDir(t);
    const swept = { command: ['import', 'iso', 'filepath', stick.file], base };
    const log = path.join(dir, 'trace');
    const points = await pointsOf(['--data', await copyOf(base, dir), ...swept.command], log, 'rename');
    const lastBlob = points.findLast(({ thread }) => thread === 'pool');
    const revision = points.findLast(({ thread, call }) => thread === 'main' && call.paths[0]?.includes('/.pending/'));
    assert.ok(lastBlob !== undefined && revision !== undefined);
    for (const [point, published, blobs] of [
      [lastBlob, 1, 3],
      [revision, 2, 6],
    ] as const) {
      const data = await killedAt(point, swept, dir);
      const run = (...args: string[]) => airlockJson<unknown[]>(['--data', data, ...args]);
      const list = await run('repo', 'list');
      assert.deepEqual(
        list.json.map((each) => (each as { published: number }).published),
        [published],
        list.stderr,
      );
      assert.equal((await run('show', 'system', 'software', 'available')).json.length, published);
      for (const [command, says] of [
        ['verify', new RegExp(`^Checked ${blobs} blobs, .*: all are right\\.$`, 'm')],
        ['doctor', /Healthy\.$/m],
      ] as const) {
        const { code, stdout, stderr } = await airlock(['--data', data, command]);
        assert.equal(code, 0, stderr);
        assert.match(stdout, says);
      }
    }
  },
);

test('a further import, killed', needsTracing(), async (t) => {
  const { base, stick } = await seeded(t, 'older');
  const found = await sweep(t, {
    command: ['import', 'iso', 'filepath', stick.file],
    base,
    again: (data) => importAgain(data, stick.file),
    sample: 8,
  });
  assertOnce(found);
});

async function deleteRelease(app: App): Promise<void> {
  await deleteVersion(await app.ingest(), await findDeletion(app.catalog, VERSION));
}

test('delete, killed', needsTracing(), async (t) => {
  const { base } = await seeded(t, 'older', 'file');
  const again = (data: string) =>
    withApp(data, async (app) => {
      await deleteRelease(app).catch((error: unknown) => {
        if (!isAirlockError(error, 'release.not-found')) throw error; // it was done
      });
    });
  const found = await sweep(t, {
    command: ['delete', 'system', 'software', 'version', VERSION],
    base,
    again,
    sample: 6,
  });
  assertOnce(found);
});

test('prune, killed', needsTracing(), async (t) => {
  const { base } = await seeded(t, 'older', 'file');
  await withApp(base, deleteRelease);
  const again = (data: string) =>
    withApp(data, async ({ blobs, catalog }) => {
      await prune(blobs, catalog, { before: new Date(), now: new Date(), dryRun: false, ...quietly() });
    });
  // What is seen does not change; that the bytes are gone in the end is part of the state compared.
  await sweep(t, { command: ['prune', '--grace', '0'], base, again, sample: 6 });
});

const deepOnly = isDeep ? needsTracing() : { skip: 'only with AIRLOCK_DEEP=1' };

test('publish, killed', deepOnly, async (t) => {
  const { base } = await seeded(t, 'older', 'file');
  const again = (data: string) =>
    withApp(data, async ({ catalog }) => {
      await catalog.transaction((tx) => tx.publishAgain('images', 1));
    });
  assertOnce(await sweep(t, { command: ['repo', 'publish', 'images', '1'], base, again, sample: 1 }));
});

test('doctor --rebuild-catalog, killed', deepOnly, async (t) => {
  const { base } = await seeded(t, 'older', 'file');
  const again = async (data: string) => {
    await rebuild(data, { ...quietly(), skipDamaged: false });
  };
  const found = await sweep(t, { command: ['doctor', '--rebuild-catalog'], base, again, sample: 1 });
  // At every moment there is a whole catalog, the old one or the new one.
  assert.ok(
    found.every((each) => each === 'after'),
    found.join(),
  );
});
