/**
 * Copies that are asked for often: small, current, and their bytes in the server's memory cache, which hashed them when it
 * loaded them. They are answered without a promise, as those of repositories are.
 */
import { LRUCache } from 'lru-cache';
import { limits } from '../limits.ts';
import type { ArtifactFacts, MemoryBody, OpenArtifact } from '../repo/artifact-source.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import { MemoryArtifact } from '../repo/memory-artifact.ts';
import type { Counters } from './counters.ts';
import type { Kept, KeptCopies } from './kept-copies.ts';
import { headersOf, keptArtifact } from './told.ts';

/** What is needed of the server's memory cache. */
export interface Bodies {
  get(digest: Digest): MemoryBody | undefined;
  delete(digest: Digest): void;
  /** @returns undefined where it is too large, or too much is under way */
  load(digest: Digest, size: number): Promise<MemoryBody | undefined>;
}

export interface HotCopiesParts {
  readonly catalog: Catalog;
  readonly copies: Pick<KeptCopies, 'touch'>;
  readonly counters: Counters;
  readonly now: () => number;
}

interface HotCopy {
  readonly facts: ArtifactFacts;
  readonly digest: Digest;
  readonly size: number;
  readonly checkedAt: number;
  readonly freshUntil: number;
  /** Of the second in which they were made; seconds since `checkedAt`. */
  headers: readonly string[];
  age: number;
}

export class HotCopies {
  readonly #parts: HotCopiesParts;
  readonly #copies = new LRUCache<string, HotCopy>({ max: limits.cache.lookups });
  #bodies: Bodies | undefined;
  #version = Number.NaN;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: HotCopiesParts) {
    this.#parts = parts;
  }

  /** Until this is called, nothing is hot. */
  keepIn(bodies: Bodies): void {
    this.#bodies = bodies;
  }

  /** Answers with a copy that is hot and current, and counts it. */
  peek(path: string): OpenArtifact | undefined {
    this.#dropOutdated();
    const copy = this.#copies.get(path);
    const { counters, copies, now } = this.#parts;
    if (copy === undefined || now() >= copy.freshUntil) return undefined;
    const body = this.#bodies?.get(copy.digest);
    if (body === undefined) return undefined;
    counters.count('HIT', copy.size);
    copies.touch(path);
    return this.#artifact(copy, body);
  }

  /**
   * Brings a copy into memory.
   * @returns undefined where it stays outside, be it that a repository of this server holds the path: that comes first
   * @throws blob.missing, blob.damaged
   */
  async warm(path: string, kept: Kept, freshUntil: number): Promise<OpenArtifact | undefined> {
    const bodies = this.#bodies;
    const { digest, size } = kept.pulled;
    if (bodies === undefined || size > limits.cache.body) return undefined;
    this.#dropOutdated();
    const known = this.#copies.get(path);
    const copy =
      known?.digest === digest && known.freshUntil === freshUntil ? known : this.#make(path, kept, freshUntil);
    if (copy !== known && !(await this.#mayBeHot(path, digest, copy))) return undefined;
    const body = bodies.get(digest) ?? (await bodies.load(digest, size));
    return body === undefined ? undefined : this.#artifact(copy, body);
  }

  /** Another copy has taken its place, or it is current again, or gone. */
  forget(path: string): void {
    this.#copies.delete(path);
  }

  #make(path: string, { pulled, facts }: Kept, freshUntil: number): HotCopy {
    const { digest, size } = pulled;
    const { checkedAt } = facts;
    return { facts: keptArtifact(path, pulled, facts), digest, size, checkedAt, freshUntil, headers: [], age: -1 };
  }

  /** Looks at the catalog, and keeps the copy if that has not changed meanwhile. */
  async #mayBeHot(path: string, digest: Digest, copy: HotCopy): Promise<boolean> {
    const { catalog } = this.#parts;
    const version = this.#version;
    const [room, repository, ...rest] = path.split('/');
    const isOurs =
      room === 'repos' && repository !== undefined && (await catalog.lookup(repository, rest.join('/'))) !== undefined;
    if ((await catalog.blob(digest)) === undefined) this.#bodies?.delete(digest);
    const isStillKept = (await catalog.pulled(path))?.digest === digest; // it may have been replaced before we looked
    if (isOurs || !isStillKept || catalog.version() !== version) return false;
    this.#copies.set(path, copy);
    return true;
  }

  #artifact(copy: HotCopy, body: MemoryBody): OpenArtifact {
    const age = Math.max(0, Math.floor((this.#parts.now() - copy.checkedAt) / 1000));
    if (age !== copy.age) {
      copy.age = age;
      copy.headers = headersOf({ cache: 'HIT', status: 'hit', age: age * 1000 });
    }
    return new MemoryArtifact(copy.facts, body, copy.headers);
  }

  /** As PublishedSource: hits of one moment share a look. */
  #dropOutdated(): void {
    const now = performance.now();
    if (now - this.#lookedAt < limits.cache.versionAge) return;
    this.#lookedAt = now;
    const version = this.#parts.catalog.version();
    if (version === this.#version) return;
    this.#version = version;
    this.#copies.clear();
  }
}
