import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import type { Scope } from './scope.ts';

const root = path.join(import.meta.dirname, '..', '..');
const CLI = path.join(root, 'src', 'cli.ts');
const LAUNCHER = path.join(root, 'bin', 'airlock.mjs');
/** As the launchers set it. */
const NODE_COMPILE_CACHE = path.join(root, 'node_modules', '.cache', 'airlock');

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Stand before the Node.js binary: `['strace', '-f']`. */
  readonly wrapper?: readonly string[];
  /** By the launcher, which sets flags of Node.js; it puts the program in its own place. */
  readonly launched?: boolean;
  /** Of `startServer`: in place of `serve`. */
  readonly command?: readonly string[];
  /** Of `startServer`: HOST:PORT; by default a free port of the loopback. */
  readonly listen?: string;
}

/** Starts the command line as users do; standard input is no terminal. */
export function startCli(args: readonly string[], options: CliOptions = {}): ChildProcess {
  const { wrapper = [], launched = false } = options;
  const [command = '', ...rest] = [...wrapper, process.execPath, launched ? LAUNCHER : CLI, ...args];
  return spawn(command, rest, {
    cwd: options.cwd,
    env: { ...process.env, AIRLOCK_DATA: undefined, NODE_TEST_CONTEXT: undefined, NODE_COMPILE_CACHE, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Runs a command of Airlock to its end. */
export async function airlock(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return await ended(startCli(args, options));
}

/** As `airlock`, with `--json`: also gives the document. */
export async function airlockJson<T>(
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliResult & { json: T }> {
  const result = await airlock(['--json', ...args], options);
  return { ...result, json: JSON.parse(result.stdout) as T };
}

/** Collects what a process prints until it ends. */
export function ended(child: ChildProcess): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export interface RunningServer {
  readonly url: string;
  readonly child: ChildProcess;
  /** SIGTERM, and what came of it. */
  stop(): Promise<CliResult>;
}

/** Starts `airlock serve`, by default on a free port of the loopback; stopped after the test at the latest. */
export async function startServer(t: Scope, dataDir: string, options: CliOptions = {}): Promise<RunningServer> {
  const { command = ['serve'], listen = '127.0.0.1:0' } = options;
  const child = startCli(['--data', dataDir, ...command, '--listen', listen], options);
  const result = ended(child);
  const url = await new Promise<string>((resolve, reject) => {
    let seen = '';
    child.stdout?.on('data', (text: string) => {
      seen += text;
      const match = /https?:\/\/\S+/.exec(seen);
      if (match !== null) resolve(match[0].replace(/\/$/, ''));
    });
    result.then(({ code, stderr }) => reject(new Error(`the server ended with ${code}: ${stderr}`)), reject);
  });
  const stop = () => {
    child.kill('SIGTERM');
    return result;
  };
  t.after(stop);
  return { url, child, stop };
}
