/**
 * What strace saw of a process, read back; and the command line run under strace, thread by thread.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CliResult, ended, startCli } from './cli.ts';
import { needs } from './needs.ts';

/** One system call. */
export interface Call {
  /** Thread that made it; 0 where strace watched one thread only. */
  readonly thread: number;
  readonly name: string;
  /** As strace prints them. With `-y` descriptors carry their paths: `27</data/blobs>`. */
  readonly args: string;
  /** Absolute paths among the arguments, of descriptors (with `-y`) and of names, as they come. */
  readonly paths: readonly string[];
  /** `0`, `-1 EIO (Input/output error) (INJECTED)`; `?` if the process died in it. */
  readonly result: string;
  /** Places in the order of all that strace saw: when it began, and when it was done (Infinity: never). */
  readonly began: number;
  readonly ended: number;
}

/**
 * Reads what `strace -o` wrote, with or without `-f`. A call that other threads interrupted stands in two lines there
 * (`<unfinished ...>`, `<... resumed>`) and is one call here. Calls come in the order in which they began.
 */
export function parseTrace(text: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, { at: number; began: number; name: string; args: string }>();
  for (const [index, line] of text.split('\n').entries()) {
    const [, pid = '', event = ''] = /^(?:(\d+) +)?(.*)$/.exec(line) ?? [];
    const place = { thread: Number(pid), began: index, ended: index };
    const whole = /^(\w+)\((.*)\)\s+= (.*)$/.exec(event);
    const unfinished = /^(\w+)\((.*?),? <unfinished \.\.\.>$/.exec(event);
    const resumed = /^<\.\.\. (\w+) resumed>,? ?(.*)\)\s+= (.*)$/.exec(event);
    if (resumed !== null) {
      const [, name = '', rest = '', result = ''] = resumed;
      const begun = open.get(`${pid} ${name}`);
      if (begun === undefined) continue; // it was under way before strace came
      open.delete(`${pid} ${name}`);
      const args = [begun.args, rest].filter((part) => part !== '').join(', ');
      calls[begun.at] = call({ ...place, began: begun.began }, name, args, result);
    } else if (unfinished !== null) {
      const [, name = '', args = ''] = unfinished;
      open.set(`${pid} ${name}`, { at: calls.length, began: index, name, args });
      calls.push(call({ ...place, ended: Number.POSITIVE_INFINITY }, name, args, '?'));
    } else if (whole !== null) {
      const [, name = '', args = '', result = ''] = whole;
      const isDeath = result.startsWith('?');
      calls.push(call({ ...place, ended: isDeath ? Number.POSITIVE_INFINITY : index }, name, args, result));
    }
  }
  return calls;
}

export async function readTrace(file: string): Promise<Call[]> {
  return parseTrace(await readFile(file, 'utf8'));
}

function call(place: Pick<Call, 'thread' | 'began' | 'ended'>, name: string, args: string, result: string): Call {
  const paths = [...args.matchAll(/<(\/[^<>]*)>|"(\/[^"]*)"/g)].map(([, opened, named]) => opened ?? named ?? '');
  return { ...place, name, args, paths, result };
}

/**
 * strace to stand before a program, for more options to follow: on all its threads, and only the calls that are asked for
 * stop them. Else strace would take longer than the program. Not for `signal=…`, which is not sent then.
 */
export const STRACE: readonly string[] = ['strace', '-f', '--seccomp-bpf'];

/** As `STRACE`. @param fault to inject: `error=…` or `signal=…` */
export function straceFor(fault: string): readonly string[] {
  return fault.includes('signal=') ? ['strace', '-f'] : STRACE;
}

/** Options for tests that use `startTraced` or `runTraced`. */
export function needsTracing(): { skip?: string } {
  const options = needs('strace');
  if (options.skip !== undefined || mayAttach()) return options;
  const reason = 'strace may not attach to processes: run as root, or sysctl kernel.yama.ptrace_scope=0';
  if (process.env.CI === 'true') throw new Error(reason);
  return { skip: reason };
}

