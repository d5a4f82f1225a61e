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
    await makeDirectory(dir);
    // also where it was there already: its maker may have been killed before it was durable
    const shards = shardsDir(this.#dataDir);
    const parents = this.#ready.size === 0 ? [shards, path.dirname(shards), this.#dataDir] : [shards];
    for (const parent of parents) await syncDirectory(parent);
    this.#ready.add(dir);
    return dir;
  }
}
