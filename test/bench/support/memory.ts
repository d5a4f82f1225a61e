import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Memory {
  /** Resident now, bytes. */
  readonly now: number;
  /** Most that ever was resident, bytes. */
  readonly peak: number;
}

/** @returns undefined when the process is gone */
export async function memoryOf(pid: number): Promise<Memory | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kilobytes = (field: string) => new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1];
  const [now, peak] = [kilobytes('VmRSS'), kilobytes('VmHWM')];
  return now === undefined || peak === undefined ? undefined : { now: Number(now) * 1024, peak: Number(peak) * 1024 };
}

/** From now on `peak` counts anew. */
export async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

/** Looks at a process until it is gone. @returns its last known peak, at most `every` milliseconds before its end */
export async function peakUntilGone(pid: number, every = 10): Promise<number> {
  let peak = 0;
  for (let memory = await memoryOf(pid); memory !== undefined; memory = await memoryOf(pid)) {
    peak = memory.peak;
    await sleep(every);
  }
  return peak;
}
