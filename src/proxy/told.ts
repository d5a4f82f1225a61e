/**
 * What clients are told of fetched content: facts for the header, and how it came (X-Cache, Cache-Status, Age).
 */
import { type ArtifactFacts, etagOf } from '../repo/artifact-source.ts';
import type { Pulled } from '../repo/catalog/pulled.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import { classOf } from './content-class.ts';
import type { KeptFacts } from './kept.ts';

/** How a request was answered: `X-Cache`, and the parameters of Cache-Status (RFC 9211). */
export interface Outcome {
  readonly cache: 'HIT' | 'MISS' | 'STALE';
  readonly status: string;
  /** Milliseconds; of kept copies. */
  readonly age?: number;
}

function nameOf(path: string): Pick<ArtifactFacts, 'name' | 'mediaType'> {
  const isFolder = path.endsWith('/');
  return isFolder
    ? { name: 'index.html', mediaType: 'text/html; charset=utf-8' }
    : { name: path.slice(path.lastIndexOf('/') + 1) };
}

/** Facts of a kept copy. */
export function keptArtifact(path: string, { digest, size }: Pulled, facts: KeptFacts): ArtifactFacts {
  return {
    ...nameOf(path),
    digest,
    size,
    modified: facts.modified === null ? null : new Date(facts.modified),
    etag: facts.servedEtag ?? etagOf(digest),
    freshness: isForEver(path, facts.freshFor) ? 'immutable' : 'revalidate',
    verification: facts.verification,
  };
}

/** Facts of what is still on its way, or was only asked about. */
export function comingArtifact(
  path: string,
  { digest, size, modified, etag, freshFor, isUnverified }: UpstreamFacts,
): ArtifactFacts {
  return {
    ...nameOf(path),
    digest,
    size,
    modified,
    etag: digest === null ? etag : etagOf(digest),
    freshness: isForEver(path, freshFor) ? 'immutable' : 'revalidate',
    verification: digest === null || isUnverified ? 'unverified' : 'checksum',
  };
}

function isForEver(path: string, freshFor: UpstreamFacts['freshFor']): boolean {
  return classOf(path).kind === 'immutable' || freshFor === 'immutable';
}

/** Names and values in turn; Cache-Status stands fourth (http/content.ts notes it in the access log). */
export function headersOf({ cache, status, age }: Outcome): string[] {
  return [
    'X-Cache',
    cache,
    'Cache-Status',
    `airlock; ${status}`,
    ...(age === undefined ? [] : ['Age', String(Math.floor(age / 1000))]),
  ];
}
