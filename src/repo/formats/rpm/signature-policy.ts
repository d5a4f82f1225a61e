/** What may come in: the rules for the digests and signatures of packages (vendor.md A1, `check-rpm-signature`). */

import { AirlockError } from '../../../errors.ts';
import { signatureError } from '../openpgp/verify-detached.ts';
import type { DigestAlgorithm, DigestReport, RpmPart } from './digests.ts';
import type { JudgedSignature, ReadSignature } from './judge-signatures.ts';

/**
 * - `required`: a pinned key must have signed header and payload;
 * - `allow-unsigned`: packages without a signature pass, and those by unknown keys; what can be verified must be good;
 * - `disabled`: nobody looks at signatures.
 */
export const SIGNATURE_POLICIES = ['required', 'allow-unsigned', 'disabled'] as const;
export type SignaturePolicy = (typeof SIGNATURE_POLICIES)[number];

export interface RpmPolicy {
  readonly signatures: SignaturePolicy;
  /** Lets in what nothing better than MD5 or SHA-1 covers. Default false. */
  readonly acceptWeakDigests?: boolean;
}

/** What was found. */
export interface Evidence {
  /** null if one of them does not match. */
  readonly digests: DigestReport | null;
  /** Every signature that the package carries. */
  readonly carried: readonly ReadSignature[];
  /** The same, judged; none if nobody was to look. */
  readonly judged: readonly JudgedSignature[];
}

const PARTS: readonly RpmPart[] = ['header', 'payload'];
const STRONG: readonly (string | null)[] = [
  'sha256',
  'sha384',
  'sha512',
  'sha3-256',
  'sha3-512',
] satisfies DigestAlgorithm[];

/**
 * Why the package may not come in, digests apart that do not match; nothing if it may.
 * @returns signature.bad, signature.invalid (damaged, or of an unsupported kind), signature.unknown-key,
 *   signature.key-revoked, signature.key-expired, signature.missing, signature.weak-digest
 */
export function objections(evidence: Evidence, policy: RpmPolicy): AirlockError[] {
  const errors = policy.signatures === 'disabled' ? [] : signatureObjections(evidence, policy.signatures);
  // Signatures that do not count leave parts without a strong hash; to say so too would only be noise.
  const isUnclear = errors.some(({ code }) => code !== 'signature.missing');
  return isUnclear ? errors : [...errors, ...weaknessObjections(evidence, policy)];
}

/**
 * As with rpm, one bad signature spoils everything, and so does, where signatures are required, one by an unknown key: the
 * routers' rpm would refuse the package. Revoked and expired keys do no harm beside good ones that cover all: vendors
 * sign with two keys while they change them. Nor do unknown keys and algorithms among the signatures of rpm 6, of which a
 * package may carry any number.
 */
function signatureObjections(evidence: Evidence, policy: Exclude<SignaturePolicy, 'disabled'>): AirlockError[] {
  const { digests, judged } = evidence;
  const isRequired = policy === 'required';
  const fatal = judged.filter(
    ({ name, worth }) => worth === 'bad' || (isRequired && worth === 'unproven' && name !== 'OPENPGP'),
  );
  // Damage is told by the digests; what it leaves uncovered would only be noise.
  if (fatal.length > 0 || digests === null) return errorsOf(fatal);
  const signed = signedParts(evidence);
  const uncovered = PARTS.filter((part) => !signed.includes(part));
  if (uncovered.length === 0) return [];

  const worthless = judged.filter(({ worth }) => worth === 'outlived' || (isRequired && worth === 'unproven'));
  if (worthless.length > 0) return errorsOf(worthless);
  if (uncovered.length < PARTS.length) return [partlySigned(uncovered)];
  return isRequired ? [unsigned()] : [];
}

/**
 * What pinned keys have signed. A signature over the header vouches for the payload too, if a digest of the payload
 * stands in that header.
 */
