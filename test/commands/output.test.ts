import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { airlock, type CliResult, ended, startCli } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { inTerminal } from '../support/terminal.ts';

const CLI = path.join(import.meta.dirname, '..', '..', 'src', 'cli.ts');

describe('a command line that makes no sense, under --json, gives one JSON document', () => {
  const lines = [
    ['--json'],
    ['--json', 'nonsense'],
    ['--json', 'repo', 'show'],
    ['repo', 'list', '--json', '--nonsense'],
  ];
  for (const args of lines) {
    test(args.join(' '), async () => {
      const { code, stdout, stderr } = await airlock(args);
      const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
      assert.equal(error.code, 'usage.invalid');
      assert.notEqual(error.message, '');
      assert.match(stderr, /--help/);
      assert.equal(code, 2);
    });
  }
});

describe('standard output', () => {
  test('whose reader went away is no failure', async () => {
    const names = Array.from({ length: 20_000 }, (_, index) => `6.3.${index}-1-sts`);
    const child = startCli(['release', 'sort', ...names]);
    const result = ended(child);
    child.stdout?.destroy();
    const { code, stderr } = await result;
    assert.equal(stderr, '');
    assert.equal(code, 0);
  });

  const full = { skip: !existsSync('/dev/full') && 'no /dev/full here' };
  test('that is full is one, with its exit code', full, async () => {
    const { code, stderr } = await intoFullDisk(['release', 'sort', '6.3.0-1-sts']);
    assert.match(stderr, /error \(space\.insufficient\): There is no space left for the output/);
    assert.equal(code, 6);
  });

  test('that is full does not hide another error', full, async () => {
    const { code, stderr } = await intoFullDisk(['--json', 'nonsense']);
    assert.match(stderr, /^error: unknown command 'nonsense'\n.*\n$/);
    assert.equal(code, 2);
  });
});

async function intoFullDisk(args: readonly string[]): Promise<CliResult> {
  const full = await open('/dev/full', 'w');
  try {
    return await ended(spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', full.fd, 'pipe'] }));
  } finally {
    await full.close();
  }
}

describe('the data directory', () => {
  test('is the default one if AIRLOCK_DATA is empty', async (t) => {
    const { stdout } = await airlock(['--help'], { cwd: await tempDir(t), env: { AIRLOCK_DATA: '' } });
    assert.match(stdout.replace(/\s+/g, ' '), /default: "\/[^"]*\/storage"/);
  });

  test('may be named after the command, too, but not after "--"', async (t) => {
    const dir = await tempDir(t);
    for (const [name, words] of Object.entries({
      a: ['--data', path.join(dir, 'a')],
      b: [`--data=${path.join(dir, 'b')}`],
    })) {
      const { code, stderr } = await airlock(['repo', 'create', '--kind', 'file', 'tools', ...words]);
      assert.equal(code, 0, stderr);
      assert.ok(existsSync(path.join(dir, name, 'catalog.sqlite')));
    }
    for (const words of [['--', '--data'], ['--data']]) {
      const { code, stderr } = await airlock(['repo', 'create', '--kind', 'file', ...words], {
        env: { AIRLOCK_DATA: path.join(dir, 'c') },
      });
      assert.deepEqual([code, stderr.includes('--data')], [2, true], stderr);
    }
  });

  for (const below of ['', 'below']) {
    test(`cannot be ${below === '' ? 'a file' : 'below a file'}`, async (t) => {
      const file = path.join(await tempDir(t), 'file');
      await writeFile(file, '');
      const { code, stderr } = await airlock(['--data', path.join(file, below), 'repo', 'list']);
      assert.match(stderr, /error \(usage\.invalid\): The data directory .*file.* is no folder/);
      assert.equal(code, 2);
    });
  }
});

test('words that are not understood are shown without what a terminal would act on', async () => {
  const { code, stderr } = await airlock(['import', 'iso', '\u009b2J\x1b[2J']);
  assert.ok(!stderr.includes('\u009b') && !stderr.includes('\x1b'));
  assert.equal(code, 2);
});

test('the bar shows rate, time left and the file', needs('script=bsdutils'), async (t) => {
  const dir = await tempDir(t);
  const file = path.join(dir, 'large.bin');
  await writeFile(file, '');
  await truncate(file, 256 * 2 ** 20);
  const { result, type } = inTerminal([
    ...['--data', path.join(dir, 'data'), 'import', 'file', '--repository', 'r', '--path', 'large.bin', file],
  ]);
  const { code, stdout } = await result;
  type('\x04');
  assert.equal(code, 0);
  assert.match(stdout, /\d+% [\d.]+ [kMG]B\/s ETA \d+:\d\d large\.bin/);
  assert.ok(stdout.lastIndexOf('\x1b[?25h') > stdout.lastIndexOf('\x1b[?25l'), 'the cursor is shown again');
});

test('a bar that is cut short shows the cursor again', needs('script=bsdutils'), async (t) => {
  const dir = await tempDir(t);
  const file = path.join(dir, 'large.bin');
  await writeFile(file, '');
  await truncate(file, 1024 * 2 ** 20);
  const terminal = inTerminal([
    ...['--data', path.join(dir, 'data'), 'import', 'file', '--repository', 'r', '--path', 'large.bin', file],
  ]);
  await terminal.shown(/ETA \d/);
  terminal.type('\x03');
  const { code, stdout } = await terminal.result;
  assert.equal(code, 5);
  assert.ok(stdout.lastIndexOf('\x1b[?25h') > stdout.lastIndexOf('\x1b[?25l'));
});
