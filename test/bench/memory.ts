/**
 * How much memory a server needs: idle, and for a thousand clients on thin links.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDataDir, startAirlock } from './support/airlock-server.ts';
import { mustAnswer } from './support/answer.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { GiB, importFiles, KiB, MiB, makeFile, storedAt } from './support/content.ts';
import { forgetPeak, memoryOf } from './support/memory.ts';
import { ON_CLIENT_CORE, run as runProgram, stop } from './support/processes.ts';
import { formatMemory } from './support/table.ts';

const CLIENTS = 1000;
/** Bytes per second and client. */
const RATE = 20 * KiB;
/** Long enough for the system's own buffers to be full, so that the server has to wait for every client. */
const SECONDS = 40;

export const memory: Group = {
  title: 'Memory',
  about: `Resident memory of the server. ${CLIENTS} clients download the same 1 GiB file at ${RATE / KiB} KiB/s each, for ${SECONDS} s; every byte is compared.`,
  needs: ['curl', 'taskset=util-linux'],
  run,
};

/** What slow-clients.ts prints. */
export interface SlowClients {
  /** Clients whose every byte was right, and whose download was under way to the end. */
  readonly served: number;
  /** Bytes that the client got who got fewest. */
  readonly least: number;
  readonly faults: readonly string[];
}

async function run(bench: Bench): Promise<readonly Row[]> {
  await using stack = new AsyncDisposableStack();
  const dir = path.join(bench.dir, 'memory');
  await mkdir(dir);
  bench.say('making and importing 1 GiB');
  const small = await makeFile(dir, '4KiB.bin', 4 * KiB);
  const large = await makeFile(dir, '1GiB.bin', GiB);
  const dataDir = await makeDataDir(bench, 'memory-data', { accessLog: true });
  await importFiles(bench, dataDir, [small, large]);
  // As on any day but the first: Node.js has kept the compiled code. Compiling costs memory, too.
  await stop((await startAirlock(stack, dataDir)).child);
  const { url, child } = await startAirlock(stack, dataDir);
  const pid = child.pid ?? 0;
  await mustAnswer(bench, `${url}/repos/files/${small.name}`, [], { status: 200, body: small });
  await sleep(3000, undefined, { signal: bench.signal });
  const idle = await seen(pid);
  bench.say(`idle: ${formatMemory(idle.now)}`);

  await forgetPeak(pid);
  const script = path.join(import.meta.dirname, 'support', 'slow-clients.ts');
  const args = [`${url}/repos/files/${large.name}`, CLIENTS, RATE, SECONDS, storedAt(dataDir, large)].map(String);
  const clients = runProgram(bench, [...ON_CLIENT_CORE, process.execPath, script, ...args]);
  const during = await watch(bench, pid, url, clients);
  const { served, least, faults } = JSON.parse(await clients) as SlowClients;
  if (served !== CLIENTS)
    throw new Error(`only ${served} of ${CLIENTS} slow clients were served: ${faults.join('; ')}`);
  const { peak } = await seen(pid);
  bench.say(`peak: ${formatMemory(peak)}; every client got at least ${Math.round(least / KiB)} KiB`);

  await sleep(15_000, undefined, { signal: bench.signal });
  const after = await seen(pid);
  await mustAnswer(bench, `${url}/repos/files/${large.name}`, [], { status: 200, body: large });
  return [
    row('idle, after the first request', idle.now, 100 * MiB),
    row(`${CLIENTS} slow downloads, peak`, peak, 256 * MiB),
    row(`${CLIENTS} slow downloads, at the end`, during),
    row('15 s after they are gone', after.now),
  ];
}

/** @returns what is resident at the end. @throws Error if the server never had all clients at once */
async function watch(bench: Bench, pid: number, url: string, clients: Promise<unknown>): Promise<number> {
  const gone = clients.then(
    () => true,
    () => true,
  );
  let resident = 0;
  let inFlight = 0;
  while (!(await Promise.race([gone, sleep(2000, false, { signal: bench.signal })]))) {
    resident = (await seen(pid)).now;
    const metrics = await (await fetch(`${url}/metrics`, { signal: bench.signal })).text();
    inFlight = Math.max(inFlight, Number(/^airlock_http_in_flight (\d+)/m.exec(metrics)?.[1] ?? 0));
    bench.say(`${formatMemory(resident)} resident`);
  }
  if (inFlight < CLIENTS) throw new Error(`the server had ${inFlight} of ${CLIENTS} clients at once`);
  return resident;
}

async function seen(pid: number): Promise<{ now: number; peak: number }> {
  const memory = await memoryOf(pid);
  if (memory === undefined) throw new Error('the server is gone');
  return memory;
}

function row(what: string, bytes: number, target?: number): Row {
  return {
    what,
    target: target === undefined ? '' : `≤ ${formatMemory(target)}`,
    result: formatMemory(bytes),
    ...(target === undefined ? {} : { isMet: bytes <= target }),
    airlock: '',
    peer: '',
  };
}
