import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink, truncate, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { airlock, ended, startCli, startServer } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { inTerminal, type Terminal } from '../support/terminal.ts';

const inOne = needs('script=bsdutils');
const IMAGE = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';

/** A command that asks before it does anything. */
async function asking(t: TestContext, name = IMAGE): Promise<Terminal & { data: string }> {
  const dir = await tempDir(t);
  const [data, stick] = [path.join(dir, 'data'), path.join(dir, 'stick')];
  await mkdir(stick);
  await writeFile(path.join(stick, name), 'no image');
  const terminal = inTerminal(['--data', data, 'import', 'iso', 'filepath', path.join(stick, name)]);
  await terminal.shown(/\[y\/N\]: /);
  return { ...terminal, data };
}

describe('a question', () => {
  test('ends with exit code 5 at Ctrl-C', inOne, async (t) => {
    const { type, result } = await asking(t);
    type('\x03');
    const { code, stdout } = await result;
    assert.match(stdout, /error \(interrupted\): /);
    assert.equal(code, 5);
  });

  test('is answered with no by Ctrl-D', inOne, async (t) => {
    const { type, result } = await asking(t);
    type('\x04');
    const { code, stdout } = await result;
    assert.match(stdout, /Nothing was imported/);
    assert.equal(code, 0);
  });

  test('ends with exit code 5 at SIGTERM', inOne, async (t) => {
    const { child, result } = await asking(t);
    process.kill(await onlyChildOf(child.pid ?? 0), 'SIGTERM');
    const { code, stdout } = await result;
    assert.match(stdout, /error \(interrupted\): /);
    assert.equal(code, 5);
  });

  test('is answered by y and n', inOne, async (t) => {
    const no = await asking(t);
    no.type('n\r');
    assert.equal((await no.result).code, 0);
    const yes = await asking(t);
    yes.type('y\r');
    const { code, stdout } = await yes.result;
    assert.match(stdout, /error \(iso\.\w+\)/);
    assert.equal(code, 4);
  });

  test('shows names without what a terminal would act on', inOne, async (t) => {
    const { type, result, shown } = await asking(t, 'SSR-\x1b]0;owned\x07\u009b2J.iso');
    const seen = await shown(/\[y\/N\]: /);
    type('n\r');
    await result;
    assert.match(seen, /u001b\]0;owned\\*u0007\\*u009b2J/);
    assert.ok(!seen.includes('\x1b]0;') && !seen.includes('\x07') && !seen.includes('\u009b'));
  });
});

describe('a signal', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`${signal} ends a command that waits for something else`, async (t) => {
      const data = path.join(await tempDir(t), 'data');
      assert.equal((await airlock(['--data', data, 'repo', 'create', 'a', '--kind', 'file'])).code, 0);
      const other = new DatabaseSync(path.join(data, 'catalog.sqlite'));
      t.after(() => other.close());
      other.exec('begin immediate');
      const child = startCli(['--data', data, '--json', 'repo', 'create', 'b', '--kind', 'file']);
      const result = ended(child);
      await hasOpened(child.pid ?? 0, 'catalog.sqlite');
      child.kill(signal);
      const { code, stdout } = await result;
      assert.equal(code, 5);
      assert.equal((JSON.parse(stdout) as { error: { code: string } }).error.code, 'interrupted');
    });
  }

  test('lets a server finish its downloads; what the launchers hand on soon after is the same one', async (t) => {
    const { child, download } = await downloading(t);
    child.kill('SIGTERM');
    await sleep(50);
    child.kill('SIGTERM');
    download.resume();
    await once(download, 'end');
    assert.equal(child.exitCode ?? (await once(child, 'exit'))[0], 0);
  });

  test('ends a server at once when it comes again', async (t) => {
    const { child, stop, download } = await downloading(t);
    download.on('error', () => undefined);
    child.kill('SIGTERM');
    await sleep(1500);
    assert.equal(child.exitCode, null);
    const { code, stderr } = await stop();
    assert.equal(code, 5);
    assert.match(stderr, /error \(interrupted\)/);
  });

  test('SIGHUP without a log file leaves a server running', async (t) => {
    const { url, child, stop } = await startServer(t, path.join(await tempDir(t), 'data'));
    child.kill('SIGHUP');
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    assert.equal((await stop()).code, 0);
  });
});

/** A server, and an answer of which more is left than buffers hold. */
async function downloading(t: TestContext) {
  const dir = await tempDir(t);
  const [data, file] = [path.join(dir, 'data'), path.join(dir, 'file')];
  await writeFile(file, '');
  await truncate(file, 64 * 2 ** 20);
  const { code } = await airlock(['--data', data, 'import', 'file', '--repository', 'r', '--path', 'big', file]);
  assert.equal(code, 0);
  const server = await startServer(t, data);
  const [download] = (await once(http.get(`${server.url}/repos/r/big`), 'response')) as [http.IncomingMessage];
  download.pause();
  t.after(() => download.destroy());
  return { ...server, download };
}

/** Waits until a process has a file of this name open. */
async function hasOpened(pid: number, name: string): Promise<void> {
  for (;;) {
    const open = await readdir(`/proc/${pid}/fd`);
    const files = await Promise.all(open.map((each) => readlink(`/proc/${pid}/fd/${each}`).catch(() => '')));
    if (files.some((file) => path.basename(file) === name)) return;
    await sleep(10);
  }
}

async function onlyChildOf(pid: number): Promise<number> {
  return Number((await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim());
}
