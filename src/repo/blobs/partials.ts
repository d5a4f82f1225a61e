import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { busyPartial, missingPartial } from './blob-errors.ts';
import { isTemporaryName, makeDirectory, syncDirectory } from './durable.ts';
import * as layout from './layout.ts';
import { ProcessLock } from './process-lock.ts';

/**
 * Who owns which partial file, and what becomes of those whose owner is gone.
 *
 * A process that writes has a folder of its own and holds its lock as long as it lives. A writer that nobody has open
 * lies in `suspended/`, whoever it came from. Its two files cannot move in one step, so the journal (`.ranges`) is the
 * token: *who has it, has the partial file*. It moves first when a partial file is claimed and last when it is given
 * back; exactly one claimer's rename succeeds. Killed in between, a pair is torn; the token then lies in a dead owner's
 * folder, and cleaning up carries it to `suspended/` again, where the pair meets.
 *
 * Owner folders come and go only under `partial/lock`, so that nobody takes a folder for dead whose process is about
 * to lock it.
 */
export class Partials {
  readonly #dataDir: string;
  readonly #now: () => number;
  #home: Promise<{ dir: string; lock: ProcessLock }> | undefined;

  constructor(dataDir: string, now: () => number) {
    this.#dataDir = dataDir;
    this.#now = now;
  }

