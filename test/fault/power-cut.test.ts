/**
 * The power goes, on file systems that keep of what was not made durable nothing: all that was acknowledged is there
 * when it comes back. The same program with fsync switched off must lose it, else these tests would show nothing.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { airlock, ended, startCli, startServer } from '../support/cli.ts';
import { type LoopDisk, makeLoopDisk, needsLoopDisk } from '../support/loop-disk.ts';
import { startTraced } from '../support/strace.ts';
import { tempDir } from '../support/temp-dir.ts';
import { assertImages, importAgain, soundState } from './aftermath.ts';
import { describePoint, injectAt, isDeep, pointsOf } from './points.ts';
import { makeStick, type Stick, trustingDirectory } from './stick.ts';

interface Scene {
  readonly disk: LoopDisk;
  readonly stick: Stick;
  /** A folder for what must not be lost. */
  readonly dir: string;
}

async function scene(t: TestContext, kind: 'xfs' | 'ext4'): Promise<Scene> {
  const dir = await tempDir(t);
  return { disk: makeLoopDisk(t, kind), stick: await makeStick(path.join(dir, 'stick'), 1500), dir };
}

/** A data directory on the disk, with the vendor's key, all durable. */
async function dataOn({ disk, stick }: Scene, name: string): Promise<string> {
  const data = path.join(disk.dir, name);
  await trustingDirectory(data, stick);
  disk.sync();
  return data;
}

/**
 * Cuts the power the moment the command tells of its success; the disk is then mounted again.
 * @param beside another process that works on the disk; the cut ends it
 */
async function cutAtSuccess(
  disk: LoopDisk,
  args: readonly string[],
  { wrapper = [], beside }: { wrapper?: readonly string[]; beside?: ChildProcess } = {},
): Promise<void> {
  const child = startCli(args, { wrapper });
  child.stdout?.once('data', () => disk.cut());
  const { stdout, stderr } = await ended(child);
  assert.match(stdout, /Import success/, stderr);
  if (beside !== undefined) {
    beside.kill('SIGKILL');
    await once(beside, 'close');
  }
  disk.unmount();
  disk.mount();
}

/**
 * Cuts the power after a while. The command goes on without its disk; it must not end well unless it was done with it.
 * @returns true if it had told of its success before
 */
async function cutAfter(disk: LoopDisk, milliseconds: number, args: readonly string[]): Promise<boolean> {
  const child = startCli(args);
  const result = ended(child);
  let isAcknowledged = false;
  child.stdout?.once('data', () => {
    isAcknowledged = true;
  });
  await sleep(milliseconds);
  const wasAcknowledged = isAcknowledged;
  disk.cut();
  const { code, stdout, stderr } = await result;
  disk.unmount();
  disk.mount();
  if (!stdout.includes('Import success')) {
    // SQLite takes a page that the disk does not give for a damaged one.
    assert.match(
      `${code} ${stderr}`,
      /^(1 error \((catalog\.inaccessible|storage\.failed)\)|4 error \(catalog\.corrupt\)): /,
    );
  }
  return wasAcknowledged;
}

/** @param before what was there before */
async function assertAllOrNothing(
  data: string,
  { paths }: Stick,
  before: Readonly<Record<string, string>> = {},
): Promise<'nothing' | 'all'> {
  const { visible } = await soundState(data);
  const isThere = Object.keys(visible.entries).length > Object.keys(before).length;
  await assertImages(data, before, isThere ? paths : {});
  return isThere ? 'all' : 'nothing';
}

