/** Sticks for tests: file systems of removable media on files, through FUSE. Needs root. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { needsRoot } from './needs.ts';

export type StickKind = 'fat32' | 'exfat';

/** Options for tests that use one. */
export function needsStick(kind: StickKind): { skip?: string } {
  return kind === 'fat32'
    ? needsRoot('mkfs.vfat=dosfstools', 'fusefat', 'mount', '/dev/fuse=fuse3')
    : needsRoot('mkfs.exfat=exfatprogs', 'mount.exfat-fuse=exfat-fuse', 'losetup=mount', '/dev/fuse=fuse3');
}

export interface Mounted {
  /** Ends its driver: everything there fails, as when a stick is pulled. */
  kill(): Promise<void>;
  /** Once this is done, all that was written is in the image. */
  unmount(): Promise<void>;
}

export interface Stick extends Pick<Mounted, 'kill'> {
  /** Where it is mounted. */
  readonly dir: string;
  /** Unmounts, and frees everything. */
  remove(): Promise<void>;
}

/** Makes and mounts one of 64 MiB. The caller removes it. */
export async function makeStick(kind: StickKind): Promise<Stick> {
  const place = mkdtempSync(path.join(os.tmpdir(), `airlock-${kind}-`));
  const [image, dir] = [path.join(place, 'image'), path.join(place, 'mounted')];
  mkdirSync(dir);
  formatImage(kind, image, 64);
  const { kill, unmount } = await mountImage(kind, image, dir);
  const remove = async () => {
    await unmount();
    rmSync(place, { recursive: true, force: true });
  };
  return { dir, kill, remove };
}

/** Makes the file, with an empty file system in it. */
export function formatImage(kind: StickKind, image: string, mebibytes: number): void {
  writeFileSync(image, '');
  truncateSync(image, mebibytes * 2 ** 20);
  run(`mkfs.${kind === 'fat32' ? 'vfat' : 'exfat'}`, ...(kind === 'fat32' ? ['-F', '32'] : []), image);
}

/** @param dir an empty folder */
export async function mountImage(kind: StickKind, image: string, dir: string): Promise<Mounted> {
  const device = kind === 'fat32' ? undefined : run('losetup', '--find', '--show', image).trim();
  const [driver, ...args] =
    device === undefined ? ['fusefat', '-f', '-o', 'rw+', image, dir] : ['mount.exfat-fuse', '-d', device, dir];
  const child = spawn(driver ?? '', args, { stdio: 'ignore', env: environment() });
  const ended = once(child, 'exit');
  const underneath = statSync(path.dirname(dir)).dev;
  while (statSync(dir).dev === underneath) {
    if (child.exitCode !== null) throw new Error(`${driver} ended with ${child.exitCode}`);
    await sleep(5);
  }
  return {
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async unmount() {
      // The driver then ends by itself, unless a mount namespace made meanwhile still has it.
      spawnSync('umount', [dir]);
      await Promise.race([ended, sleep(2000, undefined, { ref: false })]);
      child.kill('SIGKILL');
      await ended;
      spawnSync('umount', ['-l', dir]);
      if (device !== undefined) spawnSync('losetup', ['-d', device], { env: environment() });
    },
  };
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', env: environment() });
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
}
