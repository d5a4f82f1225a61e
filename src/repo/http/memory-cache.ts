import { LRUCache } from 'lru-cache';
import { limits } from '../../limits.ts';
import type { MemoryBody } from '../artifact-source.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { TrustedBlobs } from '../trusted-blobs.ts';

/** What an entry costs beside its bytes, roughly. */
const OVERHEAD = 512;

/**
 * Small hot bodies, proven when they were loaded. Bounded by bytes: what is cached, and, once more, what is being
 * loaded or kept alive by slow clients after it left the cache.
 */
export class MemoryCache {
  readonly #bound: number;
  readonly #trusted: Pick<TrustedBlobs, 'read'>;
  readonly #bodies: LRUCache<Digest, CachedBody> | undefined;
  readonly #loads = new Map<Digest, Promise<MemoryBody>>();
  #loading = 0;
  #stranded = 0;
  hits = 0;
  misses = 0;

  /** @param bound bytes; 0: nothing is cached */
  constructor(bound: number, trusted: Pick<TrustedBlobs, 'read'>) {
    this.#bound = bound;
    this.#trusted = trusted;
    if (bound === 0) return;
    this.#bodies = new LRUCache<Digest, CachedBody>({
      maxSize: bound,
      sizeCalculation: (body) => body.cost,
      dispose: (body) => body.evict(),
    });
  }

  /** Bytes cached, with what they cost beside. */
  get bytes(): number {
    return this.#bodies?.calculatedSize ?? 0;
  }

  /** Bytes that left the cache while clients were still being sent them. */
  get stranded(): number {
    return this.#stranded;
  }

  get(digest: Digest): MemoryBody | undefined {
    const body = this.#bodies?.get(digest);
    if (body !== undefined) this.hits += 1;
    return body;
  }

  has(digest: Digest): boolean {
    return this.#bodies?.has(digest) ?? false;
  }

  delete(digest: Digest): void {
    this.#bodies?.delete(digest);
  }

  /**
   * Loads a body, once for all who ask.
   * @returns undefined where it is too large, or too much is under way: it is to be read from the store then
   * @throws blob.missing, blob.damaged
   */
  async load(digest: Digest, size: number): Promise<MemoryBody | undefined> {
    const known = this.#loads.get(digest);
    if (known !== undefined) return await known;
    const hasRoom = this.#loading + this.#stranded + size <= this.#bound;
    if (size > limits.cache.body || size + OVERHEAD > this.#bound || !hasRoom) return undefined;
    this.misses += 1;
    this.#loading += size;
    const load = this.#load(digest).finally(() => {
      this.#loading -= size;
      this.#loads.delete(digest);
    });
    this.#loads.set(digest, load);
    return await load;
  }

  async #load(digest: Digest): Promise<MemoryBody> {
    const body = new CachedBody(await this.#trusted.read(digest), (change) => {
      this.#stranded += change;
    });
    this.#bodies?.set(digest, body);
    return body;
  }
}

class CachedBody implements MemoryBody {
  readonly bytes: Buffer;
  readonly text: string | null;
  readonly cost: number;
  readonly #onStranded: (change: number) => void;
  #holders = 0;
  #isEvicted = false;

  constructor(bytes: Buffer, onStranded: (change: number) => void) {
    this.bytes = bytes;
    this.text = bytes.length <= limits.cache.text ? bytes.toString('latin1') : null;
    this.cost = bytes.length + (this.text?.length ?? 0) + OVERHEAD;
    this.#onStranded = onStranded;
  }

  hold(): () => void {
    this.#holders += 1;
    if (this.#isEvicted && this.#holders === 1) this.#onStranded(this.cost);
    return () => {
      this.#holders -= 1;
      if (this.#isEvicted && this.#holders === 0) this.#onStranded(-this.cost);
    };
  }

  evict(): void {
    if (this.#isEvicted) return;
    this.#isEvicted = true;
    if (this.#holders > 0) this.#onStranded(this.cost);
  }
}
