import { createHash, getHashes, type Hash } from 'node:crypto';
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import type { RpmHeader } from './header.ts';
import { type PassListener, readOnce } from './one-pass.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';
import { SIGTAG, TAG } from './tags.ts';

/** Weakest first. Against somebody who means harm, the first two are worth nothing. */
const ALGORITHMS = ['md5', 'sha1', 'sha224', 'sha256', 'sha3-256', 'sha384', 'sha512', 'sha3-512'] as const;
export type DigestAlgorithm = (typeof ALGORITHMS)[number];

/** OpenPGP's numbers (RFC 9580 section 9.5), which the tag of the payload digest's algorithm uses. */
const NUMBERED: Readonly<Record<number, DigestAlgorithm>> = {
  1: 'md5',
  2: 'sha1',
  8: 'sha256',
  9: 'sha384',
  10: 'sha512',
  11: 'sha224',
  12: 'sha3-256',
  14: 'sha3-512',
};

export type RpmPart = 'header' | 'payload';

/**
 * - `matched`;
 * - `passed-over`: of a pair of payload digests, packed and unpacked, the other one matched;
 * - `unknown-algorithm`: nothing here can compute it, so it proves nothing.
 */
export type DigestState = 'matched' | 'passed-over' | 'unknown-algorithm';

export interface DigestCheck {
  /** As rpm calls the tag: `SHA256HEADER`, `SIGMD5`, `PAYLOADSHA256` … */
  readonly name: string;
  readonly algorithm: DigestAlgorithm | null;
  readonly covers: readonly RpmPart[];
  readonly state: DigestState;
}

export interface DigestReport {
  /** Every digest that the package carries; none of them failed. */
  readonly checks: readonly DigestCheck[];
  /**
   * The best digest that matched for each part, null if there was none. That of the payload mostly stands in the header,
   * so it is worth no more than the header's own digest and signature.
   */
  readonly strongest: Readonly<Record<RpmPart, DigestAlgorithm | null>>;
}

interface Claim {
  readonly name: string;
  readonly algorithm: DigestAlgorithm | null;
  readonly covers: readonly RpmPart[];
  /** Lower-case hexadecimal digits. */
  readonly expected: string;
  /** Claims of one pair are alternatives: one of them must match. */
  readonly pair?: string;
}

/**
 * Computes every digest that the package carries in one pass over header and payload, and compares. Which parts must be
 * covered, and how well, is for the caller to decide: a package without any digest passes.
 * @param source what `rpm` was opened from
 * @param onBytes called with the number of bytes hashed since the last call; may throw to stop
 * @throws rpm.digest-mismatch naming those that differ (`details.mismatched`: name, covers, expected, found);
 *   rpm.invalid for a digest of a wrong form; rpm.truncated; what the source and `onBytes` throw
 */
export async function checkDigests(
  source: ByteSource,
  rpm: RpmFile,
  onBytes?: (bytes: number) => void,
): Promise<DigestReport> {
  const running = startDigests(rpm);
  const starts = running.listeners.map(({ range }) => range.start);
  const ends = running.listeners.map(({ range }) => range.end);
  await readOnce(source, rpm, { start: Math.min(...starts), end: Math.max(...ends) }, running.listeners, { onBytes });
  return running.finish();
}

/** Digests on their way: give `listeners` what they ask for, then `finish`. */
export interface RunningDigests {
  readonly listeners: readonly PassListener[];
  /** @throws rpm.digest-mismatch as `checkDigests` */
  finish(): DigestReport;
}

/** As `checkDigests`, for a caller who reads the package for other reasons too. @throws rpm.invalid, rpm.limit */
export function startDigests(rpm: RpmFile): RunningDigests {
  const claims = claimsOf(rpm);
  const hashes = startHashes(rpm, claims);
  return {
    listeners: [...hashes.values()].map(({ hash, range }) => ({ range, update: (piece) => hash.update(piece) })),
    finish: () => report(claims, new Map(Array.from(hashes, ([key, { hash }]) => [key, hash.digest('hex')]))),
  };
}

function report(claims: readonly Claim[], found: ReadonlyMap<string, string>): DigestReport {
  const matches = (claim: Claim) => found.get(digestKey(claim)) === claim.expected;
  const passes = (claim: Claim) =>
    matches(claim) ||
    claim.algorithm === null ||
    (claim.pair !== undefined && claims.some((other) => other.pair === claim.pair && matches(other)));
  const mismatched = claims.filter((claim) => !passes(claim));
  if (mismatched.length > 0) throw mismatch(mismatched, found);
  const checks = claims.map((claim): DigestCheck => {
    const state = claim.algorithm === null ? 'unknown-algorithm' : matches(claim) ? 'matched' : 'passed-over';
    return { name: claim.name, algorithm: claim.algorithm, covers: claim.covers, state };
  });
  return { checks, strongest: { header: strongestOf(checks, 'header'), payload: strongestOf(checks, 'payload') } };
}

function strongestOf(checks: readonly DigestCheck[], part: RpmPart): DigestAlgorithm | null {
  const matched = checks.filter(({ covers, state }) => covers.includes(part) && state === 'matched');
  return ALGORITHMS.findLast((algorithm) => matched.some((check) => check.algorithm === algorithm)) ?? null;
}

