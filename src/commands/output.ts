/**
 * What reaches the user: results on standard output, errors on standard error, nothing that a terminal would act on.
 */
import { fstatSync, writeFileSync } from 'node:fs';
import { AirlockError, storageFailure, systemCode } from '../errors.ts';
import { escapeControls } from '../repo/formats/quote.ts';

/** Characters that are written at once. */
const BATCH = 64 * 1024;

/** Whether `--json` was given, anywhere before `--`: asked before, or without, a command line that makes sense. */
export function wantsJson(): boolean {
  const end = process.argv.indexOf('--');
  return process.argv.slice(2, end < 0 ? undefined : end).includes('--json');
}

/**
 * Writes to standard output, all of it or not at all done.
 * @throws space.insufficient, output.failed
 */
export function printOut(text: string): void {
  if (isFile(1)) {
    // Node's stream for files takes a short write for a whole one.
    try {
      writeFileSync(1, text);
    } catch (error) {
      throw outputFailed(error);
    }
  } else {
    process.stdout.write(text);
  }
}

/** A text for people, without a closing line feed. Names from outside may stand in it. */
export function printText(text: string): void {
  if (text !== '') printOut(`${escapeControls(text)}\n`);
}

/** Writes pieces as they come, no faster than they are taken. */
export async function printPieces(pieces: AsyncIterable<string>): Promise<void> {
  let batch = '';
  for await (const piece of pieces) {
    batch += piece;
    if (batch.length < BATCH) continue;
    printOut(batch);
    batch = '';
    if (process.stdout.destroyed) return; // the reader went away
    if (process.stdout.writableNeedDrain) await drained();
  }
  printOut(batch);
}

function drained(): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      process.stdout.off('drain', end).off('close', end).off('error', end);
      resolve();
    };
    process.stdout.on('drain', end).on('close', end).on('error', end);
  });
}

export function printJson(document: unknown): void {
  printOut(`${JSON.stringify(document, null, 2)}\n`);
}

/** Under `--json`, the document that stands for a result. Never throws: standard error tells, too. */
export function printErrorDocument(error: AirlockError): void {
  try {
    if (wantsJson()) printJson({ error });
  } catch {
    // the exit code is that of the error, not that of a full disk
  }
}

/**
 * Prints an error: a line for people on standard error; under `--json` also the document, on standard output.
 * @returns the exit code
 */
export function printError(error: unknown): number {
  const known = asAirlockError(error);
  printErrorDocument(known);
  let text = `error (${known.code}): ${escapeControls(known.message)}\n`;
  if (known.code === 'internal' && error instanceof Error && process.env.AIRLOCK_DEBUG) text += `${error.stack}\n`;
  try {
    process.stderr.write(text);
  } catch {
    // and the exit code does in any case
  }
  return known.exitCode;
}

/**
 * Listens to what becomes of the output. A reader that went away (`airlock … | head -1`) is no failure: the work goes
 * on, and the exit code is that of the work. A standard output that takes no more is one; standard error is not.
 */
export function watchOutput(): void {
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error) => {
    if (systemCode(error) !== 'EPIPE') process.exitCode = printError(outputFailed(error));
  });
}

function outputFailed(cause: unknown): AirlockError {
  const code = systemCode(cause);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new AirlockError(
      'space.insufficient',
      'There is no space left for the output. What the command did stays done; free some space there and ask again.',
      { cause },
    );
  }
  return new AirlockError('output.failed', `The output could not be written (${code ?? String(cause)}).`, { cause });
}

/** Whether a descriptor is a file or a device that is no terminal; Node.js writes to them at once. */
function isFile(descriptor: number): boolean {
  try {
    const stats = fstatSync(descriptor);
    return stats.isFile() || (stats.isCharacterDevice() && !process.stdout.isTTY);
  } catch {
    return false;
  }
}

function asAirlockError(error: unknown): AirlockError {
  if (error instanceof AirlockError) return error;
  return storageFailure(error) ?? new AirlockError('internal', describe(error), { cause: error });
}

function describe(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return `${text}. Nothing that was acknowledged is lost; set AIRLOCK_DEBUG=1 to see where this comes from.`;
}
