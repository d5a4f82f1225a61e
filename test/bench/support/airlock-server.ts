import type { ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type CliOptions, ended, startCli } from '../../support/cli.ts';
import type { Bench } from './bench.ts';
import { ON_SERVER_CORE, stopAtAbort, stopLater } from './processes.ts';

export interface AirlockServer {
  /** Without a slash at its end. */
  readonly url: string;
  readonly child: ChildProcess;
}

/**
 * Starts `airlock serve`, or another command, on the server's core, as users do; stopped with the stack.
 * @throws Error with what it printed if it ends instead
 */
export async function startAirlock(
  stack: AsyncDisposableStack,
  dataDir: string,
  options: CliOptions = {},
): Promise<AirlockServer> {
  const { command = ['serve'] } = options;
  const child = startCli(['--data', dataDir, ...command, '--listen', '127.0.0.1:0'], {
    wrapper: ON_SERVER_CORE,
    launched: true,
    ...options,
  });
  stopLater(stack, child);
  const result = ended(child);
  const url = await new Promise<string>((resolve, reject) => {
    let seen = '';
    child.stdout?.on('data', (text: string) => {
      seen += text;
      const match = /http:\/\/\S+/.exec(seen);
      if (match !== null) resolve(match[0].replace(/\/$/, ''));
    });
    result.then(({ code, stderr }) => reject(new Error(`airlock serve ended with ${code}: ${stderr}`)), reject);
  });
  return { url, child };
}

/**
 * Runs a command of Airlock to its end.
 * @param onStart told of the process when it has been started
 * @returns its standard output
 * @throws Error with what it printed if it fails
 */
export async function runAirlock(
  bench: Bench,
  args: readonly string[],
  options: CliOptions = {},
  onStart: (child: ChildProcess) => void = () => {},
): Promise<string> {
  const child = startCli(args, options);
  stopAtAbort(bench, child);
  onStart(child);
  const { code, signal, stdout, stderr } = await ended(child);
  if (code !== 0) throw new Error(`airlock ${args.join(' ')} ended with ${code ?? signal}: ${stderr}`);
  return stdout;
}

/** A data directory of its own under the bench's folder. @param accessLog whether the server will write one, to a file */
export async function makeDataDir(bench: Bench, name: string, { accessLog }: { accessLog: boolean }): Promise<string> {
  const dataDir = path.join(bench.dir, name);
  await mkdir(dataDir);
  await writeFile(
    path.join(dataDir, 'airlock.yaml'),
    `memoryCache: 32MiB\nlog: { access: ${accessLog}, file: access.log }\n`,
  );
  return dataDir;
}