function mismatch(claims: readonly Claim[], found: ReadonlyMap<string, string>): AirlockError {
  const names = claims.map(({ name, covers }) => `${name} (over ${covers.join(' and ')})`);
  const message = `The RPM package is damaged or was changed: it does not have the digest${claims.length === 1 ? '' : 's'} that it says, ${names.join(', ')}. Fetch or copy the package again.`;
  const mismatched = claims.map((claim) => ({
    name: claim.name,
    covers: claim.covers,
    expected: claim.expected,
    found: found.get(digestKey(claim)),
  }));
  return new AirlockError('rpm.digest-mismatch', message, { details: { mismatched } });
}

// rpm's docs/manual/signatures_digests.md: which digest lies where and covers what.
function claimsOf({ signature, header }: RpmFile): Claim[] {
  const md5 = signature.bytes(SIGTAG.md5);
  const both = ['header', 'payload'] as const;
  const claims = [
    ...headerClaim(signature, SIGTAG.sha1, 'SHA1HEADER', 'sha1'),
    ...headerClaim(signature, SIGTAG.sha256, 'SHA256HEADER', 'sha256'),
    ...headerClaim(signature, SIGTAG.sha3, 'SHA3_256HEADER', 'sha3-256'),
    ...(md5 === null ? [] : [newClaim(signature, SIGTAG.md5, 'SIGMD5', 'md5', both, md5.toString('hex'))]),
  ];
  const numbered = header.number(TAG.payloadDigestAlgorithm) ?? 8;
  for (const [tag, altTag, name, algorithm] of [
    [TAG.payloadDigest, TAG.payloadDigestAlt, 'PAYLOADDIGEST', NUMBERED[numbered] ?? null],
    [TAG.payloadSha512, TAG.payloadSha512Alt, 'PAYLOADSHA512', 'sha512'],
    [TAG.payloadSha3, TAG.payloadSha3Alt, 'PAYLOADSHA3_256', 'sha3-256'],
  ] as const) {
    claims.push(...payloadClaims(header, tag, name, algorithm, name));
    // Of the unpacked payload: right for a file whose payload was unpacked on its way.
    claims.push(...payloadClaims(header, altTag, `${name}ALT`, algorithm, name));
  }
  return claims.map((claim) => (isKnown(claim.algorithm) ? claim : { ...claim, algorithm: null }));
}

function isKnown(algorithm: DigestAlgorithm | null): boolean {
  return algorithm !== null && getHashes().includes(algorithm);
}

function headerClaim(signature: RpmHeader, tag: number, name: string, algorithm: DigestAlgorithm): Claim[] {
  const text = signature.textBytes(tag)?.toString('latin1');
  return text === undefined ? [] : [newClaim(signature, tag, name, algorithm, ['header'], text)];
}

function payloadClaims(
  header: RpmHeader,
  tag: number,
  name: string,
  algorithm: DigestAlgorithm | null,
  pair: string,
): Claim[] {
  const most = limits.rpm.payloadDigests;
  if (header.count(tag) > most) throw beyondLimit(header.positionOf(tag), `${header.count(tag)} payload digests`, most);
  return Array.from(header.textArray(tag), (bytes) => ({
    ...newClaim(header, tag, name, algorithm, ['payload'], bytes.toString('latin1')),
    pair,
  }));
}

function newClaim(
  header: RpmHeader,
  tag: number,
  name: string,
  algorithm: DigestAlgorithm | null,
  covers: readonly RpmPart[],
  hex: string,
): Claim {
  const length = algorithm === null ? hex.length : digits(algorithm);
  if (hex.length === length && /^(?:[0-9A-Fa-f]{2})+$/.test(hex)) {
    return { name, algorithm, covers, expected: hex.toLowerCase() };
  }
  throw invalid(header.positionOf(tag), `what the package gives as ${name} is no digest of its kind`);
}

function digits(algorithm: DigestAlgorithm): number {
  const bits = {
    md5: 128,
    sha1: 160,
    sha224: 224,
    sha256: 256,
    'sha3-256': 256,
    sha384: 384,
    sha512: 512,
    'sha3-512': 512,
  };
  return bits[algorithm] / 4;
}

/** Names a digest by what goes into it and how: several claims may share one. */
function digestKey({ algorithm, covers }: Pick<Claim, 'algorithm' | 'covers'>): string {
  return `${algorithm} ${covers.join(' ')}`;
}

function startHashes({ header, payload }: RpmFile, claims: readonly Claim[]) {
  const running = new Map<string, { readonly hash: Hash; readonly range: ByteRange }>();
  for (const { algorithm, covers } of claims) {
    const key = digestKey({ algorithm, covers });
    if (algorithm === null || running.has(key)) continue;
    const range = {
      start: covers.includes('header') ? header.range.start : payload.start,
      end: covers.includes('payload') ? payload.end : header.range.end,
    };
    running.set(key, { hash: createHash(algorithm), range });
  }
  return running;
}
