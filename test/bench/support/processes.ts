/**
 * Programs that are measured, and those that measure them.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type { Bench } from './bench.ts';

/** Put before a command. Server and client have a core each, so that neither takes from the other. */
export const ON_SERVER_CORE = ['taskset', '-c', '0'] as const;
export const ON_CLIENT_CORE = ['taskset', '-c', '1'] as const;

/** nginx lies in /usr/sbin, which not every user has on PATH. */
export const ENV: NodeJS.ProcessEnv = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

/** No program that is waited for takes longer. Milliseconds. */
const PATIENCE = 180_000;

/**
 * Runs a program to its end.
 * @returns its standard output
 * @throws Error with its standard error if it fails or takes too long
 */
export async function run(
  bench: Bench,
  [command = '', ...args]: readonly string[],
  timeout = PATIENCE,
): Promise<string> {
  const options = { env: ENV, signal: bench.signal, timeout, maxBuffer: 2 ** 24 };
  return (await promisify(execFile)(command, args, options)).stdout;
}

/** Stops a child process at Ctrl-C, so that whoever waits for it to end need not know of it. */
export function stopAtAbort({ signal }: Bench, child: ChildProcess): void {
  const kill = () => child.kill('SIGTERM');
  signal.addEventListener('abort', kill, { once: true });
  child.once('exit', () => signal.removeEventListener('abort', kill));
}

/** Has a child process stopped when the stack is disposed of: asked first, killed when it takes too long. */
export function stopLater(stack: AsyncDisposableStack, child: ChildProcess): void {
  stack.defer(() => stop(child));
}

/** Waits until the process is gone. May be called twice. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const kill = setTimeout(() => child.kill('SIGKILL'), 40_000);
  await gone;
  clearTimeout(kill);
}
