/**
 * How fast stored files are served, beside nginx and `express.static` with the same files.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { imageIso, publishFile } from '../media/vendor-site.ts';
import { freePort, listening } from '../support/ports.ts';
import { makeDataDir, runAirlock, startAirlock } from './support/airlock-server.ts';
import { type Expected, etagAt, mustAnswer } from './support/answer.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { GiB, hashFile, importFiles, KiB, type MadeFile, MiB, makeFile, storedAt } from './support/content.ts';
import { startNginx } from './support/nginx.ts';
import { ENV, ON_SERVER_CORE, stopLater } from './support/processes.ts';
import { ratios, spread, takeTurns } from './support/rounds.ts';
import { formatByteRate, formatRate, formatRatio } from './support/table.ts';
import { measure, type Throughput } from './support/wrk.ts';

export const serve: Group = {
  title: 'Serving',
  about: `One core for the server, one for \`wrk\` (one thread), loopback, warm page cache. nginx: one worker, \`sendfile on\`, access log off.
Ratios are Airlock ÷ peer of one round. Airlock runs without access log (\`log.access: false\`) but for the rows that say so.`,
  needs: ['nginx', 'wrk', 'curl', 'taskset=util-linux'],
  run,
};

type Unit = 'bytes' | 'requests';

/** Somebody who serves. */
interface Contestant {
  readonly name: string;
  readonly urlOf: (name: string) => string;
}

interface Contestants {
  readonly nginx: Contestant;
  readonly airlock: Contestant;
  /** Airlock with its access log. */
  readonly logging: Contestant;
  readonly express: Contestant;
}

interface Case {
  readonly what: string;
  readonly file: string;
  readonly connections: number;
  readonly unit: Unit;
  readonly expected: Expected;
  /** Header fields of the requests to this contestant. */
  readonly headersFor?: (contestant: Contestant) => Promise<readonly string[]>;
  /** Ratio to nginx that is wanted. */
  readonly target?: number;
  /** Ratio to `express.static` that is wanted. */
  readonly targetToExpress?: number;
}

const RANGE = { start: GiB / 2, end: GiB / 2 + MiB };

async function run(bench: Bench): Promise<readonly Row[]> {
  await using stack = new AsyncDisposableStack();
  const dir = path.join(bench.dir, 'files');
  await mkdir(dir);
  bench.say('making and importing 1 GiB, twice');
  const small = await makeFile(dir, '4KiB.bin', 4 * KiB);
  const medium = await makeFile(dir, '256KiB.bin', 256 * KiB);
  const large = await makeFile(dir, '1GiB.bin', GiB);
  const part = { size: MiB, digest: await hashFile(large.file, RANGE) };
  const contestants = await startAll(bench, stack, dir, [small, medium, large]);
  const nothing = { size: 0, digest: `sha256:${createHash('sha256').digest('hex')}` };
  const ifNoneMatch = async ({ urlOf }: Contestant) => [`If-None-Match: ${await etagAt(bench, urlOf(small.name))}`];
  const range = async () => [`Range: bytes=${RANGE.start}-${RANGE.end - 1}`];
  const whole = (body: MadeFile) => ({ file: body.name, expected: { status: 200, body } });
  const cases: Case[] = [
    { what: '1 GiB file', connections: 8, unit: 'bytes', target: 1.2, ...whole(large) },
    { what: '256 KiB file', connections: 32, unit: 'bytes', target: 1.2, ...whole(medium) },
    { what: '4 KiB file', connections: 32, unit: 'requests', target: 0.5, targetToExpress: 3, ...whole(small) },
    {
      what: '4 KiB file, `If-None-Match` → 304',
      file: small.name,
      connections: 32,
      unit: 'requests',
      expected: { status: 304, body: nothing },
      headersFor: ifNoneMatch,
    },
    {
      what: '1 MiB range of the 1 GiB file',
      file: large.name,
      connections: 32,
      unit: 'bytes',
      expected: { status: 206, body: part },
      headersFor: range,
    },
  ];
  const rows: Row[] = [];
  for (const one of cases) rows.push(...(await compare(bench, one, contestants)));
  rows.push(await measureListing(bench, contestants.airlock));
  return rows;
}

async function startAll(
  bench: Bench,
  stack: AsyncDisposableStack,
  dir: string,
  files: readonly MadeFile[],
): Promise<Contestants> {
  const quiet = await makeDataDir(bench, 'data', { accessLog: false });
  const logging = await makeDataDir(bench, 'data-with-log', { accessLog: true });
  for (const dataDir of [quiet, logging]) await importFiles(bench, dataDir, files);
  await importImages(bench, quiet);
  // Express gets the smallest only, and 1 GiB is on the disk twice already.
  for (const { file, size } of files) if (size === GiB) await rm(file);

  const ours = async (name: string, dataDir: string): Promise<Contestant> => {
    const { url } = await startAirlock(stack, dataDir);
    return { name, urlOf: (file) => (file.includes('/') ? `${url}/${file}` : `${url}/repos/files/${file}`) };
  };
  const nginx = await startNginx(bench, stack, new Map(files.map((file) => [file.name, storedAt(quiet, file)])));
  const express = await startExpress(bench, stack, dir);
  return {
    nginx: { name: 'nginx', urlOf: (file) => `${nginx}/${file}` },
    airlock: await ours('airlock', quiet),
    logging: await ours('airlock with access log', logging),
    express: { name: 'express.static', urlOf: (file) => `${express}/${file}` },
  };
}

