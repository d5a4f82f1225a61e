/**
 * Routers: what is kept is served beside Squid, and a large image that is not there yet is wanted by many.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startSquid } from '../support/squid.ts';
import { type AirlockServer, makeDataDir, startAirlock } from './support/airlock-server.ts';
import { mustAnswer } from './support/answer.ts';
import { startAptCacher } from './support/apt-cacher.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { GiB, KiB, type MadeFile, MiB, makeFile } from './support/content.ts';
import type { Crowd } from './support/crowd-child.ts';
import { forgetPeak, memoryOf } from './support/memory.ts';
import { startNginx } from './support/nginx.ts';
import { ON_CLIENT_CORE, ON_SERVER_CORE, run as runProgram, stopLater } from './support/processes.ts';
import { ratios, spread, takeTurns } from './support/rounds.ts';
import { formatByteRate, formatMemory, formatRate, formatRatio, formatSeconds } from './support/table.ts';
import type { Sent } from './support/thin-origin-child.ts';
import { formatSpread } from './support/ways.ts';
import { measure } from './support/wrk.ts';

const CLIENTS = 100;
/** Bytes per second of the line to the source. A hundred clients then get a hundred times as much. */
const LINE = 8e6;
const MEMORY = 256 * MiB;

export const proxy: Group = {
  title: 'Routers',
  about: `Kept files: one core for the server, one for \`wrk\`, loopback. Squid is an accelerator in front of the same nginx, with Debian's
settings, a cache on disk and in memory and collapsed forwarding, without access log, as Airlock. apt-cacher-ng is in front of it, too. Cold image: ${CLIENTS} clients, half of them at once and half of
them later, every fifth for a range of an eighth; the line to the source carries ${formatByteRate(LINE)}; every byte is compared.`,
  needs: ['squid', 'apt-cacher-ng', 'nginx', 'wrk', 'curl', 'taskset=util-linux'],
  run,
};

async function run(bench: Bench): Promise<readonly Row[]> {
  return [...(await hits(bench)), ...(await cold(bench))];
}

interface Case {
  readonly file: MadeFile;
  readonly what: string;
  readonly connections: number;
  readonly unit: 'requests' | 'bytes';
  readonly target: number;
}

async function hits(bench: Bench): Promise<Row[]> {
  await using stack = new AsyncDisposableStack();
  const dir = path.join(bench.dir, 'files');
  await mkdir(dir);
  const small = { file: await makeFile(dir, '4KiB.iso', 4 * KiB), what: '4 KiB' };
  const medium = { file: await makeFile(dir, '256KiB.iso', 256 * KiB), what: '256 KiB' };
  const large = { file: await makeFile(dir, '1GiB.iso', GiB), what: '1 GiB' };
  const cases: readonly Case[] = [
    { ...small, connections: 32, unit: 'requests', target: 1 },
    { ...medium, connections: 32, unit: 'bytes', target: 3 },
    { ...large, connections: 8, unit: 'bytes', target: 5 },
  ];
  const files = new Map(cases.map(({ file }) => [`repos/images/${file.name}`, file.file]));
  const nginx = await startNginx(bench, stack, files);
  const airlock = { name: 'airlock', url: (await startRouter(bench, stack, nginx, 'router')).url };
  const squid = { name: 'Squid', url: await startAccelerator(stack, Number(new URL(nginx).port)) };
  const cacher = { name: 'apt-cacher-ng', url: await startAptCacher(bench, stack, nginx) };
  const rows: Row[] = [];
  for (const one of cases) rows.push(...(await compare(bench, one, airlock, [squid, cacher])));
  await rm(dir, { recursive: true });
  return rows;
}

async function startRouter(
  bench: Bench,
  stack: AsyncDisposableStack,
  upstream: string,
  name: string,
): Promise<AirlockServer> {
  const dataDir = await makeDataDir(bench, name, { accessLog: false });
  return await startAirlock(stack, dataDir, { command: ['proxy', '--upstream', upstream] });
}

