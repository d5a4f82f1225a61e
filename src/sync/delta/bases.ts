/** Held blobs that are read from by turns: a few of them are open at a time. */
import { limits } from '../../limits.ts';
import type { BlobReader, Digest } from '../../repo/blobs/blob-store.ts';

/** Whoever made it closes it. Not for calls at the same time. */
export class Bases {
  readonly #digests: readonly Digest[];
  readonly #open: (digest: Digest) => Promise<BlobReader | undefined>;
  /** Used last stands last. */
  readonly #readers = new Map<number, BlobReader>();

  /** @param open gives undefined for what is not stored here */
  constructor(digests: readonly Digest[], open: (digest: Digest) => Promise<BlobReader | undefined>) {
    this.#digests = digests;
    this.#open = open;
  }

  /** @returns undefined where the blob is not stored here */
  async reader(base: number): Promise<BlobReader | undefined> {
    const known = this.#readers.get(base);
    this.#readers.delete(base);
    const digest = this.#digests[base];
    const reader = known ?? (digest === undefined ? undefined : await this.#open(digest));
    if (reader === undefined) return undefined;
    this.#readers.set(base, reader);
    const [oldest] = this.#readers;
    if (this.#readers.size > limits.delta.openBases && oldest !== undefined) {
      this.#readers.delete(oldest[0]);
      await oldest[1].close();
    }
    return reader;
  }

  async close(): Promise<void> {
    const readers = [...this.#readers.values()];
    this.#readers.clear();
    for (const reader of readers) await reader.close();
  }
}
