/**
 * The copies that are kept: found, opened, taken as current again, replaced, and dropped when there is no room.
 *
 * That a copy was used, or found current, is written down a moment later, many at a time: a hit must not cost a
 * transaction. A process that is killed loses that note and nothing else.
 */
import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobStat, BlobStore, BlobWriter } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { Pulled } from '../repo/catalog/pulled.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import type { Counters } from './counters.ts';
import { evict } from './eviction.ts';
import { type KeptFacts, pulledOf, readKept } from './kept.ts';

export interface KeptCopiesParts {
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  readonly logger: Logger;
  readonly counters: Counters;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Another copy of a path is there, or none, or it is current for another time. */
  readonly onChange: (path: string) => void;
  /** Bytes that all copies may take. */
  readonly cacheSize: number;
  /** Parts of paths that never go. */
  readonly pinned: readonly string[];
}

/** A copy, as the catalog has it, and what is known of it now. */
export interface Kept {
  readonly pulled: Pulled;
  readonly facts: KeptFacts;
}

interface Touched {
  usedAt: number;
  checkedAt?: number;
  freshFor?: KeptFacts['freshFor'];
}

export class KeptCopies {
  readonly #parts: KeptCopiesParts;
  /** What is not written down yet. */
  readonly #touched = new Map<string, Touched>();
  readonly #noting: NodeJS.Timeout;
  #evicting: Promise<void> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();

  constructor(parts: KeptCopiesParts) {
    this.#parts = parts;
    this.#noting = setInterval(() => {
      this.#inTurn(() => this.#writeTouched()).catch((error: unknown) => {
        parts.logger.warn({ error: String(error) }, 'could not write down what was used');
      });
    }, limits.proxy.usedEvery).unref();
  }

  async get(path: string): Promise<Kept | undefined> {
    const pulled = await this.#parts.catalog.pulled(path);
    const facts = pulled && readKept(pulled);
    if (pulled === undefined || facts === undefined) return undefined;
    const { checkedAt = facts.checkedAt, freshFor = facts.freshFor } = this.#touched.get(path) ?? {};
    return { pulled, facts: { ...facts, checkedAt, freshFor } };
  }

  /**
   * Opens the bytes of a copy, and notes that it is used.
   * @returns undefined if they are not there any more, or damaged: the copy is dropped then
   */
  async use<T>(path: string, open: () => Promise<T>): Promise<T | undefined> {
    try {
      const opened = await open();
      this.touch(path);
      return opened;
    } catch (error) {
      if (!isAirlockError(error, 'blob.missing', 'blob.damaged')) throw error;
      await this.drop(path);
      return undefined;
    }
  }

  /** It was used. */
  touch(path: string): void {
    this.#touched.set(path, { ...this.#touched.get(path), usedAt: this.#parts.now() });
  }

  /** A source says that a copy is current, or was some time ago. */
  confirm(path: string, { freshFor, age }: Pick<UpstreamFacts, 'freshFor' | 'age'>): void {
    const now = this.#parts.now();
    this.#touched.set(path, { usedAt: now, checkedAt: now - age, ...(freshFor === null ? {} : { freshFor }) });
    this.#parts.onChange(path);
  }

  async drop(path: string): Promise<void> {
    await this.#parts.catalog.transaction((tx) => tx.dropPulled(path));
    this.#parts.onChange(path);
  }

  /** Makes what a writer holds durable, and then the copy of a path. */
  async keep(
    path: string,
    writer: BlobWriter,
    content: Pick<BlobStat, 'digest' | 'size'>,
    facts: KeptFacts,
  ): Promise<BlobStat> {
    const { catalog, counters, now, onChange } = this.#parts;
    await catalog.lease(content.digest);
    const stat = await writer.commit(content);
    await this.#inTurn(async () => {
      await catalog.transaction(async (tx) => {
        await tx.recordBlob(stat, null);
        await tx.keepPulled(pulledOf(path, stat, facts, now()));
        await tx.release([stat.digest]);
      });
      this.#touched.delete(path);
      onChange(path);
    });
    counters.stored += 1;
    return stat;
  }

  /** One at a time. What has just come is not what goes. */
  async makeRoom(path: string): Promise<void> {
    const { catalog, blobs, cacheSize, pinned, logger, counters, now } = this.#parts;
    this.#touched.set(path, { usedAt: now() + 1 });
    const usedAt = (each: string) => this.#touched.get(each)?.usedAt;
    this.#evicting = this.#evicting
      .then(() => evict({ catalog, blobs, size: cacheSize, pinned, usedAt }))
      .then((gone) => {
        counters.evicted += gone.length;
        for (const { path: each, size } of gone)
          logger.info({ path: each, size }, 'a fetched file made room for others');
      })
      .catch((error: unknown) => logger.warn({ error: String(error) }, 'could not make room for what is fetched'));
    await this.#evicting;
  }

  async close(): Promise<void> {
    clearInterval(this.#noting);
    await this.#inTurn(() => this.#writeTouched()).catch(() => undefined);
  }

  /** A note on a copy must not meet the copy that takes its place. */
  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#writing.then(work);
    this.#writing = turn.catch(() => undefined);
    await turn;
  }

  async #writeTouched(): Promise<void> {
    if (this.#touched.size === 0) return;
    const rows: Pulled[] = [];
    const touched = [...this.#touched];
    for (const [path, { usedAt }] of touched) {
      const kept = await this.get(path);
      if (kept !== undefined) rows.push({ ...kept.pulled, usedAt: new Date(usedAt), facts: kept.facts });
    }
    for (const [path, note] of touched) if (this.#touched.get(path) === note) this.#touched.delete(path);
    await this.#parts.catalog.transaction(async (tx) => {
      for (const row of rows) await tx.keepPulled(row);
    });
  }
}
