import { limits } from '../../limits.ts';

export interface ScheduleParts {
  /** Upstreams, by name. */
  readonly names: readonly string[];
  /** Milliseconds between two syncs of one of them. */
  readonly every: number;
  /** When one was last mirrored; undefined: never. What it throws is told to `failed`, and then nobody knows. */
  readonly last: (name: string) => Promise<Date | undefined>;
  /** Mirrors one. What it throws is told to `failed`; the next time comes as if it had not. */
  readonly run: (name: string, signal: AbortSignal) => Promise<void>;
  /** Told of what `last` and `run` throw. */
  readonly failed: (name: string, error: unknown) => void;
  readonly now: () => number;
  /** Returns after so many milliseconds, or when the signal fires. */
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  /** From 0 up to, not including, 1. */
  readonly random: () => number;
}

export interface Schedule {
  /** Ends what runs, and starts nothing more. What failed before is no failure of this. */
  stop(): Promise<void>;
}

/** A timer of the system cannot sleep for longer than 24 days. */
const NAP = 24 * 3600_000;

/**
 * Mirrors upstreams again and again, one at a time. A restart does not begin the time anew; each time is a little late, by
 * chance, so that the sites of a fleet do not all ask at once. None is further away than one interval, whatever the clock
 * said before it was set right.
 */
export function startSchedule({ names, every, last, run, failed, now, sleep, random }: ScheduleParts): Schedule {
  const stop = new AbortController();
  const late = (time: number) => time * limits.mirror.jitter * random();
  const firstTime = async (name: string): Promise<number> => {
    const before = await told(name, () => last(name));
    if (before === undefined) return now() + late(Math.min(every, limits.mirror.soon));
    return Math.min(Math.max(now(), before.getTime() + every), now() + every) + late(every);
  };
  const told = async <T>(name: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      failed(name, error);
      return undefined;
    }
  };
  const work = async (): Promise<void> => {
    const times = new Map<string, number>();
    for (const name of names) times.set(name, await firstTime(name));
    while (!stop.signal.aborted) {
      const [name, time] = [...times].toSorted(([, a], [, b]) => a - b)[0] ?? ['', Number.POSITIVE_INFINITY];
      const wait = time - now();
      if (wait > every * (1 + limits.mirror.jitter)) {
        times.set(name, now() + every); // the clock went back
        continue;
      }
      if (wait > 0) {
        await sleep(Math.min(wait, NAP), stop.signal);
        continue;
      }
      await told(name, () => run(name, stop.signal));
      times.set(name, now() + every + late(every));
    }
  };
  const done = names.length === 0 ? Promise.resolve() : work();
  done.catch(() => undefined); // whoever stops it hears of it
  return {
    async stop() {
      stop.abort();
      await done;
    },
  };
}
