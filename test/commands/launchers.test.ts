import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { airlock, type CliResult, ended, startServer } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';

const root = path.join(import.meta.dirname, '..', '..');
const MODULES = path.join(root, 'node_modules');
/** What was there before this project's own Node.js came first. */
const systemPath = (process.env.PATH ?? '')
  .split(path.delimiter)
  .filter((dir) => path.basename(dir) !== '.bin')
  .join(path.delimiter);

/** A Node.js that is too old for Airlock, if the system has one. */
const SYSTEM_NODE = systemPath
  .split(path.delimiter)
  .map((dir) => path.join(dir, 'node'))
  .find((file) => existsSync(file) && isOld(file));

function isOld(file: string): boolean {
  const [major, minor] = execFileSync(file, ['-p', 'process.versions.node'], { encoding: 'utf8' })
    .split('.')
    .map(Number);
  return major !== undefined && minor !== undefined && (major < 24 || (major === 24 && minor < 15));
}

function oldNode(): { skip?: string } {
  return SYSTEM_NODE === undefined ? { skip: 'the Node.js of this system is new enough by itself' } : {};
}

function npm(args: readonly string[], options: { cwd?: string; env?: Record<string, string> } = {}): ChildProcess {
  return spawn('npm', args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, AIRLOCK_DATA: undefined, NODE_TEST_CONTEXT: undefined, PATH: systemPath, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a process group of its own, as a unit of systemd has one
  });
}

/** Waits until `npm start` has printed the server's address. */
async function addressOf(child: ChildProcess, result: Promise<CliResult>): Promise<string> {
  let seen = '';
  for await (const text of child.stdout ?? []) {
    seen += String(text);
    const [url] = /http:\/\/\S+/.exec(seen) ?? [];
    if (url !== undefined) {
      child.stdout?.resume();
      return url;
    }
  }
  throw new Error(`the server did not start: ${(await result).stderr}`);
}

describe('npm start', () => {
  const wholeGroup = (pid: number) => process.kill(-pid, 'SIGTERM');
  const onlyNpm = (pid: number) => process.kill(pid, 'SIGTERM');
  /** With a Node.js that can put another program in its place, and with one that cannot, if the system has one. */
  const paths = {
    'the pinned Node.js': `${path.join(MODULES, '.bin')}${path.delimiter}${systemPath}`,
    ...(SYSTEM_NODE === undefined
      ? {}
      : { 'an old one': `${path.dirname(SYSTEM_NODE)}${path.delimiter}${systemPath}` }),
  };
  for (const [whose, PATH] of Object.entries(paths)) {
    for (const [who, kill] of Object.entries({ 'every process': wholeGroup, npm: onlyNpm })) {
      test(`with ${whose}: SIGTERM to ${who} ends the server`, needs('npm'), async (t) => {
        const data = path.join(await tempDir(t), 'data');
        const child = npm(['start', '--silent', '--', '--listen', '127.0.0.1:0'], {
          env: { AIRLOCK_DATA: data, PATH },
        });
        const { pid = 0 } = child;
        t.after(() => killGroup(pid));
        const result = ended(child);
        const url = await addressOf(child, result);
        assert.equal((await fetch(`${url}/healthz`)).status, 200);
        kill(pid);
        const { code, stderr } = await result;
        assert.equal(code, 0, stderr);
        await assert.rejects(fetch(`${url}/healthz`), 'nobody listens any more');
        assert.equal((await airlock(['--data', data, 'doctor'])).code, 0);
      });
    }
  }
});

