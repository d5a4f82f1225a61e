/** A small file system in memory, to be filled up. Needs root. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { systemCode } from '../../src/errors.ts';

export interface TinyDisk {
  readonly dir: string;
  /** Takes the space there is, but for `spare` bytes, until `relieve`. */
  fill(spare?: number): void;
  relieve(): void;
}

/** Mounts one; unmounted and removed after the test. @param mebibytes its size */
export function makeTinyDisk(t: TestContext, mebibytes: number): TinyDisk {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'airlock-tiny-'));
  t.after(() => {
    spawnSync('umount', ['-l', dir]);
    rmSync(dir, { recursive: true, force: true });
  });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', dir]);
  const filler = path.join(dir, 'filler');
  const free = () => {
    const { bavail, bsize } = statfsSync(dir);
    return bavail * bsize;
  };
  return { dir, fill: (spare = 0) => fillUp(filler, free() - spare), relieve: () => rmSync(filler) };
}

function fillUp(filler: string, bytes: number): void {
  try {
    writeFileSync(filler, Buffer.alloc(bytes));
  } catch (error) {
    if (systemCode(error) !== 'ENOSPC') throw error;
  }
}