export function signedParts({ digests, judged }: Pick<Evidence, 'digests' | 'judged'>): readonly RpmPart[] {
  const good = judged.filter(({ worth }) => worth === 'good');
  const isSigned = (part: RpmPart) => good.some(({ covers }) => covers.includes(part));
  const isVouchedFor =
    isSigned('header') &&
    (digests?.checks ?? []).some(({ covers, state }) => state === 'matched' && !covers.includes('header'));
  return PARTS.filter((part) => isSigned(part) || (part === 'payload' && isVouchedFor));
}

/**
 * The parts that nothing better covers than a hash for which bytes can be forged, or nothing at all. Digests and signatures
 * count alike: as with rpm 4, a signature over SHA-1 passes where digests of SHA-256 cover all (its check is kept as weak).
 */
export function weakParts({ digests, carried, judged }: Evidence, { signatures }: RpmPolicy): readonly RpmPart[] {
  if (digests === null) return [];
  // A signature that the policy lets pass unproven counts too: the question here is of the hash, not of who signed.
  const counts = signatures === 'required' ? ['good'] : ['good', 'unproven'];
  const counting =
    signatures === 'disabled'
      ? carried
      : judged
          .filter(({ worth }) => counts.includes(worth))
          .map(({ covers, verdict }) => ({ covers, hash: verdict.hash ?? null }));
  const isStrong = (part: RpmPart) =>
    STRONG.includes(digests.strongest[part]) ||
    counting.some(({ covers, hash }) => covers.includes(part) && isStrongHash(hash));
  return PARTS.filter((part) => !isStrong(part));
}

/** @param hash in either case */
export function isStrongHash(hash: string | null): boolean {
  return STRONG.includes(hash?.toLowerCase() ?? null);
}

const NAMES: Readonly<Record<string, string>> = { md5: 'MD5 only', sha1: 'SHA-1 only', sha224: 'SHA-224 only' };

function weaknessObjections(evidence: Evidence, policy: RpmPolicy): AirlockError[] {
  const parts = policy.acceptWeakDigests === true ? [] : weakParts(evidence, policy);
  if (parts.length === 0) return [];
  const strongest = evidence.digests?.strongest;
  const said = parts.map((part) => `the ${part} (${NAMES[strongest?.[part] ?? ''] ?? 'no digest'})`).join(' and ');
  return [
    new AirlockError(
      'signature.weak-digest',
      `Nothing of SHA-256 or better, digest or signature, covers ${said} of the package, so it could be forged. Ask the vendor for a newer build, or accept it with --accept-weak-digests.`,
      { details: { parts, strongest } },
    ),
  ];
}

/** One for each key and kind of trouble: most packages of rpm 3 carry two signatures by the same key. */
function errorsOf(judged: readonly JudgedSignature[]): AirlockError[] {
  const alike = Map.groupBy(judged, ({ verdict }) => verdict.message);
  return [...alike.values()].flatMap(([first, ...others]) => (first === undefined ? [] : [errorOf(first, others)]));
}

function errorOf({ name, covers, verdict }: JudgedSignature, others: readonly JudgedSignature[]): AirlockError {
  const { code, message, details } = signatureError(verdict);
  const signatures = [{ name, covers }, ...others.map((other) => ({ name: other.name, covers: other.covers }))];
  const said = signatures.map((each) => `${each.name}, over ${each.covers.join(' and ')}`);
  return new AirlockError(code, `${said.join('; ')}: ${message}`, { details: { ...details, signatures } });
}

const INSTEAD = 'Ask the vendor for a signed package, or allow unsigned ones with: check-rpm-signature allow-unsigned.';

function unsigned(): AirlockError {
  return new AirlockError('signature.missing', `The package is not signed. ${INSTEAD}`, {
    details: { uncovered: PARTS },
  });
}

function partlySigned(uncovered: readonly RpmPart[]): AirlockError {
  const [part = ''] = uncovered;
  const message = `The package is signed in part only: nothing signed covers its ${part}, so that could be exchanged. Ask the vendor for a fully signed package (with a payload digest, or a signature over header and payload).`;
  return new AirlockError('signature.missing', message, { details: { uncovered } });
}
