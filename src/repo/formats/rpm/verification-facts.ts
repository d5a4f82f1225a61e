import type { Check, Verification } from '../../catalog/artifact.ts';
import type { DigestReport, RpmPart } from './digests.ts';
import type { JudgedSignature } from './judge-signatures.ts';
import { type Evidence, isStrongHash, type RpmPolicy, signedParts, weakParts } from './signature-policy.ts';

/**
 * What was verified of a package, to be kept with it: the strongest digest of each part, every signature. Its status is
 * `signature` where pinned keys signed all of it, `checksum` where its own digests cover all of it.
 */
export function verificationOf(evidence: Evidence, policy: RpmPolicy): Verification {
  const { digests } = evidence;
  const isWhole = digests !== null && digests.strongest.header !== null && digests.strongest.payload !== null;
  const isSigned = digests !== null && signedParts(evidence).length === 2;
  return {
    status: isSigned ? 'signature' : isWhole ? 'checksum' : 'unverified',
    checks: [
      ...digestChecks(digests, policy.acceptWeakDigests === true ? weakParts(evidence, policy) : []),
      ...signatureChecks(evidence, policy),
    ],
  };
}

function digestChecks(digests: DigestReport | null, waivedParts: readonly RpmPart[]): Check[] {
  if (digests === null) return [{ check: 'digest', result: 'failed' }];
  const { header, payload } = digests.strongest;
  const same = header === payload && waivedParts.length !== 1;
  return same ? [digestCheck(['header', 'payload'])] : [digestCheck(['header']), digestCheck(['payload'])];

  function digestCheck(covers: readonly [RpmPart, ...RpmPart[]]): Check {
    const algorithm = digests?.strongest[covers[0]] ?? null;
    const waived = covers.some((part) => waivedParts.includes(part)) ? { waived: true as const } : {};
    if (algorithm === null) return { check: 'digest', result: 'missing', covers, ...waived };
    return {
      check: 'digest',
      result: 'passed',
      covers,
      algorithm,
      ...(isStrongHash(algorithm) ? {} : { weak: true }),
      ...waived,
    };
  }
}

function signatureChecks({ judged }: Evidence, { signatures }: RpmPolicy): Check[] {
  if (signatures === 'disabled') return [{ check: 'signature', result: 'not-checked' }];
  if (judged.length === 0) return [{ check: 'signature', result: 'missing' }];
  return judged.map(signatureCheck);
}

function signatureCheck({ covers, worth, verdict }: JudgedSignature): Check {
  const { outcome, keyId, fingerprint, userId, signedAt, hash, message } = verdict;
  const result =
    worth === 'good'
      ? 'passed'
      : worth === 'unproven'
        ? outcome === 'unknown-key'
          ? 'unknown-key'
          : 'does-not-apply'
        : 'failed';
  return {
    check: 'signature',
    result,
    covers,
    ...(hash === undefined ? {} : { algorithm: hash.toLowerCase(), ...(isStrongHash(hash) ? {} : { weak: true }) }),
    ...(keyId === null ? {} : { keyId }),
    ...(fingerprint === null ? {} : { fingerprint }),
    ...(userId === undefined ? {} : { userId }),
    // Of a damaged signature the time may be none.
    ...(signedAt === undefined || Number.isNaN(signedAt.getTime()) ? {} : { signedAt: signedAt.toISOString() }),
    ...(worth === 'good' ? {} : { note: message }),
  };
}
