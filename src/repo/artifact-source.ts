/**
 * The seam between what is served and where it comes from: a repository, or an upstream that is pulled through.
 *
 * A source answers paths with facts and with bytes that may be read at any position. It alone decides when bytes
 * are proven: whoever reads from it serves what it gives. So a source that is still being filled holds the last
 * bytes of a file back in `readAt` until the digest is proven, and fails that call when it is not.
 */
import type { Digest } from './blobs/blob-store.ts';
import type { VerificationStatus } from './catalog/artifact.ts';

/** What is known of a path's content before a byte of it is read. Immutable, so that answers can be kept by it. */
export interface ArtifactFacts {
  /** The file name; it decides the media type. Data, never a path. */
  readonly name: string;
  /** Where the name does not tell it. */
  readonly mediaType?: string;
  /** null where nobody can know it before all is read. */
  readonly digest: Digest | null;
  /** Bytes; null where the source does not say. Then there are no ranges. */
  readonly size: number | null;
  readonly modified: Date | null;
  /**
   * The entity tag as it stands in the header, quotes and all: the digest's where there is a digest, else the
   * upstream's own, else null.
   */
  readonly etag: string | null;
  /**
   * `immutable`: this path will never hold other bytes, caches need not ask again. `revalidate`: it may
   * (metadata, anything that can be replaced), caches ask each time.
   */
  readonly freshness: 'immutable' | 'revalidate';
  readonly verification: VerificationStatus;
}

export interface OpenOptions {
  /**
   * What will be read first, as far as the caller can know it without the facts (`end` open, or the last
   * `suffix` bytes): lets a cold source ask its upstream only once. A hint; any range may be read afterwards.
   */
  readonly range?: { readonly start: number; readonly end?: number } | { readonly suffix: number };
  /** Only the facts are wanted: nothing will be read. */
  readonly factsOnly?: boolean;
  /** Fields of the request that a source which asks others has to know (RFC 9111, 5.2; RFC 9110, 7.6.3). */
  readonly cacheControl?: string;
  readonly via?: string;
  /** Address of whoever asks, for sources that share something among clients. */
  readonly client?: string;
  /** Whoever asked is gone. A source that others wait for too goes on. */
  readonly signal?: AbortSignal;
}

/** Content that can be read. The caller closes it; closing twice is harmless. */
export interface OpenArtifact {
  readonly facts: ArtifactFacts;
  /** All of the content, proven, where the source has it in memory. Not to be changed. */
  readonly body?: MemoryBody;
  /** Header fields that the source adds to the answer (X-Cache, Cache-Status, Age): names and values in turn. */
  readonly headers?: readonly string[];
  /**
   * Reads at least one byte and at most `into.byteLength`, waiting until they are there; 0 only at the end.
   * A short read says nothing but that this much is here now.
   * @throws blob.damaged, or what the upstream failed with; bytes given before remain good
   */
  readAt(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/** Proven content in memory. */
export interface MemoryBody {
  readonly bytes: Buffer;
  /** The same as a one-byte string, where it is small enough for one write of head and body. */
  readonly text: string | null;
  /**
   * Says that a slow client keeps the body in memory although the cache may have dropped it.
   * @returns to be called once, when it no longer does
   */
  hold(): () => void;
}

export interface ArtifactSource {
  /**
   * @param path decoded: segments joined by `/`, without `.`, `..` and empty ones. A key, never a file's path.
   * @returns undefined where the path holds nothing
   * @throws blob.missing, blob.damaged, or why an upstream could not be asked
   */
  open(path: string, options?: OpenOptions): Promise<OpenArtifact | undefined>;
  /**
   * As `open`, at once and without a promise, for content whose whole body is in memory.
   * @returns undefined where only `open` can tell
   */
  peek?(path: string): OpenArtifact | undefined;
}

/** The strong entity tag of content with this digest. */
export function etagOf(digest: Digest): string {
  return `"${digest}"`;
}
