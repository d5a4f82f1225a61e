/**
 * Response header fields of content, as flat lists of names and values in turn: Node writes these as they are.
 */
import type { ArtifactFacts } from '../artifact-source.ts';
import { mediaTypeOf } from './media-types.ts';

export interface ContentHeaders {
  readonly mediaType: string;
  /** Of every answer that carries content, or would. */
  readonly common: string[];
  /** Of 200. */
  readonly whole: string[];
  /** Of 304 (RFC 9110, section 15.4.5). */
  readonly notModified: string[];
}

/** Made once for content that is asked for often. */
const made = new WeakMap<ArtifactFacts, ContentHeaders>();

export function contentHeaders(facts: ArtifactFacts): ContentHeaders {
  let headers = made.get(facts);
  if (headers === undefined) {
    headers = makeHeaders(facts);
    made.set(facts, headers);
  }
  return headers;
}

const CACHE_CONTROL = { immutable: 'public, max-age=31536000, immutable', revalidate: 'no-cache' } as const;

function makeHeaders(facts: ArtifactFacts): ContentHeaders {
  const mediaType = facts.mediaType ?? mediaTypeOf(facts.name);
  const validators = [
    ...(facts.etag === null ? [] : ['ETag', facts.etag]),
    ...(facts.modified === null ? [] : ['Last-Modified', facts.modified.toUTCString()]),
    'Cache-Control',
    CACHE_CONTROL[facts.freshness],
  ];
  const common = [
    ...validators,
    'Accept-Ranges',
    facts.size === null ? 'none' : 'bytes',
    ...(facts.digest === null ? [] : ['Repr-Digest', reprDigest(facts.digest)]),
    ...(facts.verification === 'unverified' ? ['X-Verification', 'unverified'] : []),
    'X-Content-Type-Options',
    'nosniff',
    // XML can bring scripts along, and so can pages of others.
    ...(mediaType === 'application/xml' || mediaType.startsWith('text/html')
      ? ['Content-Security-Policy', 'sandbox']
      : []),
  ];
  const length = facts.size === null ? [] : ['Content-Length', String(facts.size)];
  return { mediaType, common, whole: ['Content-Type', mediaType, ...length, ...common], notModified: validators };
}

/** RFC 9530: the digest of the whole representation, whichever part of it is sent. */
function reprDigest(digest: string): string {
  return `sha-256=:${Buffer.from(digest.slice('sha256:'.length), 'hex').toString('base64')}:`;
}
