/**
 * The seam between pull-through and a place from which content is fetched: a vendor's site, a conductor, an HA twin.
 */
import type { ByteRange, Digest } from '../blobs/blob-store.ts';

/** What the head of an answer says of a content. Everything in it is a claim of the other side. */
export interface UpstreamFacts {
  /** Bytes of the whole content; null where it is not said. */
  readonly size: number | null;
  /** As it stands in the header, weak or strong. */
  readonly etag: string | null;
  readonly modified: Date | null;
  /**
   * What may stand in If-Range: equal validators mean equal bytes (RFC 9110, 8.8.1). An entity tag, or a date that is
   * safely in the past; null where there is neither.
   */
  readonly strongValidator: string | null;
  /** From Repr-Digest (RFC 9530), or from the entity tag of a conductor. */
  readonly digest: Digest | null;
  readonly mediaType: string | null;
  /** How long it may be taken as current (RFC 9111), milliseconds; null: not said; `immutable` for ever. */
  readonly freshFor: number | 'immutable' | null;
  /** How old the answer already is: Age, milliseconds. */
  readonly age: number;
  /** Our own servers say so. */
  readonly isUnverified: boolean;
}

export interface FetchOptions {
  /** First byte wanted; 0 by default. */
  readonly start?: number;
  /** Up to, not including; the end by default. */
  readonly end?: number;
  /** A strong validator. With a range: if it is another one by now, the whole new content comes. */
  readonly validator?: string | null;
  /** Validators of a stored copy: if it is still the same, `not-modified` comes in place of the content. */
  readonly unless?: { readonly etag: string | null; readonly modified: Date | null };
  /** The other side shall answer from what it has, and ask nobody (RFC 9111, 5.2.1.7). */
  readonly onlyIfCached?: boolean;
  /** Who was asked before us, as the request's Via says: whoever finds himself in it knows that it goes in a circle. */
  readonly via?: string;
  readonly signal?: AbortSignal;
}

/** Bytes as they come. The caller reads them to their end or destroys them; failures are AirlockErrors. */
export interface UpstreamBody extends AsyncIterable<Uint8Array> {
  /**
   * In place of iterating: reads as much as has come into `into`, and waits for `least` bytes (1 by default), for as many as
   * fit, or for the end. Large bodies have it: a buffer that is used again costs far less than ever new ones.
   * @returns bytes read; 0 at the end only
   */
  read?(into: Uint8Array, least?: number): Promise<number>;
  destroy(): void;
}

export type UpstreamAnswer =
  | {
      readonly type: 'content';
      readonly facts: UpstreamFacts;
      readonly range: ByteRange | null;
      readonly body: UpstreamBody;
    }
  | { readonly type: 'not-modified'; readonly facts: UpstreamFacts }
  /** 404 and 410; 504 to a question for what is cached. */
  | { readonly type: 'missing' };

export interface Upstream {
  /** Scheme and authority, for people. Without credentials. */
  readonly origin: string;
  /** The URL of a path, for people and for records. Without credentials. */
  address(path: string): string;
  /**
   * What the other side says of a path.
   * @param path as in a URL, encoded, without a slash in front; may be empty
   * @returns undefined where it has nothing there
   * @throws upstream.*
   */
  head(
    path: string,
    options?: Pick<FetchOptions, 'signal' | 'onlyIfCached' | 'via'>,
  ): Promise<UpstreamFacts | undefined>;
  /**
   * Begins to fetch a path. With a range, the answer may still be the whole content (`range` null).
   * @throws upstream.unreachable, upstream.failed, upstream.unauthorized, upstream.address-refused,
   *   upstream.unusable (an answer that cannot be that content), interrupted when `signal` fires
   */
  fetch(path: string, options?: FetchOptions): Promise<UpstreamAnswer>;
  /** Lets go of idle connections. */
  close(): void;
}
