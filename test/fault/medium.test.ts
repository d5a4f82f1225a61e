/**
 * Media that go away, shrink or cannot be written, disks that are full or fail, and people who press Ctrl-C, all in the
 * middle of an import: a named error, nothing left of it, and the same command works when the cause is gone.
 */
import assert from 'node:assert/strict';
import { chmod, cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import tarStream from 'tar-stream';
import { buildIso } from '../media/iso-builder.ts';
import { filler, publishFile } from '../media/vendor-site.ts';
import { airlock, airlockJson, type CliResult, startServer } from '../support/cli.ts';
import { makeLoopDisk, needsLoopDisk } from '../support/loop-disk.ts';
import { needsRoot } from '../support/needs.ts';
import { needsTracing, readTrace, runTraced, startTraced, type Traced } from '../support/strace.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeTinyDisk, type TinyDisk } from '../support/tiny-disk.ts';
import { assertImages, assertNothingLeft, assertOnlyImages, importAgain } from './aftermath.ts';
import { describePoint, injectAt, isIn, type Point, pointsOf, some } from './points.ts';
import { makeStick, type Stick, trustingDirectory } from './stick.ts';

/** Read in four pieces. */
const KILOBYTES = 3500;

interface Scene {
  readonly dir: string;
  readonly stick: Stick;
  /** Holds the older image. */
  readonly data: string;
  readonly command: readonly string[];
}

interface Place {
  readonly stick?: string;
  readonly data?: string;
}

/** A stick, and a data directory into which its older image was imported, where the test wants them. */
async function scene(t: TestContext, place: Place = {}): Promise<Scene> {
  const dir = await tempDir(t);
  const stick = await makeStick(place.stick ?? path.join(dir, 'stick'), KILOBYTES);
  const data = place.data ?? path.join(dir, 'data');
  await trustingDirectory(data, stick);
  await importAgain(data, stick.older);
  return { dir, stick, data, command: ['--data', data, 'import', 'iso', 'filepath', stick.file] };
}

/** Starts the import and stops it in the middle of reading the image. */
async function halfWay(t: TestContext, { dir, stick, command }: Scene): Promise<Traced> {
  return await stoppedAt(t, command, path.join(dir, 'trace'), 'pread64', 2, ['-P', stick.file]);
}

/** Starts a command and stops it after a call of its pool thread. */
async function stoppedAt(
  t: TestContext,
  command: readonly string[],
  log: string,
  call: string,
  nth: number,
  more: readonly string[] = [],
): Promise<Traced> {
  const options = [...more, '-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGSTOP:when=${nth}`];
  const traced = await startTraced(command, log, options, 'pool');
  t.after(() => traced.child.kill('SIGKILL'));
  await traced.stopped();
  return traced;
}

async function goOn({ child, result }: Traced): Promise<CliResult> {
  child.kill('SIGCONT');
  return await result;
}

function assertFailed(result: CliResult, exitCode: number, error: RegExp): void {
  assert.deepEqual({ code: result.code, stdout: result.stdout }, { code: exitCode, stdout: '' }, result.stderr);
  assert.match(result.stderr, error);
}

/** Only the older image is there and nothing of the other one is left; the same command then works. */
async function assertNothingCameIn({ data, stick, command }: Scene): Promise<void> {
  await assertOnlyImages(data, stick.olderPaths);
  await assertWorks({ data, stick, command });
}

async function assertWorks({ data, stick, command }: Pick<Scene, 'data' | 'stick' | 'command'>): Promise<void> {
  const again = await airlock(command);
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stdout, /Import success/);
  await assertImages(data, stick.olderPaths, stick.paths);
}

const LOST =
  /error \(source\.lost\): .* could not be read to its end .* Nothing of it was imported\. Check the medium, plug it in again and run the same command\./;

describe('a medium', () => {
  test('pulled in the middle', needsLoopDisk('ext4', 'strace'), async (t) => {
    const disk = makeLoopDisk(t, 'ext4');
    const at = await scene(t, { stick: path.join(disk.dir, 'vendor') });
    disk.unmount();
    disk.mount('ro');
    const running = await halfWay(t, at);
    disk.cut();
    assertFailed(await goOn(running), 5, LOST);
    assertFailed(await airlock(at.command), 5, /error \(source\.lost\)/); // it is still out
    disk.unmount();
    disk.mount('ro');
    await assertNothingCameIn(at);
  });

  test('with a bad sector, in the image or in a sidecar', needsTracing(), async (t) => {
    const at = await scene(t);
    for (const [suffix, nth] of [
      ['', 3],
      ['.sha256sum', 1],
      ['.sha256sum.asc', 1],
    ] as const) {
      const fault = ['-P', `${at.stick.file}${suffix}`, '-e', `inject=pread64,read:error=EIO:when=${nth}+`];
      const log = path.join(at.dir, 'trace');
      assertFailed(await runTraced(at.command, log, ['-e', 'trace=pread64,read', ...fault], 'pool'), 5, LOST);
      await assertOnlyImages(at.data, at.stick.olderPaths);
    }
    await assertWorks(at);
  });

  test('on which the file gets shorter', needsTracing(), async (t) => {
    const at = await scene(t);
    await cp(at.stick.dir, path.join(at.dir, 'spare'), { recursive: true, preserveTimestamps: true });
    const running = await halfWay(t, at);
    await truncate(at.stick.file, 2_500_000);
    assertFailed(await goOn(running), 5, /error \(source\.lost\): .*the file ended at 2500000 of \d+ bytes/);
    await cp(path.join(at.dir, 'spare'), at.stick.dir, { recursive: true, preserveTimestamps: true });
    await assertNothingCameIn(at);
  });

  test('that is read-only', needsLoopDisk('ext4'), async (t) => {
    const disk = makeLoopDisk(t, 'ext4');
    const at = await scene(t, { stick: path.join(disk.dir, 'vendor') });
    for (const name of await readdir(at.stick.dir)) await chmod(path.join(at.stick.dir, name), 0o444);
    await chmod(at.stick.dir, 0o555);
    disk.unmount();
    disk.mount('ro');
    await assertWorks(at);
  });
});

describe('a folder of a medium', () => {
  test('that cannot be read is named; images in other folders are imported', needsTracing(), async (t) => {
    const at = await scene(t);
    const broken = path.join(at.stick.dir, 'broken');
    await mkdir(broken);
    const hunt = ['--data', at.data, 'import', 'iso', 'hunt', at.stick.dir];
    const log = path.join(at.dir, 'trace');
    for (const [fault, code, message] of [
      [['-e', 'trace=getdents64', '-P', broken, '-e', 'inject=getdents64:error=EIO'], 5, /error \(source\.lost\)/],
      [
        ['-e', 'trace=openat', '-P', broken, '-e', 'inject=openat:error=EACCES'],
        0,
        /broken \(this user may not read it/,
      ],
    ] as const) {
      const result = await runTraced(hunt, log, fault, 'pool');
      assert.equal(result.code, code, result.stdout + result.stderr);
      assert.match(result.stdout + result.stderr, message);
      await assertImages(at.data, at.stick.olderPaths, at.stick.paths);
    }
  });
});

describe('somebody who has had enough', () => {
  const INTERRUPTED = /error \(interrupted\): .* left nothing behind; run the same command to go on/;

  /** Stops a command at a call, interrupts it there, and says how many of these calls it made in all. */
  async function interruptedAt(
    t: TestContext,
    { dir, data }: Scene,
    args: readonly string[],
    [call, nth]: readonly [string, number],
    more: readonly string[] = [],
  ): Promise<CliResult & { calls: number }> {
    const log = path.join(dir, 'trace');
    const running = await stoppedAt(t, ['--data', data, ...args], log, call, nth, more);
    running.child.kill('SIGINT');
    const result = await goOn(running);
    return { ...result, calls: (await readTrace(log)).length };
  }

  test('while a tar beside the image is read', needsTracing(), async (t) => {
    const at = await scene(t);
    const tar = at.stick.file.replace(/\.iso$/, '.tar');
    const bytes = filler('tar', 24 * 2 ** 20);
    await publishFile(at.stick.dir, path.basename(tar), bytes, at.stick.signer);
    await rm(`${at.stick.file}.sha256sum`);
    const args = ['import', 'iso', 'filepath', at.stick.file];
    const result = await interruptedAt(t, at, args, ['pread64', 2], ['-P', tar]);
    assertFailed(result, 5, INTERRUPTED);
    assert.ok(result.calls < 20, `${result.calls} reads of the tar, which is 96 pieces`);
    await assertOnlyImages(at.data, at.stick.olderPaths);
  });

  test('while the headers of a tar are checked, or an image is searched', needsTracing(), async (t) => {
    const at = await scene(t);
    const pack = tarStream.pack();
    for (let index = 0; index < 2000; index += 1) pack.entry({ name: `${index}` }, '');
    pack.finalize();
    const pieces: Buffer[] = [];
    for await (const piece of pack) pieces.push(Buffer.from(piece as Uint8Array));
    const tar = path.join(at.dir, 'SSR-6.3.1-1.r1.el7.x86_64.ibu-v1.tar');
    await publishFile(at.dir, path.basename(tar), Buffer.concat(pieces), at.stick.signer);
    const folders = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`d${index}`, {}]));
    const iso = path.join(at.dir, 'SSR-6.3.2-1.r1.el7.x86_64.ibu-v1.iso');
    await publishFile(at.dir, path.basename(iso), buildIso(folders, {}).image, at.stick.signer);
    for (const file of [tar, iso]) {
      const result = await interruptedAt(t, at, ['import', 'iso', 'filepath', file], ['pread64', 100]);
      assertFailed(result, 5, INTERRUPTED);
      assert.ok(result.calls < 200, `${result.calls} reads`);
    }
    await assertOnlyImages(at.data, at.stick.olderPaths);
  });

  test('while folders are searched', needsTracing(), async (t) => {
    const at = await scene(t);
    for (let index = 0; index < 200; index += 1)
      await mkdir(path.join(at.dir, 'many', `${index}`), { recursive: true });
    const args = ['import', 'iso', 'hunt', path.join(at.dir, 'many')];
    const result = await interruptedAt(t, at, args, ['getdents64', 30]);
    assertFailed(result, 5, INTERRUPTED);
    assert.ok(result.calls < 60, `${result.calls} reads of folders`);
  });

  test('is told what was not tried', needsTracing(), async (t) => {
    const at = await scene(t);
    const later = 'SSR-6.3.9-1.r1.el7.x86_64.ibu-v1.iso';
    await publishFile(at.stick.dir, later, await readFile(at.stick.older), at.stick.signer);
    for (const global of [[], ['--json']]) {
      const args = [...global, 'import', 'iso', 'hunt', at.stick.dir];
      const result = await interruptedAt(t, at, args, ['pread64', 2], ['-P', at.stick.file]);
      assert.equal(result.code, 5, result.stderr);
      if (global.length > 0) {
        const report = JSON.parse(result.stdout) as { notTried: string[] };
        assert.deepEqual(report.notTried, [path.join(at.stick.dir, later)]);
      } else {
        assert.match(
          result.stdout,
          /Not tried:\n {2}.*SSR-6\.3\.9-1\.r1\.el7\.x86_64\.ibu-v1\.iso\n2 of 3 images were not/,
        );
      }
    }
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`and sends ${signal}`, needsTracing(), async (t) => {
      const at = await scene(t);
      const running = await halfWay(t, at);
      running.child.kill(signal);
      assertFailed(
        await goOn(running),
        5,
        /error \(interrupted\): .* left nothing behind; run the same command to go on/,
      );
      await assertNothingCameIn(at);
    });
  }
});

