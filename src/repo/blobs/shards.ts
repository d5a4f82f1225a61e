import path from 'node:path';
import type { Digest } from './blob-store.ts';
import { makeDirectory, syncDirectory } from './durable.ts';
import { shardDir, shardsDir } from './layout.ts';

/** The folders that blobs are put into, made when they are first needed. */
export class Shards {
  readonly #dataDir: string;
  readonly #ready = new Set<string>();

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /**
   * @returns the folder for this blob, durable up to the data directory
   * @throws space.insufficient, or the system error as it is
   */
  async prepare(digest: Digest): Promise<string> {
    const dir = shardDir(this.#dataDir, digest);
    if (this.#ready.has(dir)) return dir;
    const isNew = await makeDirectory(dir);
    const shards = shardsDir(this.#dataDir);
    if (this.#ready.size === 0) {
      for (const each of [shards, path.dirname(shards), this.#dataDir]) await syncDirectory(each);
    }
    // Where it was there already, its maker may have been killed before it was durable.
    else if (!isNew) await syncDirectory(shards);
    this.#ready.add(dir);
    return dir;
  }
}
