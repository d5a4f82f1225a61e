/**
 * What the head of an upstream's answer says, read with suspicion.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { limits } from '../../limits.ts';
import type { ByteRange, Digest } from '../blobs/blob-store.ts';
import { parseDigest } from '../blobs/layout.ts';
import { parseHttpDate } from '../http/conditionals.ts';
import type { UpstreamFacts } from './upstream.ts';

/** An answer that is at least this much younger than its content can vouch for it with a date (RFC 9110, 8.8.2.2). */
const SAFE_AGE = 60_000;

/** @param size of the whole content, as the status line's rules give it */
export function readFacts(headers: IncomingHttpHeaders, size: number | null): UpstreamFacts {
  const etag = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/.test(headers.etag ?? '') ? (headers.etag ?? null) : null;
  const modified = parseHttpDate(headers['last-modified'] ?? '');
  const date = parseHttpDate(headers.date ?? '');
  const isOld = modified !== undefined && date !== undefined && date - modified >= SAFE_AGE;
  const strongTag = etag?.startsWith('"') ? etag : null;
  return {
    size,
    etag,
    modified: modified === undefined ? null : new Date(modified),
    strongValidator: strongTag ?? (isOld ? (headers['last-modified'] ?? null) : null),
    digest: reprDigest(headers['repr-digest']) ?? parseDigest(strongTag?.slice(1, -1) ?? '') ?? null,
    mediaType: headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? null,
    freshFor: freshness(headers, date),
    age: seconds(headers.age) ?? 0,
    isUnverified: headers['x-verification'] === 'unverified',
  };
}

/** `bytes 5-9/100` → the range, half open, and the size; undefined for anything else. */
export function readContentRange(field: string | undefined): { range: ByteRange; size: number | null } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(field?.trim() ?? '');
  const [start, last] = [Number(match?.[1]), Number(match?.[2])];
  const size = match?.[3] === '*' ? null : Number(match?.[3]);
  if (match === null || last < start || (size !== null && last >= size)) return undefined;
  return { range: { start, end: last + 1 }, size };
}

/** @returns undefined for what is missing or no number */
export function readLength(field: string | undefined): number | undefined {
  return /^\d{1,15}$/.test(field ?? '') ? Number(field) : undefined;
}

function reprDigest(field: string | string[] | undefined): Digest | undefined {
  const match = /(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(field ?? ''));
  return match === null ? undefined : parseDigest(`sha256:${Buffer.from(match[1] ?? '', 'base64').toString('hex')}`);
}

/** RFC 9111, 4.2.1, as a shared cache sees it. */
function freshness(headers: IncomingHttpHeaders, date: number | undefined): UpstreamFacts['freshFor'] {
  const control = (headers['cache-control'] ?? '').toLowerCase();
  const has = (name: string) => new RegExp(`(?:^|[\\s,])${name}(?:$|[\\s,=])`).test(control);
  if (has('no-cache') || has('no-store')) return 0;
  if (has('immutable')) return 'immutable';
  const age = /s-maxage="?(\d{1,12})/.exec(control)?.[1] ?? /max-age="?(\d{1,12})/.exec(control)?.[1];
  if (age !== undefined) return Math.min(Number(age) * 1000, limits.proxy.freshMost);
  const expires = parseHttpDate(headers.expires ?? '');
  if (expires === undefined) return headers.expires === undefined ? null : 0;
  return Math.min(Math.max(0, expires - (date ?? Date.now())), limits.proxy.freshMost);
}

function seconds(field: string | undefined): number | undefined {
  return /^\d{1,10}$/.test(field ?? '') ? Number(field) * 1000 : undefined;
}