function mayAttach(): boolean {
  const setting = '/proc/sys/kernel/yama/ptrace_scope';
  return process.getuid?.() === 0 || !existsSync(setting) || readFileSync(setting, 'latin1').trim() === '0';
}

/** A command of Airlock under strace, on its way. */
export interface Traced {
  /** The two threads of Node.js that make file system calls, as they stand in the trace. */
  readonly threads: { readonly main: number; readonly pool: number };
  readonly child: ChildProcess;
  /** What came of it. */
  readonly result: Promise<CliResult>;
  /** Waits until the process was stopped by an injected `signal=SIGSTOP`. @throws if it ends instead */
  stopped(): Promise<void>;
}

const HOLD = path.join(import.meta.dirname, 'held-child.ts');

/**
 * Starts a command of Airlock with one thread in libuv's pool, and strace on all its threads or on one of them: strace
 * counts `when=` by thread, so only so every call of each can be hit. The caller sees to its end.
 * @param thread which one strace watches; by default all of them
 * @param options of strace, such as `-e inject=…`; its log goes to `log`
 */
export async function startTraced(
  args: readonly string[],
  log: string,
  options: readonly string[],
  thread?: 'main' | 'pool',
): Promise<Traced> {
  const child = startCli(args, { env: { UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: `--import=${HOLD}` } });
  const result = ended(child);
  try {
    const main = await heldStill(child);
    const threads = { main, pool: poolThread(main) };
    const target = thread === undefined ? ['-f', '-p', `${main}`] : ['-p', `${threads[thread]}`];
    const strace = await attach([...target, '-o', log, ...options]);
    child.kill('SIGCONT');
    return {
      threads,
      child,
      result: result.then(async (outcome) => {
        await strace.end();
        return outcome;
      }),
      stopped: () => waitForStop(child, log),
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/** As `startTraced`, to the end. */
export async function runTraced(
  ...parameters: Parameters<typeof startTraced>
): Promise<CliResult & Pick<Traced, 'threads'>> {
  const { result, threads } = await startTraced(...parameters);
  return { ...(await result), threads };
}

/** Waits until the process has stopped itself. @returns its id */
async function heldStill(child: ChildProcess): Promise<number> {
  await until(child, (pid) => states(pid).every((state) => state === 'T'));
  return child.pid ?? 0;
}

async function waitForStop(child: ChildProcess, log: string): Promise<void> {
  const isStopped = () => /--- SIGSTOP \{[\s\S]*--- stopped by SIGSTOP/.test(readFileSync(log, 'latin1'));
  await until(child, (pid) => isStopped() && states(pid).every((state) => state === 'T' || state === 't'));
}

async function until(child: ChildProcess, isSo: (pid: number) => boolean): Promise<void> {
  while (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    if (isSo(child.pid)) return;
    await sleep(2);
  }
  throw new Error('the process ended, and was not stopped before');
}

/** Of all threads of a process: `T` for a stopped one, `t` for one that strace holds (proc(5)). */
function states(pid: number): (string | undefined)[] {
  return threadsOf(pid).map((id) => /\) (\w) /.exec(fileOf(pid, id, 'stat'))?.[1]);
}

function poolThread(pid: number): number {
  const [only, ...others] = threadsOf(pid).filter((id) => fileOf(pid, id, 'comm').startsWith('libuv-worker'));
  if (only === undefined || others.length > 0) throw new Error('libuv has not one thread in its pool');
  return Number(only);
}

function threadsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`);
}

function fileOf(pid: number, thread: string, name: string): string {
  return readFileSync(`/proc/${pid}/task/${thread}/${name}`, 'latin1');
}

/** Resolves when strace holds its target. @returns something that ends with strace */
async function attach(args: readonly string[]): Promise<{ end(): Promise<unknown> }> {
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const closed = once(strace, 'close');
  let said = '';
  await new Promise<void>((resolve, reject) => {
    strace.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('attached')) resolve();
    });
    closed.then(() => reject(new Error(`strace could not attach: ${said}`)), reject);
  });
  return { end: () => closed };
}
