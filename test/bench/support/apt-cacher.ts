import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { listening, lowPort } from '../../support/ports.ts';
import type { Bench } from './bench.ts';
import { ENV, ON_SERVER_CORE, stopLater } from './processes.ts';

/**
 * Starts apt-cacher-ng on the server's core, in front of another server. It knows no port above 32767, neither its own nor
 * that of the other one.
 * @returns its URL, without a slash at its end
 */
export async function startAptCacher(bench: Bench, stack: AsyncDisposableStack, origin: string): Promise<string> {
  const dir = path.join(bench.dir, 'apt-cacher-ng');
  for (const name of ['cache', 'log', 'run']) await mkdir(path.join(dir, name), { recursive: true });
  const port = await lowPort();
  await writeFile(path.join(dir, 'acng.conf'), configuration(dir, port, origin));
  const [command, ...pinned] = ON_SERVER_CORE;
  stopLater(stack, spawn(command, [...pinned, 'apt-cacher-ng', '-c', dir], { env: ENV, stdio: 'ignore' }));
  await listening(port, bench.signal);
  return `http://127.0.0.1:${port}/site`;
}

function configuration(dir: string, port: number, origin: string): string {
  return `CacheDir: ${dir}/cache
LogDir: ${dir}/log
SocketPath: ${dir}/run/socket
PidFile: ${dir}/run/pid
Port: ${port}
BindAddress: 127.0.0.1
ForeGround: 1
VerboseLog: 0
PfilePatternEx: .*\\.iso
Remap-site: /site ; ${origin}
`;
}