/** @returns its URL */
async function startAccelerator(stack: AsyncDisposableStack, originPort: number): Promise<string> {
  const squid = await startSquid({
    originPort,
    wrapper: ON_SERVER_CORE,
    hasAccessLog: false,
    more: (dir) => [
      `cache_dir ufs ${dir}/cache 4000 16 256`,
      'cache_mem 256 MB',
      'maximum_object_size 2 GB',
      'collapsed_forwarding on',
      // nginx says nothing of how long its files are good
      'refresh_pattern . 10080 100% 10080',
    ],
  });
  stack.defer(() => squid.stop());
  return squid.url;
}

interface Contestant {
  readonly name: string;
  readonly url: string;
}

/** All have the file, answer rightly, are measured in turns, and still answer rightly. The target is for the first peer. */
async function compare(
  bench: Bench,
  one: Case,
  airlock: Contestant,
  peers: readonly Contestant[],
): Promise<readonly Row[]> {
  const { file, what, connections, unit, target } = one;
  const all = [airlock, ...peers];
  const urlOf = ({ url }: Contestant) => `${url}/repos/images/${file.name}`;
  const check = (contestant: Contestant) =>
    mustAnswer(bench, urlOf(contestant), [], { status: 200, body: { size: file.size, digest: file.digest } });
  const load = (contestant: Contestant) => ({ url: urlOf(contestant), headers: [], connections, body: file.size });
  for (const contestant of all) {
    await check(contestant);
    if (contestant.name !== 'apt-cacher-ng') await mustHit(bench, urlOf(contestant)); // it does not say
    await measure(bench, load(contestant), Math.min(2, bench.seconds));
  }
  const format = unit === 'bytes' ? formatByteRate : formatRate;
  const results = await takeTurns(all, bench.rounds, async (contestant, round) => {
    const { bytesPerSecond, requestsPerSecond } = await measure(bench, load(contestant), bench.seconds);
    const rate = unit === 'bytes' ? bytesPerSecond : requestsPerSecond;
    bench.say(`${what}, round ${round}: ${contestant.name} ${format(rate)}`);
    return rate;
  });
  for (const contestant of all) await check(contestant);
  const ours = results.get(airlock) ?? [];
  return peers.map((peer, index) => {
    const theirs = results.get(peer) ?? [];
    const rates = ratios(ours, theirs);
    return {
      what: `${what} kept`,
      target: index === 0 ? `≥ ${target}×` : '',
      result: formatSpread(rates),
      ...(index === 0 ? { isMet: rates.median >= target } : {}),
      airlock: format(spread(ours).median),
      peer: `${peer.name} ${format(spread(theirs).median)}`,
    };
  });
}

/** Waits until an answer says that it came from the cache. @throws Error after ten seconds */
async function mustHit(bench: Bench, url: string): Promise<void> {
  let head = '';
  for (let i = 0; i < 100; i += 1) {
    head = await runProgram(bench, ['curl', '--silent', '--show-error', '--head', url]);
    if (/^x-cache: (?:TCP_)?(?:MEM_)?HIT/im.test(head)) return;
    await sleep(100, undefined, { signal: bench.signal });
  }
  throw new Error(`${url} is not kept: ${head}`);
}

interface Line {
  readonly url: string;
  sent(name: string): Promise<Sent>;
}

