/**
 * Ctrl-C and SIGTERM. The first one asks the command to come to an end; where it does not listen, and at a second one,
 * the process ends at once: nothing that was acknowledged is lost by that.
 */
import { AirlockError } from '../errors.ts';
import { printError } from './output.ts';

/** npm, the launcher and the system may each hand on the same signal: what comes so soon after is no second one. */
const SAME = 1000;

const controller = new AbortController();
let isHeard = false;
let first: number | undefined;

/** Fires at the first signal. */
export const interruption: AbortSignal = controller.signal;

/** As `interruption`; whoever takes it promises to come to an end soon after it fired. */
export function listenToInterruption(): AbortSignal {
  isHeard = true;
  return interruption;
}

/** To be called once, before any work. */
export function hearSignals(): void {
  process.on('SIGINT', hear).on('SIGTERM', hear);
}

/** What a command ends with that was stopped before it did anything. */
export function interrupted(): AirlockError {
  return new AirlockError('interrupted', 'Stopped before it was done. Run the same command again to go on.');
}

function hear(): void {
  const now = performance.now();
  if (first !== undefined && now - first < SAME) return;
  const isFirst = first === undefined;
  first ??= now;
  if (!isFirst || !isHeard) process.exit(printError(interrupted()));
  if (process.stderr.isTTY) process.stderr.write('\nStopping. Once more ends it at once.\n');
  controller.abort(interrupted());
}
