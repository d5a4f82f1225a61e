/** The stick is pulled out in the middle of an import. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readdir, readlink } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Told } from '../telling.ts';
import type { World } from '../world.ts';
import { shownAtA } from './refuse.ts';

/** Where the stick is only a folder, the import is killed in its place. */
export async function pullInTheMiddle(world: World): Promise<Told<void>> {
  const { a, stick } = world;
  const before = await shownAtA(world);
  const { child, result } = a.start('import', 'bundle', await stick.plug());
  await stopOnceItReads(child);
  if (stick.instead !== undefined) child.kill('SIGKILL');
  await stick.pull();
  child.kill('SIGCONT');
  const { code, signal, stdout, stderr } = await result;
  const how = stick.instead === undefined ? 'the stick was pulled' : 'the import was killed';
  assert.deepEqual([code, signal], stick.instead === undefined ? [5, null] : [null, 'SIGKILL'], stdout + stderr);
  assert.equal(await shownAtA(world), before, 'nothing of the bundle is visible');
  return {
    value: undefined,
    said: `${how} while A read a volume`,
    checked: [stick.instead === undefined ? 'exit code 5' : 'it was under way', 'nothing of the bundle is visible'],
  };
}

/** Lets it work in short spells, so that it does not get far beyond. It may end before. */
async function stopOnceItReads(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid !== undefined) setPriority(pid, constants.priority.PRIORITY_LOW); // on a busy machine, we come first
  do {
    child.kill('SIGCONT');
    await sleep(1);
    child.kill('SIGSTOP');
  } while (child.exitCode === null && !(await readsVolume(pid)));
}

/** Whether a process has a volume open. */
async function readsVolume(pid: number | undefined): Promise<boolean> {
  const dir = `/proc/${pid}/fd`;
  const names = await readdir(dir).catch(() => []);
  const open = await Promise.all(names.map((name) => readlink(path.join(dir, name)).catch(() => '')));
  return open.some((file) => /\/volume-\d+\.tar$/.test(file));
}
