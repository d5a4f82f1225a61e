/** Squid, as Debian has it: in front of a site, or as the way out. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort, listening } from './ports.ts';

export interface Squid {
  /** Without a slash at its end. */
  readonly url: string;
  /** One line for each request: method, URL, status, bytes. */
  readonly accessLog: string;
  /** Waits until it is gone, with all its files. May be called twice. */
  stop(): Promise<void>;
}

export interface SquidOptions {
  /** As an accelerator in front of this port of the loopback; without it a forward proxy. */
  readonly originPort?: number;
  /** Directives of squid.conf. */
  readonly more?: (dir: string) => readonly string[];
  /** Stands before the command: `['taskset', '-c', '0']`. */
  readonly wrapper?: readonly string[];
  /** Without a log it is faster. */
  readonly hasAccessLog?: boolean;
}

/** Squid does not run as root; Debian has a user for it. */
const USER = 'proxy';
const ENV = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

/**
 * Starts one in a folder of its own, which its user can read. The caller stops it.
 * @throws Error if it does not listen after ten seconds
 */
export async function startSquid(options: SquidOptions): Promise<Squid> {
  const { wrapper = [], originPort, hasAccessLog = true, more = () => [] } = options;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'airlock-squid-'));
  const port = await freePort();
  const accessLog = path.join(dir, 'access.log');
  const isRoot = process.getuid?.() === 0;
  const front = [
    `http_port 127.0.0.1:${port} accel defaultsite=127.0.0.1:${originPort}`,
    `cache_peer 127.0.0.1 parent ${originPort} 0 no-query originserver`,
  ];
  const lines = [
    ...(originPort === undefined ? [`http_port 127.0.0.1:${port}`] : front),
    ...(isRoot ? [`cache_effective_user ${USER}`] : []),
    'logformat short %rm %ru %>Hs %<st',
    `access_log ${hasAccessLog ? `stdio:${accessLog} short` : 'none'}`,
    `cache_log ${path.join(dir, 'cache.log')}`,
    `coredump_dir ${dir}`,
    ...['pid_filename none', 'cache_store_log none', 'pinger_enable off', 'shutdown_lifetime 0 seconds'],
    ...['buffered_logs off', 'http_access allow all', ...more(dir), ''],
  ];
  const file = path.join(dir, 'squid.conf');
  // Those of one name would share memory.
  const service = `airlock${randomBytes(6).toString('hex')}`;
  const own = ['-N', '-n', service, '-f', file];
  writeFileSync(file, lines.join('\n'));
  if (isRoot) {
    chmodSync(dir, 0o755);
    execFileSync('chown', ['-R', USER, dir]);
  }
  if (lines.some((line) => line.startsWith('cache_dir '))) {
    execFileSync('squid', ['-z', ...own], { env: ENV, stdio: 'ignore' });
  }
  const [command = '', ...args] = [...wrapper, 'squid', ...own];
  const child = spawn(command, args, { env: ENV, stdio: 'ignore' });
  const stop = async () => {
    await end(child);
    rmSync(dir, { recursive: true, force: true });
    for (const segment of globSync(`/dev/shm/${service}-*`)) rmSync(segment, { force: true });
  };
  try {
    await listening(port);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: `http://127.0.0.1:${port}`, accessLog, stop };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const kill = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await gone;
  clearTimeout(kill);
}
