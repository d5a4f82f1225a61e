/**
 * `npm run bench`: measures Airlock beside its peers and prints Markdown (docs/benchmarks.md tells what, and why).
 * `npm run bench -- serve import` runs some groups; `--seconds N` and `--rounds N` make it shorter or longer.
 *
 * Not a test: no time makes it fail. Wrong bytes do, ours or a peer's.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { needs } from '../support/needs.ts';
import { bundles } from './bundles.ts';
import { importing } from './import.ts';
import { memory } from './memory.ts';
import { mirror } from './mirror.ts';
import { packages } from './packages.ts';
import { proxy } from './proxy.ts';
import { serve } from './serve.ts';
import { start } from './start.ts';
import type { Bench, Group } from './support/bench.ts';
import { describeMachine, freeCores } from './support/machine.ts';
import { formatTable } from './support/table.ts';

const GROUPS: Readonly<Record<string, Group>> = {
  serve,
  memory,
  start,
  import: importing,
  packages,
  proxy,
  bundles,
  mirror,
};

/** What a program that was just stopped still writes must not keep its folder. */
const REMOVE = { recursive: true, force: true, maxRetries: 10, retryDelay: 200 };

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '5' }, rounds: { type: 'string', default: '5' } },
});
const names = positionals.length > 0 ? positionals : Object.keys(GROUPS);
const groups = names.map(
  (name) => GROUPS[name] ?? refuse(`There is no group ${name}. There are: ${Object.keys(GROUPS).join(', ')}.`),
);
const { skip } = needs(...groups.flatMap((group) => group.needs));
if (skip !== undefined) refuse(skip);
if (os.availableParallelism() < 2) refuse('Server and client need a core each, and this machine has one.');

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interruption.abort());
process.stdout.on('error', () => interruption.abort()); // whoever reads it is gone
const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-bench-'));
const bench: Bench = {
  dir,
  signal: interruption.signal,
  seconds: wholeNumber('seconds', values.seconds),
  rounds: wholeNumber('rounds', values.rounds),
  say: (text) => process.stderr.write(`${text}\n`),
};
try {
  process.stdout.write(`\n## Results\n\n${await describeMachine(bench)}`);
  for (const { title, about, run } of groups) {
    bench.say(`— ${title}`);
    const before = await freeCores(bench);
    const folder = await mkdtemp(path.join(dir, 'group-'));
    const rows = await run({ ...bench, dir: folder });
    await rm(folder, REMOVE);
    const free = `Free of the two cores: ${before} before, ${await freeCores(bench)} after.`;
    process.stdout.write(`\n### ${title}\n\n${about}\n\n${formatTable(rows)}\n${free}\n`);
  }
} catch (error) {
  bench.say(bench.signal.aborted ? 'Interrupted.' : String(error instanceof Error ? error.message : error));
  process.exitCode = 1;
} finally {
  await rm(dir, REMOVE);
}

function wholeNumber(name: string, text: string): number {
  return /^[1-9]\d{0,3}$/.test(text) ? Number(text) : refuse(`--${name} takes a whole number, not ${text}.`);
}

function refuse(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}
