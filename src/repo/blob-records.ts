import { limits } from '../limits.ts';
import type { BlobStat } from './blobs/blob-store.ts';
import type { Stores } from './staging.ts';

/**
 * Writes down in the catalog what is stored, several blobs in one transaction: a run that is killed finds again what was
 * written down, and stores the rest anew. Whoever adds flushes at the end.
 */
export class BlobRecords {
  readonly #catalog: Stores['catalog'];
  #waiting: BlobStat[] = [];
  #bytes = 0;
  /** When the first of those that wait came. */
  #since = 0;

  constructor({ catalog }: Pick<Stores, 'catalog'>) {
    this.#catalog = catalog;
  }

  /** @param stat of a blob that is durable, with a file of its own */
  async add(stat: BlobStat): Promise<void> {
    const { blobs, bytes, time } = limits.recordTogether;
    if (this.#waiting.length === 0) this.#since = performance.now();
    this.#bytes += stat.size;
    const isMany = this.#waiting.push(stat) >= blobs || this.#bytes >= bytes;
    if (isMany || performance.now() - this.#since >= time) await this.flush();
  }

  async flush(): Promise<void> {
    const stats = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    if (stats.length === 0) return;
    await this.#catalog.transaction(async (tx) => {
      for (const stat of stats) await tx.recordBlob(stat, null);
    });
  }
}
