/**
 * What all commands share: the global options, how a result and an error reach the user, and how work is interrupted.
 */
import { type Command, InvalidArgumentError } from 'commander';
import { type App, openApp } from '../app.ts';
import { AirlockError, EXIT } from '../errors.ts';
import type { Progress } from '../repo/progress.ts';
import { terminalProgress } from './terminal-progress.ts';

export interface GlobalOptions {
  readonly data: string;
  readonly config?: string;
  readonly json?: boolean;
}

/** What a command has to say: a document for programs, a text for people. One of them is printed. */
export interface Result {
  readonly json: unknown;
  /** Without a closing line feed. */
  readonly text: string;
  /** Default 0. */
  readonly exitCode?: number;
}

export interface Session {
  readonly options: GlobalOptions;
  /** Draws on standard error. */
  readonly progress: Progress;
  /** Fires at Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
}

/**
 * Makes the action of a command: runs `work`, prints its result, and sets the exit code.
 * `work` gets the positional arguments and options that commander gives to actions.
 */
export function action<Args extends unknown[]>(
  command: Command,
  work: (session: Session, ...args: Args) => Promise<Result>,
): Command {
  // A global option, but forgiven when it stands after the command.
  command.option('--json', 'print one JSON document on standard output');
  return command.action(async (...args: unknown[]) => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const interruption = new AbortController();
    const interrupt = () => interruption.abort();
    process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
    const progress = terminalProgress(process.stderr);
    try {
      print(options, await work({ options, progress, signal: interruption.signal }, ...(args as Args)));
    } finally {
      progress.stop();
      process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    }
  });
}

/** As `action`, for commands that work on a data directory: it is opened before and closed after. */
export function appAction<Args extends unknown[]>(
  command: Command,
  work: (app: App, session: Session, ...args: Args) => Promise<Result>,
): Command {
  return action<Args>(command, async (session, ...args) => {
    const app = await openApp(appOptions(session.options));
    try {
      return await work(app, session, ...args);
    } finally {
      await app.close();
    }
  });
}

export function appOptions({ data, config }: GlobalOptions): { dataDir: string; configFile?: string } {
  return { dataDir: data, ...(config === undefined ? {} : { configFile: config }) };
}

function print(options: GlobalOptions, result: Result): void {
  if (options.json === true) process.stdout.write(`${JSON.stringify(result.json, null, 2)}\n`);
  else if (result.text !== '') process.stdout.write(`${result.text}\n`);
  process.exitCode = result.exitCode ?? EXIT.done;
}

/** Prints an error: a line for people on standard error; under `--json` also the document, on standard output. */
export function printError(error: unknown, json: boolean): number {
  const known = error instanceof AirlockError ? error : new AirlockError('internal', describe(error), { cause: error });
  if (json) process.stdout.write(`${JSON.stringify({ error: known }, null, 2)}\n`);
  process.stderr.write(`error (${known.code}): ${known.message}\n`);
  if (known.code === 'internal' && error instanceof Error && process.env.AIRLOCK_DEBUG)
    process.stderr.write(`${error.stack}\n`);
  return known.exitCode;
}

function describe(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return `${text}. Nothing that was acknowledged is lost; set AIRLOCK_DEBUG=1 to see where this comes from.`;
}

/** For commander: a positive whole number. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1 on.');
  return value;
}