for (const kind of ['xfs', 'ext4'] as const) {
  describe(kind, () => {
    test('what was acknowledged survives', needsLoopDisk(kind), async (t) => {
      const at = await scene(t, kind);
      const { disk, stick } = at;
      const data = await dataOn(at, 'data');
      await cutAtSuccess(disk, ['--data', data, 'import', 'iso', 'filepath', stick.older]);
      await assertImages(data, stick.olderPaths);
      // With the catalog open elsewhere too, it is not taken out of its write-ahead log at the end of the command.
      const { child: beside } = await startServer(t, data);
      await cutAtSuccess(disk, ['--data', data, 'import', 'iso', 'filepath', stick.file], { beside });
      await assertImages(data, stick.olderPaths, stick.paths);
      for (const command of ['verify', 'doctor']) {
        const { code, stdout, stderr } = await airlock(['--data', data, command]);
        assert.equal(code, 0, stderr);
        assert.match(stdout, /Checked 6 blobs, .*: all are right|Healthy\./);
      }
      const server = await startServer(t, data);
      for (const [file, digest] of Object.entries(stick.paths)) {
        const response = await fetch(`${server.url}/repos/images/${file}`);
        assert.equal(response.status, 200);
        const hash = createHash('sha256').update(new Uint8Array(await response.arrayBuffer()));
        assert.equal(`sha256:${hash.digest('hex')}`, digest);
      }
      assert.equal((await server.stop()).code, 0);
    });

    test(
      'cut off at any time, an import is there whole or not at all, and can be done again',
      needsLoopDisk(kind),
      async (t) => {
        const at = await scene(t, kind);
        const { disk, stick } = at;
        const first = await dataOn(at, 'first');
        const start = performance.now();
        assert.equal((await airlock(['--data', first, 'import', 'iso', 'filepath', stick.file])).code, 0);
        const whole = performance.now() - start;
        for (let round = 1; round <= (isDeep ? 20 : 3); round++) {
          const data = await dataOn(at, `round-${round}`);
          await importAgain(data, stick.older);
          const args = ['--data', data, 'import', 'iso', 'filepath', stick.file];
          const moment = Math.round(whole * (0.5 + Math.random() / 2));
          const isAcknowledged = await cutAfter(disk, moment, args);
          const found = await assertAllOrNothing(data, stick, stick.olderPaths);
          t.diagnostic(`cut after ${moment} ms of ${Math.round(whole)}: ${found}`);
          if (isAcknowledged) assert.equal(found, 'all');
          await importAgain(data, stick.file);
          await assertImages(data, stick.olderPaths, stick.paths);
        }
      },
    );

    test('cut off after any fsync, too', needsLoopDisk(kind, 'strace'), async (t) => {
      const at = await scene(t, kind);
      const { disk, stick, dir } = at;
      const log = path.join(dir, 'trace');
      const command = async (name: string) => [
        '--data',
        await dataOn(at, name),
        'import',
        'iso',
        'filepath',
        stick.file,
      ];
      const points = await pointsOf(await command('first'), log, 'fsync');
      assert.ok(points.length > 30, `${points.length} fsyncs`);
      for (const point of isDeep ? points : atRandom(points, 4)) {
        const { thread, nth } = point;
        const args = await command(`${thread}-${nth}`);
        const { child, result, stopped } = await startTraced(args, log, injectAt(point, 'signal=SIGSTOP'), thread);
        t.after(() => child.kill('SIGKILL'));
        await stopped();
        disk.cut();
        child.kill('SIGKILL');
        assert.equal((await result).stdout, '');
        disk.unmount();
        disk.mount();
        const data = path.join(disk.dir, `${thread}-${nth}`);
        t.diagnostic(`cut after ${describePoint(point)}: ${await assertAllOrNothing(data, stick)}`);
        await importAgain(data, stick.file);
        await assertImages(data, stick.paths);
      }
    });

    test('with fsync switched off, what was acknowledged is lost', needsLoopDisk(kind, 'eatmydata'), async (t) => {
      const at = await scene(t, kind);
      const { disk, stick } = at;
      for (let round = 1; round <= 5; round++) {
        const data = await dataOn(at, `round-${round}`);
        await cutAtSuccess(disk, ['--data', data, 'import', 'iso', 'filepath', stick.file], { wrapper: ['eatmydata'] });
        const lost = await assertImages(data, stick.paths).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (lost === undefined) continue;
        t.diagnostic(`lost in round ${round}: ${String(lost).split('\n', 1)}`);
        return;
      }
      assert.fail('nothing was ever lost: these tests could not tell a program that does without fsync');
    });
  });
}

/** Some of them, at random. */
function atRandom<T>(all: readonly T[], count: number): T[] {
  return all
    .map((each) => ({ each, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, count)
    .map(({ each }) => each);
}
