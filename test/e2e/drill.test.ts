/** The drill in its short form: all of it, and that it leaves nothing behind however it ends. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { PACKAGE_TOOLS } from '../media/package-iso.ts';
import { ended } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';

const PROGRAM = path.join(import.meta.dirname, '..', 'drill', 'run.ts');
const TOOLS = needs(...PACKAGE_TOOLS, 'nginx', 'openssl', 'curl');

interface Drill {
  readonly child: ChildProcess;
  /** Everything it makes is below it. */
  readonly dir: string;
}

async function start(t: TestContext): Promise<Drill> {
  const dir = path.join(await tempDir(t), 'drill');
  await mkdir(dir, { mode: 0o755 });
  const child = spawn(process.execPath, [PROGRAM, '--short'], {
    env: { ...process.env, TMPDIR: dir, NODE_TEST_CONTEXT: undefined },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGTERM'));
  return { child, dir };
}

/** No file, no mount, no process and no network of it is there. */
async function assertNothingLeft({ child, dir }: Drill): Promise<void> {
  assert.deepEqual(await readdir(dir), []);
  assert.ok(!(await readFile('/proc/mounts', 'utf8')).includes(dir), 'a mount is left');
  const networks = await readdir('/run/netns').catch(() => []);
  assert.deepEqual(
    networks.filter((name) => name.includes(`-${child.pid}-`)),
    [],
  );
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    assert.ok(!words.includes(dir), `it is left: ${words.replaceAll('\0', ' ')}`);
  }
}

test('a release goes the whole way, through all that may happen on it', TOOLS, async (t) => {
  const drill = await start(t);
  const { code, stdout, stderr } = await ended(drill.child);
  for (const line of stdout.split('\n')) t.diagnostic(line);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /All was as it should be/);
  await assertNothingLeft(drill);
});

test('a drill that is interrupted leaves nothing', TOOLS, async (t) => {
  const drill = await start(t);
  const result = ended(drill.child);
  let seen = '';
  while (!/✔ +2 /.test(seen)) {
    const [text] = (await once(drill.child.stdout ?? assert.fail(), 'data')) as [string];
    seen += text;
  }
  drill.child.kill('SIGINT');
  const { code, stdout } = await result;
  assert.equal(code, 130, stdout);
  assert.match(stdout, /Interrupted/);
  await assertNothingLeft(drill);
});
