import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { reservePath } from './layout.ts';

/**
 * A little space of the disk, kept in a file for the day on which the disk is full. On that day the catalog could not
 * even be opened, for SQLite makes two small files to do so; nothing could be listed, and `prune` could free nothing.
 * Whoever gave the space up takes it back at the end.
 */
export class SpaceReserve {
  readonly #dataDir: string;
  readonly #file: string;
  #isSpent = false;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
    this.#file = reservePath(dataDir);
  }

  /** Makes the file if it is not there, where there is plenty of room. Never fails. */
  keep(): void {
    if (this.#size() !== limits.spaceForEmergency && this.#free() > limits.spaceReserve) this.#take();
  }

  /** Gives the space up. @returns false if there was none */
  spend(): boolean {
    if (this.#size() === 0) return false;
    try {
      fs.rmSync(this.#file);
      this.#isSpent = true;
      return true;
    } catch {
      return false;
    }
  }

  /** As `spend`, where the disk is so full that it may be needed. */
  spendIfFull(): void {
    if (this.#free() < limits.spaceForEmergency) this.spend();
  }

  /**
   * Runs `work`, and once more with this space if the disk has none for it.
   * @throws what `work` throws
   */
  async lend<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isAirlockError(error, 'space.insufficient') || !this.spend()) throw error;
      return await work();
    }
  }

  /** Takes the space back, if it was given up here and is still free. Never fails. */
  restore(): void {
    if (this.#isSpent) this.#take();
    this.#isSpent = false;
  }

  /** Random bytes: a file system may keep others without taking room for them. */
  #take(): void {
    try {
      fs.writeFileSync(this.#file, randomBytes(limits.spaceForEmergency));
    } catch {
      try {
        fs.rmSync(this.#file, { force: true }); // a part of it would be of no use
      } catch {
        // There are worse things to tell of such a disk.
      }
    }
  }

  #size(): number {
    return fs.statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0;
  }

  #free(): number {
    try {
      const { bavail, bsize } = fs.statfsSync(this.#dataDir);
      return bavail * bsize;
    } catch {
      return 0;
    }
  }
}
