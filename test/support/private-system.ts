/** This machine as somebody else sees it: folders of the system are private copies, so that software can be installed. Needs root. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { needsRoot } from './needs.ts';

/** Options for tests that use one. */
export function needsPrivateSystem(...more: string[]): { skip?: string } {
  return needsRoot('unshare=util-linux', 'nsenter=util-linux', 'mount', ...more);
}

/** Hidden, so that nobody talks to the init system and the services of the machine. */
const EMPTY = ['opt', 'run', 'usr/local/bin', 'var/cache', 'var/lib'];

export interface PrivateSystem {
  /** Where a folder of its lies on the machine: `at('/opt/x')`. */
  at(name: string): string;
  /** Runs a command in there as root, with only the ordinary environment. Never throws for what the command ends with. */
  run(command: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }>;
}

/** @param dir an empty folder for what is private; the system is gone after the test */
export async function privateSystem(t: TestContext, dir: string): Promise<PrivateSystem> {
  for (const name of EMPTY) await mkdir(path.join(dir, name), { recursive: true });
  await cp('/etc', path.join(dir, 'etc'), { recursive: true, verbatimSymlinks: true, filter: isPlain });
  const mounts = ['etc', ...EMPTY].map((name) => `mount --bind '${path.join(dir, name)}' '/${name}'`);
  const script = `${mounts.join(' && ')} && echo ready && exec sleep infinity`;
  const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = once(holder, 'exit');
  t.after(async () => {
    holder.kill('SIGKILL');
    await gone;
  });
  await Promise.race([
    once(holder.stdout, 'data'),
    gone.then(([code]) => Promise.reject(new Error(`no mounts could be made: ${code}`))),
  ]);
  const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
  return {
    at: (name) => path.join(dir, name),
    async run(...command) {
      const args = ['--target', String(holder.pid), '--mount', ...command];
      return await promisify(execFile)('nsenter', args, { env }).then(
        (done) => ({ code: 0, ...done }),
        ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({ code, stdout, stderr }),
      );
    },
  };
}

/** Large, and of no use to anybody who installs. */
function isPlain(file: string): boolean {
  return !/^\/etc\/(?:alternatives|ssl|netns|java-[^/]*)(?:\/|$)/.test(file);
}
