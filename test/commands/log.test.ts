import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LogSink } from '../../src/repo/http/log-file.ts';
import { airlock, startServer } from '../support/cli.ts';
import { needsRoot } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeTinyDisk } from '../support/tiny-disk.ts';

/** A data directory with this under `log:`. */
async function dataDir(t: TestContext, log: Record<string, unknown>): Promise<string> {
  const dir = await tempDir(t);
  await writeFile(path.join(dir, 'airlock.yaml'), JSON.stringify({ log }));
  return dir;
}

describe('a log file that cannot be written keeps the server from starting, with the key and the file', () => {
  const cases: [what: string, prepare: (file: string) => unknown][] = [
    ['a folder', (file) => mkdir(file)],
    ['a named pipe that nobody reads', (file) => execFileSync('mkfifo', [file])],
    ['below a file', (file) => writeFile(path.dirname(file), '')],
  ];
  for (const [what, prepare] of cases) {
    test(what, async (t) => {
      const file = path.join(await tempDir(t), 'sub', 'server.log');
      if (what !== 'below a file') await mkdir(path.dirname(file));
      await prepare(file);
      const { code, stdout, stderr } = await airlock(['--data', await dataDir(t, { file }), 'serve']);
      assert.equal(stdout, '');
      assert.ok(stderr.includes(`error (config.invalid): log.file: ${file} cannot be written`), stderr);
      assert.equal(code, 2);
    });
  }
});

test('SIGHUP goes on in a new file', async (t) => {
  const data = await dataDir(t, { file: 'logs/server.log' });
  const file = path.join(data, 'logs', 'server.log');
  const { url, child, stop } = await startServer(t, data);
  await fetch(`${url}/repos/before`);
  await hasLine(file, '/repos/before');
  await rename(file, `${file}.old`);
  child.kill('SIGHUP');
  while (!(await stat(file).catch(() => undefined))) await sleep(10);
  await fetch(`${url}/repos/after`);
  assert.equal((await stop()).code, 0);
  assert.match(await readFile(file, 'utf8'), /\/repos\/after/);
  assert.doesNotMatch(await readFile(`${file}.old`, 'utf8'), /\/repos\/after/);
});

test('a server whose log disk is full goes on serving, ends, and says what it lost', needsRoot('mount'), async (t) => {
  const disk = makeTinyDisk(t, 1);
  const file = path.join(disk.dir, 'server.log');
  const { url, stop } = await startServer(t, await dataDir(t, { file }));
  disk.fill();
  for (let number = 0; number < 20; number += 1) {
    assert.equal((await fetch(`${url}/repos/${'lost'.repeat(250)}`)).status, 404);
  }
  await sleep(300); // the access log is written a moment later
  disk.relieve();
  assert.equal((await fetch(`${url}/repos/found`)).status, 404);
  const { code, stderr } = await stop();
  assert.equal(code, 0);
  assert.match(stderr, /^log\.file: .*server\.log: ENOSPC: lines are dropped until it can be written again\.\n$/);
  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  const read = lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as { msg: string; lost?: number; path?: string }];
    } catch {
      return []; // the one that was torn
    }
  });
  assert.ok(read.some(({ lost = 0 }) => lost > 0));
  assert.equal(read.at(-1)?.path, '/repos/found');
});

test('a server whose log disk stays full ends all the same', needsRoot('mount'), async (t) => {
  const disk = makeTinyDisk(t, 1);
  const { url, stop } = await startServer(t, await dataDir(t, { file: path.join(disk.dir, 'server.log') }));
  disk.fill();
  await fetch(`${url}/repos/${'x'.repeat(900)}`);
  await fetch(`${url}/repos/${'x'.repeat(900)}`);
  assert.equal((await stop()).code, 0);
});

describe('a log file', () => {
  const line = (number: number) => `{"number":${String(number).padStart(6, '0')}}\n`;

  test('is set aside before it grows too large, and the oldest goes', async (t) => {
    const file = path.join(await tempDir(t), 'log');
    const log = new LogSink({ file, maxSize: 100, maxFiles: 3 });
    for (let number = 0; number < 40; number += 1) {
      log.write(line(number));
      await sleep(5); // each in a write of its own
    }
    await log.close();
    assert.deepEqual((await readdir(path.dirname(file))).sort(), ['log', 'log.1', 'log.2']);
    const texts = await Promise.all([`${file}.2`, `${file}.1`, file].map((each) => readFile(each, 'utf8')));
    for (const text of texts) assert.ok(text.length <= 100);
    const last = texts.join('');
    assert.ok(last.endsWith(line(39)));
    assert.ok(
      Array.from({ length: 40 }, (_, number) => line(number))
        .join('')
        .endsWith(last),
      'no gaps',
    );
  });

  test('goes on where it was, with its size', async (t) => {
    const file = path.join(await tempDir(t), 'log');
    await writeFile(file, line(0).repeat(4));
    const log = new LogSink({ file, maxSize: 100, maxFiles: 2 });
    log.write(line(1));
    log.write(line(2));
    await log.close();
    assert.equal(await readFile(file, 'utf8'), line(1) + line(2));
    assert.equal(await readFile(`${file}.1`, 'utf8'), line(0).repeat(4));
  });

  test('that cannot be set aside goes on growing', {
    skip: process.getuid?.() === 0 && 'root may do anything',
  }, async (t) => {
    const dir = await tempDir(t);
    const log = new LogSink({ file: path.join(dir, 'log'), maxSize: 100, maxFiles: 2 });
    await chmod(dir, 0o500);
    for (let number = 0; number < 10; number += 1) {
      log.write(line(number));
      await new Promise(setImmediate);
    }
    await log.close();
    await chmod(dir, 0o700);
    assert.equal((await stat(path.join(dir, 'log'))).size, 10 * line(0).length);
  });

  test('holds every line in order, however many come at once', async (t) => {
    const file = path.join(await tempDir(t), 'log');
    const log = new LogSink({ file, maxSize: 2 ** 30, maxFiles: 2 });
    for (let number = 0; number < 10_000; number += 1) log.write(line(number));
    await log.close();
    assert.equal(await readFile(file, 'utf8'), Array.from({ length: 10_000 }, (_, number) => line(number)).join(''));
  });
});

async function hasLine(file: string, text: string): Promise<void> {
  while (!(await readFile(file, 'utf8')).includes(text)) await sleep(10);
}