async function startExpress(bench: Bench, stack: AsyncDisposableStack, folder: string): Promise<string> {
  const [command, ...pinned] = ON_SERVER_CORE;
  const port = await freePort();
  const script = path.join(import.meta.dirname, 'support', 'express-static.ts');
  const args = [...pinned, process.execPath, script, folder, String(port)];
  stopLater(stack, spawn(command, args, { env: { ...ENV, NODE_ENV: 'production' }, stdio: 'ignore' }));
  await listening(port, bench.signal);
  return `http://127.0.0.1:${port}`;
}

/** Everybody answers rightly, gets warm, is measured in turns, and still answers rightly. */
async function compare(bench: Bench, one: Case, contestants: Contestants): Promise<Row[]> {
  const { nginx, airlock, logging, express } = contestants;
  const all = [nginx, airlock, logging, ...(one.targetToExpress === undefined ? [] : [express])];
  const loads = new Map<Contestant, Parameters<typeof measure>[1]>();
  const check = async (contestant: Contestant) => {
    const url = contestant.urlOf(one.file);
    const headers = (await one.headersFor?.(contestant)) ?? [];
    const body = await mustAnswer(bench, url, headers, one.expected);
    return { url, headers, connections: one.connections, body };
  };
  for (const contestant of all) {
    const load = await check(contestant);
    loads.set(contestant, load);
    await measure(bench, load, Math.min(2, bench.seconds));
  }
  const results = await takeTurns(all, bench.rounds, async (contestant, round) => {
    const load = loads.get(contestant) ?? (await check(contestant));
    const rate = rateOf(await measure(bench, load, bench.seconds), one.unit);
    bench.say(`${one.what}, round ${round}: ${contestant.name} ${format(rate, one.unit)}`);
    return rate;
  });
  for (const contestant of all) await check(contestant);

  const rates = (contestant: Contestant) => results.get(contestant) ?? [];
  const row = (what: string, ours: Contestant, peer: Contestant, target?: number): Row => {
    const { median, min, max } = ratios(rates(ours), rates(peer));
    return {
      what,
      target: target === undefined ? '' : `≥ ${target}×`,
      result: `${formatRatio(median)} (${formatRatio(min)}–${formatRatio(max)})`,
      ...(target === undefined ? {} : { isMet: median >= target }),
      airlock: format(spread(rates(ours)).median, one.unit),
      peer: `${peer.name} ${format(spread(rates(peer)).median, one.unit)}`,
    };
  };
  return [
    row(one.what, airlock, nginx, one.target),
    row(`${one.what}, with access log`, logging, nginx),
    ...(one.targetToExpress === undefined ? [] : [row(one.what, airlock, express, one.targetToExpress)]),
  ];
}

const IMAGES = 50;

/** Small images with a sidecar each, so that there is a folder to list. */
async function importImages(bench: Bench, dataDir: string): Promise<void> {
  const medium = path.join(bench.dir, 'medium');
  await mkdir(medium);
  for (let number = 1; number <= IMAGES; number += 1) {
    const version = `6.3.0-${number}.r1.el7`;
    await publishFile(medium, `SSR-${version}.x86_64.ibu-v1.iso`, imageIso(version, {}, 10));
  }
  await runAirlock(bench, ['--data', dataDir, 'import', 'iso', 'force', 'hunt', medium]);
}

async function measureListing(bench: Bench, airlock: Contestant): Promise<Row> {
  const what = `folder listing, ${2 * IMAGES} files`;
  const url = airlock.urlOf('repos/images/6.3/');
  const body = await mustAnswer(bench, url, [], { status: 200, body: undefined });
  const load = { url, headers: [], connections: 32, body };
  await measure(bench, load, Math.min(2, bench.seconds));
  const results = await takeTurns([airlock], bench.rounds, async (_, round) => {
    const { requestsPerSecond } = await measure(bench, load, bench.seconds);
    bench.say(`${what}, round ${round}: ${formatRate(requestsPerSecond)}`);
    return requestsPerSecond;
  });
  const { median, min, max } = spread(results.get(airlock) ?? []);
  return {
    what,
    target: '',
    result: `${formatRate(median)} (${formatRate(min)}–${formatRate(max)})`,
    airlock: '',
    peer: '',
  };
}

function rateOf({ bytesPerSecond, requestsPerSecond }: Throughput, unit: Unit): number {
  return unit === 'bytes' ? bytesPerSecond : requestsPerSecond;
}

function format(rate: number, unit: Unit): string {
  return unit === 'bytes' ? formatByteRate(rate) : formatRate(rate);
}