describe('an idle server keeps small', () => {
  const canReplace = typeof process.execve === 'function' ? {} : { skip: 'this Node.js has no process.execve' };

  test('by a small nursery, and one heap for what is no JavaScript', canReplace, async (t) => {
    const data = path.join(await tempDir(t), 'data');
    const args = [path.join(root, 'bin', 'airlock.mjs'), '--data', data, 'serve', '--listen', '127.0.0.1:0'];
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    t.after(() => child.kill('SIGKILL'));
    const result = ended(child);
    await addressOf(child, result);
    assert.match(await readFile(`/proc/${child.pid}/cmdline`, 'utf8'), /\0--max-semi-space-size=2\0/);
    assert.match(await readFile(`/proc/${child.pid}/environ`, 'utf8'), /(^|\0)MALLOC_ARENA_MAX=1\0/);
    child.kill('SIGTERM');
    assert.equal((await result).code, 0);
  });

  test('by leaving out the HTTP client behind fetch', async (t) => {
    const look = "process.on('exit', () => console.error('loaded', process.moduleLoadList.join()))";
    const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(look)}`;
    const { stop } = await startServer(t, path.join(await tempDir(t), 'data'), { env: { NODE_OPTIONS } });
    const { stderr } = await stop();
    assert.match(stderr, /loaded .*NativeModule _http_server/);
    assert.doesNotMatch(stderr, /undici/);
  });
});

describe('paths on the command line', () => {
  test('through npm are those of the folder where they were typed', needs('npm'), async (t) => {
    const dir = await realpath(await tempDir(t));
    await writeFile(path.join(dir, 'here.yaml'), 'listen: 127.0.0.1:4711\n');
    const args = ['--prefix', root, 'run', '--silent', 'airlock', '--', '--config', 'here.yaml', 'config', 'print'];
    const { code, stdout, stderr } = await ended(npm(args, { cwd: dir }));
    assert.equal(code, 0, stderr);
    assert.match(stdout, /listen: 127\.0\.0\.1:4711/);
  });

  for (const launcher of ['src/cli.ts', 'bin/airlock.mjs']) {
    test(`with ${launcher} too, and the default data directory is the clone's`, async (t) => {
      const dir = await tempDir(t);
      await writeFile(path.join(dir, 'here.yaml'), 'listen: 127.0.0.1:4711\n');
      const run = (args: readonly string[]) => launch(root, args, { cwd: dir, launcher });
      assert.match((await run(['--config', 'here.yaml', 'config', 'print'])).stdout, /listen: 127\.0\.0\.1:4711/);
      const help = (await run(['--help'])).stdout.replace(/\s+/g, ' ');
      assert.ok(help.includes(`default: "${path.join(root, 'storage')}"`), help);
    });
  }

  test('of another npm script are left alone', async (t) => {
    const dir = await tempDir(t);
    await writeFile(path.join(dir, 'here.yaml'), 'listen: 127.0.0.1:4711\n');
    const env = { INIT_CWD: '/', npm_package_json: path.join(dir, 'package.json') };
    const { stdout } = await launch(root, ['--config', 'here.yaml', 'config', 'print'], { cwd: dir, env });
    assert.match(stdout, /listen: 127\.0\.0\.1:4711/);
  });
});