  /** The folder of this process, made and locked at the first call. */
  async home(): Promise<string> {
    this.#home ??= this.#settle();
    const home = this.#home;
    try {
      return (await home).dir;
    } catch (error) {
      if (this.#home === home) this.#home = undefined; // the next call tries again
      throw error;
    }
  }

  /** Gives the folder up; what still lies in it is cleaned up by the next one who comes along. Never fails. */
  async release(): Promise<void> {
    const home = await this.#home?.catch(() => undefined);
    this.#home = undefined;
    if (home === undefined) return;
    await removeFolder(home.dir).catch(() => undefined); // an error here would hide the one that led to the end
    home.lock.release();
  }

  /** Gives a partial file with its journal, closed and durable, to whoever resumes it. */
  async suspend(id: string): Promise<void> {
    const home = await this.home();
    await this.#moveToSuspended(home, id);
    await syncDirectory(layout.suspendedDir(this.#dataDir));
  }

  /**
   * Takes over a partial file that nobody has open: suspended, or left by a process that is gone.
   * @returns the folder in which it now lies
   * @throws blob.missing, blob.busy
   */
  async claim(id: string): Promise<string> {
    const home = await this.home();
    if (await this.#take(id, home)) return home;
    await this.cleanUp();
    if (await this.#take(id, home)) return home;
    const busy = await this.#isHeldByOther(id);
    if (await this.#take(id, home)) return home; // it was given back while we looked
    throw busy ? busyPartial(id) : missingPartial(id);
  }

  /**
   * Removes what processes left behind that are gone. Their partial files with a journal go to `suspended/`, the
   * others are deleted; suspended ones are deleted when nobody came for them within limits.partialRetention.
   */
  async cleanUp(): Promise<void> {
    for (const owner of (await namesIn(layout.partialDir(this.#dataDir))).filter(layout.isOwnerName)) {
      await this.#cleanUpOwner(layout.ownerDir(this.#dataDir, owner));
    }
    await this.#cleanUpSuspended();
  }

  async #settle(): Promise<{ dir: string; lock: ProcessLock }> {
    const dir = layout.ownerDir(this.#dataDir, randomBytes(8).toString('hex'));
    await makeDirectory(layout.partialDir(this.#dataDir));
    return this.#whileFoldersStay(async () => {
      await makeDirectory(dir);
      const lock = ProcessLock.tryAcquire(layout.lockPath(dir));
      if (lock !== undefined) return { dir, lock };
      throw new AirlockError('internal', `${dir} is new, yet somebody has locked it. Please report this.`);
    });
  }

  async #cleanUpOwner(dir: string): Promise<void> {
    await this.#whileFoldersStay(async () => {
      const lock = lockOfDead(dir);
      if (lock === undefined) return;
      try {
        await this.#emptyFolder(dir);
        await removeFolder(dir);
      } finally {
        lock.release();
      }
    });
  }

  /** Everything of ours goes; names that are not ours stay, and the folder with them. */
  async #emptyFolder(dir: string): Promise<void> {
    const ids = new Set<string>();
    for (const name of await namesIn(dir)) {
      const partial = layout.parsePartialName(name);
      if (partial !== undefined) ids.add(partial.id);
      else if (isTemporaryName(name)) await rm(`${dir}/${name}`, { force: true });
    }
    for (const id of ids) {
      const resumable = [dir, layout.suspendedDir(this.#dataDir)].some((at) => existsSync(layout.rangesPath(at, id)));
      if (resumable) await this.#moveToSuspended(dir, id);
      else await rm(layout.partPath(dir, id), { force: true });
    }
    if (ids.size > 0 && existsSync(layout.suspendedDir(this.#dataDir))) {
      await syncDirectory(layout.suspendedDir(this.#dataDir));
    }
  }

  async #cleanUpSuspended(): Promise<void> {
    const dir = layout.suspendedDir(this.#dataDir);
    const names = new Set(await namesIn(dir));
    for (const name of names) {
      const partial = layout.parsePartialName(name);
      // a part alone is being claimed or given back right now, or was torn from its journal: then age decides, too
      if (partial === undefined || (partial.kind === 'part' && names.has(`${partial.id}.ranges`))) continue;
      if (!(await this.#isForgotten(`${dir}/${name}`))) continue;
      const ours = await succeeds(unlink(`${dir}/${name}`));
      if (ours && partial.kind === 'ranges') await rm(layout.partPath(dir, partial.id), { force: true });
    }
  }

  async #isForgotten(file: string): Promise<boolean> {
    const stats = await stat(file).catch(letMissingPass);
    return stats !== undefined && this.#now() - stats.mtimeMs > limits.partialRetention;
  }

  /** @returns false if there is nothing to take. */
  async #take(id: string, home: string): Promise<boolean> {
    const suspended = layout.suspendedDir(this.#dataDir);
    const token = await succeeds(rename(layout.rangesPath(suspended, id), layout.rangesPath(home, id)));
    // without a token it may still be ours: suspended by this process, which then could not move it
    if (!token && !existsSync(layout.rangesPath(home, id))) return false;
    await succeeds(rename(layout.partPath(suspended, id), layout.partPath(home, id)));
    if (existsSync(layout.partPath(home, id))) return true;
    await rm(layout.rangesPath(home, id), { force: true }); // killed in a commit: the bytes became a blob
    return false;
  }

  /** The bytes first, the token last. */
  async #moveToSuspended(from: string, id: string): Promise<void> {
    const suspended = layout.suspendedDir(this.#dataDir);
    await makeDirectory(suspended);
    await succeeds(rename(layout.partPath(from, id), layout.partPath(suspended, id)));
    if (existsSync(layout.partPath(suspended, id))) {
      await succeeds(rename(layout.rangesPath(from, id), layout.rangesPath(suspended, id)));
    } else {
      await rm(layout.rangesPath(from, id), { force: true });
    }
  }

  async #isHeldByOther(id: string): Promise<boolean> {
    const owners = (await namesIn(layout.partialDir(this.#dataDir))).filter(layout.isOwnerName);
    return owners.some((owner) => {
      const dir = layout.ownerDir(this.#dataDir, owner);
      return existsSync(layout.partPath(dir, id)) || existsSync(layout.rangesPath(dir, id));
    });
  }

  /** Does `work` while no owner folder comes or goes; waits for others who do the same, it takes them moments. */
  async #whileFoldersStay<T>(work: () => Promise<T>): Promise<T> {
    const file = layout.lockPath(layout.partialDir(this.#dataDir));
    const lock = await acquire(file, limits.partialLockWait);
    try {
      return await work();
    } finally {
      lock.release();
    }
  }
}

async function acquire(file: string, patience: number): Promise<ProcessLock> {
  const deadline = performance.now() + patience;
  for (;;) {
    const lock = ProcessLock.tryAcquire(file);
    if (lock !== undefined) return lock;
    if (performance.now() > deadline) {
      throw new AirlockError('blob.busy', `Another process holds ${file} and does not let go. Stop it and try again.`);
    }
    await sleep(5 + Math.random() * 15);
  }
}

/** @returns the lock of a folder whose process is gone; undefined if it lives, or the folder went meanwhile. */
function lockOfDead(dir: string): ProcessLock | undefined {
  try {
    return ProcessLock.tryAcquire(layout.lockPath(dir));
  } catch (error) {
    if (!existsSync(dir)) return undefined;
    throw error;
  }
}

/** Only if nothing but the lock is in it. Whoever calls this holds the lock. */
async function removeFolder(dir: string): Promise<void> {
  const names = await namesIn(dir);
  if (!names.every(layout.isLockName)) return;
  await rm(layout.lockPath(dir), { force: true });
  await rmdir(dir).catch((error: unknown) => {
    const code = systemCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  });
}

async function namesIn(dir: string): Promise<string[]> {
  return (await readdir(dir).catch(letMissingPass)) ?? [];
}

/** @returns false if the file was not there. */
async function succeeds(change: Promise<void>): Promise<boolean> {
  return change.then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    },
  );
}

function letMissingPass(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error;
}
