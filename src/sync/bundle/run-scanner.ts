/** A program of somebody else, over which we keep the upper hand: what it says is bounded, and it ends when we do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../limits.ts';
import { throwIfAborted } from '../../repo/staging.ts';
import type { CommandWords } from './command-words.ts';

export interface ScannerInput {
  /** Stand after the arguments of the command. */
  readonly files: readonly string[];
  /** For its standard input, read only as fast as it reads; it need not. */
  readonly lines: Iterable<string>;
  readonly environment: Readonly<Record<string, string>>;
  readonly output: OutputTail;
  readonly signal: AbortSignal;
}

/** What a scanner may know of our environment. */
const PASSED_ON = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'LC_ALL', 'TZ'];

/**
 * Runs a scanner to its end, however long that takes, in a process group of its own; whatever is left of the group then,
 * or when `signal` fires, is ended.
 * @returns undefined if it accepts (exit code 0), else how it ended, in words
 * @throws interrupted
 */
export async function runScanner(command: CommandWords, input: ScannerInput): Promise<string | undefined> {
  throwIfAborted(input.signal);
  const env = Object.fromEntries(PASSED_ON.map((name) => [name, process.env[name]]));
  const child = spawn(command.program, [...command.args, ...input.files], {
    detached: true, // a group of its own; the Ctrl-C of a terminal reaches us alone
    env: { ...env, ...input.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const killAll = () => signalGroup(child, 'SIGKILL');
  process.on('exit', killAll); // a second Ctrl-C ends us without further words
  const stop = () => void endGroup(child, ended);
  const ended = endOf(child);
  child.stdout.on('data', (bytes: Buffer) => input.output.add(bytes));
  child.stderr.on('data', (bytes: Buffer) => input.output.add(bytes));
  // It need not listen, and may end before all is said.
  const told = pipeline(Readable.from(input.lines), child.stdin).catch(() => undefined);
  input.signal.addEventListener('abort', stop, { once: true });
  if (input.signal.aborted) stop();
  try {
    const outcome = await ended;
    killAll();
    await closed(child);
    await told;
    throwIfAborted(input.signal);
    return outcome;
  } finally {
    input.signal.removeEventListener('abort', stop);
    process.off('exit', killAll);
  }
}

/** Never fails. */
async function endOf(child: ChildProcess): Promise<string | undefined> {
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    if (code === 0) return undefined;
    return code === null ? `it was ended by ${signal}` : `it ended with exit code ${code}`;
  } catch (error) {
    return `it could not be started (${error instanceof Error ? error.message : String(error)})`;
  }
}

/** Its last words; who left the group and holds the pipes open is not waited for. */
async function closed(child: ChildProcess): Promise<void> {
  const streams = [child.stdin, child.stdout, child.stderr];
  if (child.pid !== undefined && child.stdout?.closed !== true) {
    const timeout = new AbortController();
    await Promise.race([
      once(child, 'close').catch(() => undefined),
      sleep(limits.scan.lastWords, undefined, { signal: timeout.signal }).catch(() => undefined),
    ]);
    timeout.abort();
  }
  for (const stream of streams) stream?.destroy();
}

/** It may tidy up; if it does not, it is ended. */
async function endGroup(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  signalGroup(child, 'SIGTERM');
  const timeout = new AbortController();
  const late = sleep(limits.scan.stopWait, true, { signal: timeout.signal }).catch(() => false);
  if (await Promise.race([ended.then(() => false), late])) signalGroup(child, 'SIGKILL');
  timeout.abort();
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // nobody is left
  }
}

/** The end of what programs say, however much that is. */
export class OutputTail {
  #bytes: Buffer = Buffer.alloc(0);
  #isCut = false;

  add(bytes: Buffer): void {
    const all = Buffer.concat([this.#bytes, bytes.subarray(-limits.scan.output)]);
    this.#isCut ||= this.#bytes.length + bytes.length > limits.scan.output;
    this.#bytes = all.subarray(-limits.scan.output);
  }

  /** There was more before. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** In whole lines, where the beginning was cut. */
  text(): string {
    const text = this.#bytes.toString('utf8');
    return this.#isCut ? text.slice(text.indexOf('\n') + 1) : text;
  }
}
