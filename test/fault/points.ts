/** Where a command can be disturbed: its system calls, each by its number in its thread. */
import assert from 'node:assert/strict';
import { type Call, readTrace, runTraced } from '../support/strace.ts';

/** More of everything: every point instead of some, more rounds. */
export const isDeep = process.env.AIRLOCK_DEEP === '1';

/** A call that a command makes: the `nth` of its name in its thread. */
export interface Point {
  readonly thread: 'main' | 'pool';
  readonly nth: number;
  readonly call: Call;
}

/**
 * Runs a command undisturbed, to its success.
 * @param names of the calls wanted, with commas
 * @returns every call of these names, in the order in which they began
 */
export async function pointsOf(command: readonly string[], log: string, names: string): Promise<Point[]> {
  const { code, stderr, threads } = await runTraced(command, log, ['-y', '-e', `trace=${names}`]);
  assert.equal(code, 0, stderr);
  const counts = new Map<string, number>();
  return (await readTrace(log)).map((call) => {
    assert.ok(call.thread === threads.main || call.thread === threads.pool, `${call.name} in a third thread`);
    const thread = call.thread === threads.main ? 'main' : 'pool';
    const nth = (counts.get(`${thread} ${call.name}`) ?? 0) + 1;
    counts.set(`${thread} ${call.name}`, nth);
    return { thread, nth, call };
  });
}

/** Options for strace that do something to a call and to no other; strace must watch its thread alone. */
export function injectAt({ call: { name }, nth }: Point, fault: string): string[] {
  return ['-y', '-e', `trace=${name}`, '-e', `inject=${name}:${fault}:when=${nth}`];
}

/** True for a call on a file of this folder, or on the folder itself. */
export function isIn(folder: string, { call }: Point): boolean {
  return call.paths.some((each) => each === folder || each.startsWith(`${folder}/`));
}

/** `count` of them, or all in deep mode, spread evenly over the whole. */
export function some<T>(all: readonly T[], count: number): T[] {
  const slot = (index: number) => Math.floor((index * count) / all.length);
  return isDeep ? [...all] : all.filter((_, index) => slot(index) !== slot(index + 1));
}

export function describePoint({ thread, nth, call }: Point): string {
  return `${call.name} ${nth} of the ${thread} thread (${call.paths.join(', ')})`;
}
