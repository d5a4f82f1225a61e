/**
 * Commands that take turns: everybody gets warm, and then they are timed in rounds.
 */
import { runAirlock } from './airlock-server.ts';
import type { Bench, Row } from './bench.ts';
import { peakUntilGone } from './memory.ts';
import { run as runProgram } from './processes.ts';
import { ratios, type Spread, spread, takeTurns } from './rounds.ts';
import { formatMemory, formatRatio, formatSeconds } from './table.ts';

/** Somebody who is timed. */
export interface Way {
  readonly name: string;
  /** @returns seconds */
  readonly go: (round: number) => Promise<number>;
}

/** Everybody gets warm, then they take turns. @returns the seconds of each */
export async function turns(bench: Bench, ways: readonly Way[]): Promise<(way: Way) => readonly number[]> {
  const go = async (way: Way, round: number) => {
    const time = await way.go(round);
    bench.say(`${round === 0 ? 'warm-up' : `round ${round}`}: ${way.name} ${formatSeconds(time)}`);
    return time;
  };
  for (const way of ways) await go(way, 0);
  const results = await takeTurns(ways, bench.rounds, go);
  return (way) => results.get(way) ?? [];
}

export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const before = performance.now();
  await work();
  return (performance.now() - before) / 1000;
}

export async function timed(bench: Bench, command: readonly string[]): Promise<number> {
  return await seconds(() => runProgram(bench, command));
}

/** Runs a command of Airlock, with the flags of Node.js that the launchers set. @returns the peak of resident memory, bytes */
export async function peakOf(bench: Bench, args: readonly string[]): Promise<number> {
  let peak = Promise.resolve(0);
  await runAirlock(bench, args, { launched: true }, ({ pid = 0 }) => {
    peak = peakUntilGone(pid);
  });
  return await peak;
}

/** Both have written what they had to. @returns seconds of Airlock ÷ those of the peer, less is better */
export function timeRow(
  what: string,
  most: number | undefined,
  [ours, theirs]: readonly [readonly number[], readonly number[]],
  peer: string,
): Row {
  const times = ratios(ours, theirs);
  return {
    what,
    target: most === undefined ? '' : `≤ ${most}×`,
    result: formatSpread(times),
    ...(most === undefined ? {} : { isMet: times.median <= most }),
    airlock: formatSeconds(spread(ours).median),
    peer: `${peer} ${formatSeconds(spread(theirs).median)}`,
  };
}

/** @param peak bytes @param most bytes */
export function memoryRow(what: string, peak: number, most: number): Row {
  return {
    what,
    target: `≤ ${formatMemory(most)}`,
    result: formatMemory(peak),
    isMet: peak <= most,
    airlock: '',
    peer: '',
  };
}

export function formatSpread({ median, min, max }: Spread): string {
  return `${formatRatio(median)} (${formatRatio(min)}–${formatRatio(max)})`;
}