test('an import that fails leaves to others what they are about to publish', needsTracing(), async (t) => {
  const at = await scene(t);
  const file = path.join(at.dir, 'tool.bin');
  await writeFile(file, 'the same bytes');
  const other = path.join(at.dir, 'other.bin');
  await writeFile(other, 'other bytes');
  const to = (name: string) => ['--data', at.data, 'import', 'file', '--repository', 'tools', '--path', name];
  // Both have stored the bytes, and neither has published them, when the path of the first is taken.
  const first = await stoppedAt(t, [...to('first'), file], path.join(at.dir, 'trace1'), 'rename', 1);
  const second = await stoppedAt(t, [...to('second'), file], path.join(at.dir, 'trace2'), 'rename', 1);
  assert.equal((await airlock([...to('first'), other])).code, 0);
  assertFailed(await goOn(first), 7, /error \(path\.conflict\): .*Add --replace/);
  const done = await goOn(second);
  assert.equal(done.code, 0, done.stderr);
  await assertNothingLeft(at.data);
});

describe('a full disk', () => {
  const options = needsRoot('mount', 'strace');
  const FULL =
    /error \(space\.insufficient\): No space left for .*\. Free some, for example with `airlock prune --grace 0`, and try again\./;

  /** The disk is large enough for the reserve and the image. */
  async function onTinyDisk(t: TestContext): Promise<Scene & { disk: TinyDisk }> {
    const disk = makeTinyDisk(t, 80);
    return { ...(await scene(t, { data: path.join(disk.dir, 'data') })), disk };
  }

  /** A server that already runs, and new commands, go on giving out what is there. */
  async function assertReads({ data, stick }: Scene, serverUrl: string): Promise<void> {
    for (const file of Object.keys(stick.olderPaths)) {
      const response = await fetch(`${serverUrl}/repos/images/${file}`);
      assert.equal(response.status, 200);
      assert.ok((await response.arrayBuffer()).byteLength > 0);
    }
    const shown = await airlockJson<{ path: string }[]>(['--data', data, 'show', 'system', 'software', 'available']);
    assert.equal(shown.code, 0, shown.stderr);
    assert.deepEqual(
      shown.json.map((each) => each.path),
      [path.relative(stick.dir, stick.older)].map((name) => `6.2/${name}`),
    );
  }

  test('is noticed before anything is read', options, async (t) => {
    const at = await onTinyDisk(t);
    at.disk.fill(20 * 2 ** 20);
    assertFailed(
      await airlock(at.command),
      6,
      /error \(space\.insufficient\): \d+ MiB are needed on the file system of the data directory/,
    );
    at.disk.relieve();
    await assertNothingCameIn(at);
  });

  test('that somebody else fills in the middle', options, async (t) => {
    const at = await onTinyDisk(t);
    const server = await startServer(t, at.data);
    const running = await halfWay(t, at);
    at.disk.fill();
    assertFailed(await goOn(running), 6, FULL);
    await assertReads(at, server.url);
    at.disk.relieve();
    await server.stop();
    await assertNothingCameIn(at);
  });

  test('that somebody else fills after any of the files of an import is stored', options, async (t) => {
    const at = await onTinyDisk(t);
    for (const stored of [1, 2, 3]) {
      const running = await stoppedAt(t, at.command, path.join(at.dir, 'trace'), 'rename', stored);
      at.disk.fill();
      assertFailed(await goOn(running), 6, /error \(space\.insufficient\): No space left for /);
      at.disk.relieve();
      await assertOnlyImages(at.data, at.stick.olderPaths);
    }
    await assertWorks(at);
    await assertNothingLeft(at.data);
  });

  for (const [thread, what] of [
    ['pool', 'a blob'],
    ['main', 'the catalog'],
  ] as const) {
    test(`found out while ${what} is written`, needsTracing(), async (t) => {
      const at = await scene(t);
      const points = (await pointsIn(at, 'pwrite64')).filter(
        (point) => point.thread === thread && /-wal$|\.part$/.test(point.call.paths[0] ?? ''),
      );
      assert.ok(points.length >= 3, `${points.length} writes`);
      for (const point of some(points, 3)) {
        await assertNoSpace(at, injectAt(point, 'error=ENOSPC'), thread);
      }
      await assertWorks(at);
    });
  }

  test('found out while the revision is written', needsTracing(), async (t) => {
    const at = await scene(t);
    const file = path.join(at.data, 'revisions', '.pending', '00000002-images.jsonl');
    for (const nth of [1, 2]) {
      // By file, for Node.js writes to its own descriptors, too, and not always equally often.
      const fault = ['-P', file, '-e', 'trace=write', '-e', `inject=write:error=ENOSPC:when=${nth}`];
      await assertNoSpace(at, fault, 'main');
    }
    await assertWorks(at);
  });

  async function assertNoSpace(at: Scene, fault: string[], thread: 'main' | 'pool'): Promise<void> {
    const result = await runTraced(at.command, '/dev/null', fault, thread);
    assertFailed(result, 6, /error \(space\.insufficient\): No space left for /);
    await assertOnlyImages(at.data, at.stick.olderPaths);
  }
});

