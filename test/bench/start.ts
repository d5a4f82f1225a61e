/**
 * How long it takes from the command to the first answer.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { ended, startCli } from '../support/cli.ts';
import { makeDataDir } from './support/airlock-server.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { importFiles, KiB, type MadeFile, makeFile } from './support/content.ts';
import { ENV, ON_SERVER_CORE, stop } from './support/processes.ts';
import { spread, takeTurns } from './support/rounds.ts';
import { formatSeconds } from './support/table.ts';

export const start: Group = {
  title: 'Start',
  about:
    'From starting the process, on one core, to the last byte of a 4 KiB file. Node.js keeps compiled code where `NODE_COMPILE_CACHE` says; the launchers of `bin/` set it.',
  needs: ['taskset=util-linux'],
  run,
};

/** Seconds. */
const TARGET = 1;

interface Way {
  readonly what: string;
  readonly start: () => ChildProcess;
}

async function run(bench: Bench): Promise<readonly Row[]> {
  const dir = path.join(bench.dir, 'start');
  await mkdir(dir);
  const file = await makeFile(dir, '4KiB.bin', 4 * KiB);
  const dataDir = await makeDataDir(bench, 'start-data', { accessLog: true });
  await importFiles(bench, dataDir, [file]);

  const args = ['--data', dataDir, 'serve', '--listen', '127.0.0.1:0'];
  const NODE_COMPILE_CACHE = path.join(dir, 'compile-cache');
  const direct = (env: Record<string, string>) => startCli(args, { wrapper: ON_SERVER_CORE, env });
  const ways: Way[] = [
    { what: '`node src/cli.ts serve`, compile cache filled', start: () => direct({ NODE_COMPILE_CACHE }) },
    { what: '`node src/cli.ts serve`, no compile cache', start: () => direct({ NODE_DISABLE_COMPILE_CACHE: '1' }) },
    {
      what: '`npm start` without npm: `node bin/airlock.mjs serve`',
      start: () => launch(args, { NODE_COMPILE_CACHE }),
    },
  ];
  for (const way of ways) await measure(bench, way, file);
  const results = await takeTurns(ways, bench.rounds, async (way, round) => {
    const seconds = await measure(bench, way, file);
    bench.say(`${way.what}, round ${round}: ${formatSeconds(seconds)}`);
    return seconds;
  });
  return ways.map((way) => {
    const { median, min, max } = spread(results.get(way) ?? []);
    return {
      what: way.what,
      target: `≤ ${TARGET} s`,
      result: `${formatSeconds(median)} (${formatSeconds(min)}–${formatSeconds(max)})`,
      isMet: median <= TARGET,
      airlock: '',
      peer: '',
    };
  });
}

function launch(args: readonly string[], env: Record<string, string>): ChildProcess {
  const [command, ...pinned] = ON_SERVER_CORE;
  const launcher = path.join(import.meta.dirname, '..', '..', 'bin', 'airlock.mjs');
  const options = {
    env: { ...ENV, AIRLOCK_DATA: undefined, ...env },
    stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'],
  };
  return spawn(command, [...pinned, process.execPath, launcher, ...args], options);
}

/** @returns seconds. @throws Error if the server ends instead, or answers wrongly */
async function measure(bench: Bench, way: Way, file: MadeFile): Promise<number> {
  const before = performance.now();
  const child = way.start();
  try {
    const url = await urlPrinted(child);
    const response = await fetch(`${url}/repos/files/${file.name}`, { signal: bench.signal });
    const bytes = await response.bytes();
    const seconds = (performance.now() - before) / 1000;
    if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== file.digest) {
      throw new Error(`Wrong answer. ${way.what}: status ${response.status}, ${bytes.length} bytes`);
    }
    return seconds;
  } finally {
    await stop(child);
  }
}

function urlPrinted(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = '';
    ended(child).then(({ code, stderr }) => reject(new Error(`airlock serve ended with ${code}: ${stderr}`)), reject);
    child.stdout?.on('data', (text: string) => {
      seen += text;
      const match = /http:\/\/[^\s/]+/.exec(seen);
      if (match !== null) resolve(match[0]);
    });
  });
}
