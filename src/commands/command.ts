/**
 * What all commands share: the global options, how a result and an error reach the user, and how work is interrupted.
 */
import { statSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import type { App } from '../app.ts';
import { AirlockError, EXIT, systemCode } from '../errors.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import type { Progress } from '../repo/progress.ts';
import { listenToInterruption } from './interruption.ts';
import { printJson, printText } from './output.ts';
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

/** Of a command that prints what it has to say while it works, because it may be much. */
export const PRINTED: Result = { json: undefined, text: '' };

export interface Session {
  readonly options: GlobalOptions;
  /** Draws on standard error. */
  readonly progress: Progress;
  /** Fires at Ctrl-C and SIGTERM. Whoever takes it promises to come to an end soon after; else they end the process. */
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
    const progress = terminalProgress(process.stderr);
    const session: Session = {
      options,
      progress,
      get signal() {
        return listenToInterruption();
      },
    };
    try {
      print(options, await work(session, ...(args as Args)));
    } finally {
      progress.stop();
    }
  });
}

/** As `action`, for commands that work on a data directory: it is opened before and closed after. */
export function appAction<Args extends unknown[]>(
  command: Command,
  work: (app: App, session: Session, ...args: Args) => Promise<Result>,
): Command {
  return action<Args>(command, async (session, ...args) => {
    // Only here: commands that need no data directory do not wait for the database.
    const { openApp } = await import('../app.ts');
    const app = await openApp(appOptions(session.options));
    try {
      return await work(app, session, ...args);
    } finally {
      await app.close();
    }
  });
}

/**
 * What a data directory is opened with.
 * @throws usage.invalid if a file stands where the folder should be
 */
export function appOptions({ data, config }: GlobalOptions): { dataDir: string; configFile?: string } {
  if (!mayBeFolder(data)) {
    throw new AirlockError(
      'usage.invalid',
      `The data directory ${quoteUnsafe(data)} is no folder. Name one with --data DIR or AIRLOCK_DATA.`,
    );
  }
  return { dataDir: data, ...(config === undefined ? {} : { configFile: config }) };
}

/** A folder, or nothing yet. What else is wrong with it shows when it is opened. */
function mayBeFolder(name: string): boolean {
  try {
    return statSync(name).isDirectory();
  } catch (error) {
    return systemCode(error) !== 'ENOTDIR';
  }
}

function print(options: GlobalOptions, result: Result): void {
  if (result === PRINTED) return;
  if (options.json === true) printJson(result.json);
  else printText(result.text);
  process.exitCode = result.exitCode ?? EXIT.done;
}

/** For commander: a positive whole number. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1 on.');
  return value;
}