test('a failed fsync fails the import, whichever it is', needsTracing(), async (t) => {
  const at = await scene(t);
  const points = await fsyncsOfImport(at);
  assert.ok(points.length >= 20, `${points.length} fsyncs`);
  const chosen = some(points, 8);
  t.diagnostic(
    `${points.length} fsyncs, of which fail: ${chosen.map(({ thread, nth }) => `${thread} ${nth}`).join(', ')}`,
  );
  const log = path.join(at.dir, 'trace');
  for (const point of chosen) {
    await restore(at);
    const result = await runTraced(at.command, log, injectAt(point, 'error=EIO'), point.thread);
    assertFailed(
      result,
      1,
      /error \(storage\.failed\): The disk fails at (the catalog )?\/.* \((disk I\/O error|EIO: i\/o error, fsync)\)/,
    );
    const failed = (await readTrace(log)).filter((call) => call.result.includes('INJECTED'));
    assert.deepEqual(
      failed.map(({ name }) => name),
      ['fsync'],
      describePoint(point),
    );
    await assertImages(at.data, at.stick.olderPaths);
    await importAgain(at.data, at.stick.file);
    await assertImages(at.data, at.stick.olderPaths, at.stick.paths);
  }
});

/** All that must succeed before an import may be told of: those up to the one that ends its transaction. */
async function fsyncsOfImport(at: Scene): Promise<Point[]> {
  const points = await pointsIn(at, 'fsync,rename');
  const named = points.findIndex(
    ({ call }) => call.paths[0]?.includes('/revisions/.pending/') && call.name === 'rename',
  );
  const commit = points.slice(0, named).findLastIndex(({ call }) => call.paths[0]?.endsWith('-wal'));
  // SQLite lets a failed sync of its folder pass. A first blob syncs the same folder again, and must.
  const isOfSqlite = ({ thread, call }: Point) => thread === 'main' && call.paths[0] === at.data;
  return points
    .slice(0, commit + 1)
    .filter((point) => point.call.name === 'fsync' && isIn(at.data, point) && !isOfSqlite(point));
}

/** The calls of the import; the data directory is then again as it was. */
async function pointsIn(at: Scene, names: string): Promise<Point[]> {
  await cp(at.data, path.join(at.dir, 'spare'), { recursive: true });
  const points = await pointsOf(at.command, path.join(at.dir, 'trace'), names);
  await restore(at);
  return points;
}

async function restore(at: Scene): Promise<void> {
  await rm(at.data, { recursive: true });
  await cp(path.join(at.dir, 'spare'), at.data, { recursive: true });
}
