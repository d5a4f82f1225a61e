/** The stick that is carried: a FAT image, or a folder where nothing can be mounted. */
import { mkdirSync, mkdtempSync, renameSync } from 'node:fs';
import path from 'node:path';
import { formatImage, type Mounted, mountImage, needsStick } from '../support/media.ts';
import type { Scope } from '../support/scope.ts';
import { tempDir } from '../support/temp-dir.ts';

export class Stick {
  /** Why it is only a folder. */
  readonly instead = needsStick('fat32').skip;
  readonly #place: string;
  #plugged: { readonly dir: string; readonly mounted?: Mounted } | undefined;

  private constructor(place: string) {
    this.#place = place;
  }

  /** Pulled out at the end at the latest. */
  static async make(scope: Scope, mebibytes: number): Promise<Stick> {
    const stick = new Stick(await tempDir(scope));
    if (stick.instead === undefined) formatImage('fat32', stick.#image, mebibytes);
    else mkdirSync(stick.#image);
    scope.after(() => stick.unplug());
    return stick;
  }

  get #image(): string {
    return path.join(this.#place, 'image');
  }

  /** @returns where its files are; another place each time */
  async plug(): Promise<string> {
    const dir = mkdtempSync(path.join(this.#place, 'plugged-'));
    if (this.instead === undefined) this.#plugged = { dir, mounted: await mountImage('fat32', this.#image, dir) };
    else {
      renameSync(this.#image, dir);
      this.#plugged = { dir };
    }
    return dir;
  }

  async unplug(): Promise<void> {
    const plugged = this.#plugged;
    this.#plugged = undefined;
    if (plugged?.mounted !== undefined) await plugged.mounted.unmount();
    else if (plugged !== undefined) renameSync(plugged.dir, this.#image);
  }

  /** In the middle of whatever goes on; who has a file of a mere folder open does not notice. */
  async pull(): Promise<void> {
    await this.#plugged?.mounted?.kill();
    await this.unplug();
  }

  /** Plugs it in, works with it, and takes it out again. */
  async with<T>(work: (dir: string) => Promise<T>): Promise<T> {
    const dir = await this.plug();
    try {
      return await work(dir);
    } finally {
      await this.unplug();
    }
  }
}