async function cold(bench: Bench): Promise<Row[]> {
  await using stack = new AsyncDisposableStack();
  const dir = path.join(bench.dir, 'far');
  await mkdir(dir);
  const isShort = bench.seconds < 5;
  const size = isShort ? 256 * MiB : GiB;
  const image = await makeFile(dir, 'image.iso', size);
  const line = await startLine(bench, stack, dir);
  const router = await startRouter(bench, stack, line.url, 'cold-router');
  const firstBytes = await firstByteDelays(bench, dir, line, router);

  bench.say(`one direct download of ${size / MiB} MiB over the line`);
  const direct = await crowd(bench, `${line.url}/repos/images/${image.name}`, image.file, 1, 0);
  const seconds = (direct.lastDoneAt - direct.startedAt) / 1000;
  const before = await line.sent(image.name);
  bench.say(`${CLIENTS} clients of the router`);
  const pid = router.child.pid ?? 0;
  await forgetPeak(pid);
  const all = await crowd(bench, `${router.url}/repos/images/${image.name}`, image.file, CLIENTS, seconds);
  const took = (all.lastDoneAt - all.startedAt) / 1000;
  const sent = await line.sent(image.name);
  const [bytes, gets] = [sent.bytes - before.bytes, sent.gets - before.gets];
  const peak = (await memoryOf(pid))?.peak ?? Number.NaN;
  const delay = spread(firstBytes);
  const what = `${isShort ? '256 MiB' : '1 GiB'} cold, ${CLIENTS} clients`;
  return [
    {
      what: `${what}: bytes sent by the source ÷ size`,
      target: '1.00×',
      result: formatRatio(bytes / size),
      isMet: bytes < 1.005 * size,
      airlock: `${bytes} bytes in ${gets} answers`,
      peer: '',
    },
    {
      what: `${what}: last one done ÷ one direct download`,
      target: '≤ 1.2×',
      result: formatRatio(took / seconds),
      isMet: took <= 1.2 * seconds,
      airlock: formatSeconds(took),
      peer: `direct ${formatSeconds(seconds)}`,
    },
    {
      what: 'first byte, after the source has sent it',
      target: '≤ 20 ms',
      result: `${delay.median.toFixed(1)} ms (${delay.min.toFixed(1)}–${delay.max.toFixed(1)})`,
      isMet: delay.median <= 20,
      airlock: '',
      peer: '',
    },
    {
      what: `${what}: resident memory, peak`,
      target: `≤ ${MEMORY / MiB} MiB`,
      result: formatMemory(peak),
      isMet: peak <= MEMORY,
      airlock: '',
      peer: '',
    },
  ];
}

/** Of one client of a file that nobody asked for before, in each round. Milliseconds. */
async function firstByteDelays(bench: Bench, dir: string, line: Line, router: AirlockServer): Promise<number[]> {
  const delays: number[] = [];
  for (let round = 0; round <= bench.rounds; round += 1) {
    const { name, file } = await makeFile(dir, `first-${round}.iso`, 8 * MiB);
    const { firstByteAt } = await crowd(bench, `${router.url}/repos/images/${name}`, file, 1, 0);
    // the very first one warms up what has never run
    if (round > 0) delays.push(firstByteAt - (await line.sent(name)).firstByteAt);
  }
  return delays;
}

async function startLine(bench: Bench, stack: AsyncDisposableStack, dir: string): Promise<Line> {
  const script = path.join(import.meta.dirname, 'support', 'thin-origin-child.ts');
  const [command, ...pinned] = ON_CLIENT_CORE;
  const args = [...pinned, process.execPath, script, dir, String(LINE)];
  const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], signal: bench.signal });
  child.on('error', () => undefined); // at Ctrl-C
  stopLater(stack, child);
  const { stdout } = child;
  if (stdout === null) throw new Error('no output');
  const [url] = (await once(stdout.setEncoding('utf8'), 'data')) as [string];
  const base = url.trim();
  return {
    url: base,
    async sent(name) {
      const counts = (await (await fetch(`${base}/counts`)).json()) as Readonly<Record<string, Sent>>;
      return counts[name] ?? { gets: 0, bytes: 0, firstByteAt: 0 };
    },
  };
}

/** @throws Error if any of them got other bytes, or not all */
async function crowd(bench: Bench, url: string, file: string, clients: number, seconds: number): Promise<Crowd> {
  const script = path.join(import.meta.dirname, 'support', 'crowd-child.ts');
  const words = [...ON_CLIENT_CORE, process.execPath, script, url, file, String(clients), String(seconds)];
  const result = JSON.parse(await runProgram(bench, words, LONG)) as Crowd;
  if (result.faults.length > 0) throw new Error(`Wrong answers. ${url}: ${result.faults.join('; ')}`);
  return result;
}

/** The whole image over the line, several times over. Milliseconds. */
const LONG = 1_200_000;
