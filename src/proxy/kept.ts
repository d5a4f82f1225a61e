/**
 * What is written down of content that was fetched: validators and freshness of a kept copy, and of one on its way.
 */
import { z } from 'zod';
import { limits } from '../limits.ts';
import type { BlobStat, Digest } from '../repo/blobs/blob-store.ts';
import type { VerificationStatus } from '../repo/catalog/artifact.ts';
import type { Pulled } from '../repo/catalog/pulled.ts';
import type { UpstreamFacts } from '../repo/upstream/upstream.ts';
import type { ContentClass } from './content-class.ts';
import type { ProxyRules } from './rules.ts';

const validators = {
  /** As the source gave them. */
  etag: z.string().nullable(),
  modified: z.number().nullable(),
};

const keptFacts = z.object({
  ...validators,
  /** The entity tag that clients got; null: that of the digest. */
  servedEtag: z.string().nullable(),
  source: z.string(),
  fetchedAt: z.number(),
  /** When a source last said that it is current. */
  checkedAt: z.number(),
  freshFor: z.union([z.number(), z.literal('immutable')]).nullable(),
  verification: z.enum(['signature', 'checksum', 'unverified']),
});

/** Of a kept copy. Times in milliseconds since the epoch. */
export type KeptFacts = z.output<typeof keptFacts>;

const pendingFacts = z.object({
  ...validators,
  writer: z.string(),
  strongValidator: z.string().nullable(),
  size: z.number(),
  digest: z
    .string()
    .transform((text) => text as Digest)
    .nullable(),
  /** As UpstreamFacts. Earlier versions did not write it down. */
  isUnverified: z.boolean().default(false),
});

/** Of an unfinished spool. */
export type PendingFacts = z.output<typeof pendingFacts>;

/** @returns undefined for what another version wrote: it is fetched again then */
export function readKept({ facts }: Pulled): KeptFacts | undefined {
  return keptFacts.safeParse(facts).data;
}

export function readPending(text: string | undefined): PendingFacts | undefined {
  if (text === undefined) return undefined;
  try {
    return pendingFacts.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** What to write down of a copy that has just been stored. */
export function keptOf(
  facts: UpstreamFacts,
  { source, verification, now }: { source: string; verification: VerificationStatus; now: number },
): KeptFacts {
  return {
    etag: facts.etag,
    modified: facts.modified?.getTime() ?? null,
    servedEtag: facts.digest === null && facts.etag?.startsWith('"') === true ? facts.etag : null,
    source,
    fetchedAt: now,
    checkedAt: now - facts.age,
    freshFor: facts.freshFor,
    verification,
  };
}

/** Until when a copy need not be asked for again (RFC 9111, 4.2), milliseconds since the epoch. */
export function freshUntil(
  { checkedAt, freshFor }: KeptFacts,
  { kind }: ContentClass,
  fresh: ProxyRules['fresh'],
): number {
  if (kind === 'immutable' || freshFor === 'immutable') return Number.POSITIVE_INFINITY;
  const rule = kind === 'repomd' ? fresh.repodata : kind === 'folder' ? fresh.listings : fresh.metadata;
  return checkedAt + (rule ?? freshFor ?? limits.proxy.fresh);
}

/** A kept copy as the catalog has it. */
export function pulledOf(path: string, { digest, size }: BlobStat, facts: KeptFacts, now: number): Pulled {
  return { path, digest, size, usedAt: new Date(now), facts };
}