describe('a first start', () => {
  const NAME = `node_modules/node-${process.platform}-${process.arch}`;

  test('installs the Node.js that is missing, once for all who start together', oldNode(), async (t) => {
    const clone = await makeClone(t, { present: {} });
    const results = await Promise.all(
      [1, 2, 3].map(() => launch(clone.dir, ['hello'], { node: SYSTEM_NODE, env: clone.env })),
    );
    for (const { code, stdout, stderr } of results) {
      assert.equal(code, 0, stderr);
      assert.equal(stdout, `hello from ${process.version}\n`);
    }
    assert.equal(await clone.installs(), 1);
  });

  test('installs it where all other packages are there', oldNode(), async (t) => {
    const clone = await makeClone(t, { present: { 'node_modules/other': { version: '1.0.0' } } });
    const { code, stdout, stderr } = await launch(clone.dir, ['hello'], { node: SYSTEM_NODE, env: clone.env });
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `hello from ${process.version}\n`);
    assert.equal(await clone.installs(), 1);
  });

  test('says what to do where npm leaves it out', oldNode(), async (t) => {
    const clone = await makeClone(t, { present: {}, leavesOut: true });
    const { code, stderr } = await launch(clone.dir, ['hello'], { node: SYSTEM_NODE, env: clone.env });
    assert.match(stderr, /Airlock needs Node\.js 24\.15 or newer; this is .* Run "npm install --include=optional" in /);
    assert.equal(code, 1);
  });

  test('says what to do where there is none for the platform', oldNode(), async (t) => {
    const clone = await makeClone(t, { present: {}, platform: 'plan9' });
    const { code, stderr } = await launch(clone.dir, ['hello'], { node: SYSTEM_NODE, env: clone.env });
    assert.match(stderr, /there is no packaged one for .*\. Install Node\.js 24\.15 or newer, from /);
    assert.equal(code, 1);
  });

  test('with a Node.js that is new enough goes on without the packaged one', async (t) => {
    const clone = await makeClone(t, { present: { 'node_modules/other': { version: '1.0.0' } } });
    const { code, stdout, stderr } = await launch(clone.dir, ['hello'], { env: clone.env });
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `hello from ${process.version}\n`);
    assert.equal(await clone.installs(), 0);
  });

  /** The launchers, a program of one line, and a stand-in for npm that puts this Node.js into its place, slowly. */
  async function makeClone(t: TestContext, { present, platform = process.platform, leavesOut = false }: CloneOptions) {
    const dir = await realpath(await tempDir(t));
    mkdirSync(path.join(dir, 'bin'));
    for (const file of ['airlock.mjs', 'launch.mjs', 'install.mjs']) {
      copyFileSync(path.join(root, 'bin', file), path.join(dir, 'bin', file));
    }
    await mkdir(path.join(dir, 'src'));
    await writeFile(
      path.join(dir, 'src', 'cli.ts'),
      "const [, , word]: string[] = process.argv; console.log(word, 'from', process.version);\n",
    );
    await writeFile(path.join(dir, 'package.json'), '{"type":"module"}');
    const pinned = { version: '24.21.0', optional: true, os: platform, cpu: process.arch };
    const packages = { '': {}, 'node_modules/other': { version: '1.0.0' }, [NAME]: pinned };
    await writeFile(path.join(dir, 'package-lock.json'), JSON.stringify({ packages }));
    await mkdir(path.join(dir, 'node_modules'));
    await writeFile(path.join(dir, 'node_modules', '.package-lock.json'), JSON.stringify({ packages: present }));
    const stand = path.join(dir, 'npm.js');
    const isPut = !leavesOut && platform === process.platform;
    await writeFile(stand, standIn(dir, isPut ? packages : { 'node_modules/other': { version: '1.0.0' } }, isPut));
    return {
      dir,
      env: { npm_execpath: stand },
      installs: async () =>
        existsSync(path.join(dir, 'installs')) ? (await readFile(path.join(dir, 'installs'), 'utf8')).length : 0,
    };
  }
});

interface CloneOptions {
  /** What npm says it has installed before. */
  readonly present: Record<string, { version: string }>;
  readonly platform?: string;
  readonly leavesOut?: boolean;
}

function standIn(dir: string, packages: unknown, isPut: boolean): string {
  return `import { appendFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
process.chdir(${JSON.stringify(dir)});
appendFileSync('installs', 'x');
await sleep(300);
mkdirSync('node_modules/.bin');
if (${isPut}) symlinkSync(${JSON.stringify(process.execPath)}, 'node_modules/.bin/node');
writeFileSync('node_modules/.package-lock.json', ${JSON.stringify(JSON.stringify({ packages }))});
`;
}

interface LaunchOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly launcher?: string;
  readonly node?: string | undefined;
}

function launch(clone: string, args: readonly string[], options: LaunchOptions = {}): Promise<CliResult> {
  const { cwd, env, launcher = 'bin/airlock.mjs', node = process.execPath } = options;
  const child = spawn(node, [path.join(clone, launcher), ...args], {
    cwd,
    env: { ...process.env, AIRLOCK_DATA: undefined, NODE_TEST_CONTEXT: undefined, INIT_CWD: undefined, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return ended(child);
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // all of it has ended
  }
}
