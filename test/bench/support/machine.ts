import { readFile } from 'node:fs/promises';
import os from 'node:os';
import type { Bench } from './bench.ts';
import { ON_CLIENT_CORE, ON_SERVER_CORE, run } from './processes.ts';

/** What the numbers were seen on, as a Markdown list. Tools that are not there are left out. */
export async function describeMachine(bench: Bench): Promise<string> {
  const cpu = /^model name\s*: (.*)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1] ?? os.arch();
  const facts = [
    `${os.availableParallelism()} cores, ${cpu}, ${Math.round(os.totalmem() / 2 ** 30)} GiB of memory`,
    `Linux ${os.release()}, files on ${await said(bench, ['findmnt', '-n', '-o', 'FSTYPE', '-T', bench.dir], /\S+/)}`,
    [
      `Node.js ${process.version}`,
      await said(bench, ['nginx', '-v'], /nginx\/\S+/),
      await said(bench, ['wrk', '-v'], /wrk \S+/),
      await said(bench, ['squid', '-v'], /(?<=Squid Cache: Version )\S+/).then(
        (version) => version && `Squid ${version}`,
      ),
    ]
      .filter((text) => text !== '')
      .join(', '),
    `${new Date().toISOString().slice(0, 16)}Z`,
  ];
  return facts.map((fact) => `- ${fact}\n`).join('');
}

const SPIN =
  'const c = process.cpuUsage(), t = performance.now(); while (performance.now() - t < 1000); const { user, system } = process.cpuUsage(c); console.log((user + system) / 1000 / (performance.now() - t))';

/** How much of the cores a program gets that wants all: `98 % and 57 %`. Less than 95 % means that others are at work. */
export async function freeCores(bench: Bench): Promise<string> {
  const shares = await Promise.all(
    [ON_SERVER_CORE, ON_CLIENT_CORE].map((pin) => run(bench, [...pin, process.execPath, '-e', SPIN])),
  );
  if (shares.some((share) => Number(share) < 0.95))
    bench.say('Others are at work on this machine: the numbers say little.');
  return shares.map((share) => `${Math.round(Number(share) * 100)} %`).join(' and ');
}

/** Programs tell their version on either output, and some fail while they do. */
async function said(bench: Bench, command: readonly string[], pattern: RegExp): Promise<string> {
  const output = await run(bench, ['sh', '-c', '"$@" 2>&1 || true', 'sh', ...command]);
  return pattern.exec(output)?.[0] ?? '';
}
