/** A file system of its own for a test, on a file, whose power can be cut. Needs root. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { needsRoot } from './needs.ts';

export type LoopKind = 'xfs' | 'ext4';

/** Options for tests that use one. */
export function needsLoopDisk(kind: LoopKind, ...more: string[]): { skip?: string } {
  return needsRoot('mount', 'losetup', `mkfs.${kind}`, 'xfs_io', ...more);
}

export interface LoopDisk {
  /** Where it is mounted. */
  readonly dir: string;
  /** Everything written so far becomes durable. */
  sync(): void;
  /** As if the power were cut, or the stick pulled: what is not durable is lost, everything else fails with EIO. */
  cut(): void;
  unmount(): void;
  mount(...options: string[]): void;
}

/** XFS is not made any smaller. */
const MIB = { xfs: 320, ext4: 256 };

/** Makes and mounts one; unmounted, detached and removed after the test. */
export function makeLoopDisk(t: TestContext, kind: LoopKind): LoopDisk {
  const place = mkdtempSync(path.join(os.tmpdir(), `airlock-${kind}-`));
  const image = path.join(place, 'image');
  const dir = path.join(place, 'mounted');
  let isMounted = false;
  const unmount = () => {
    if (isMounted) run('umount', dir);
    isMounted = false;
  };
  const mount = (...options: string[]) => {
    // The loop device goes with the mount.
    run('mount', '-t', kind, '-o', ['loop', ...options].join(), image, dir);
    isMounted = true;
  };
  t.after(() => {
    if (isMounted) spawnSync('umount', ['-l', dir]);
    rmSync(place, { recursive: true, force: true });
  });
  mkdirSync(dir);
  writeFileSync(image, '');
  truncateSync(image, MIB[kind] * 2 ** 20);
  run(`mkfs.${kind}`, '-q', kind === 'xfs' ? '-f' : '-F', image);
  mount();
  return {
    dir,
    sync: () => run('sync', '-f', dir),
    cut: () => run('xfs_io', '-x', '-c', 'shutdown', dir),
    unmount,
    mount,
  };
}

function run(command: string, ...args: string[]): void {
  const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH } });
}
