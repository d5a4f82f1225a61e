/**
 * Detached OpenPGP signatures of vendors: the `.asc` beside a checksum file, over the bytes of that file
 * (vendor.md A1). Only keys that were pinned by their full fingerprint count; nothing is ever fetched.
 */

import type { AnyKeyPacket, SignaturePacket } from 'openpgp';

import { AirlockError, type ErrorCode, isAirlockError } from '../../../errors.ts';
import { type Bench, judgeSignature, type SignatureOutcome, type SignatureVerdict } from './judge-signature.ts';
import type { VendorKey } from './key-files.ts';
import { certificationConfig, loadOpenPgp, type OpenPgp } from './library.ts';
import { readSignatures, type SignatureInFile } from './signature-files.ts';
import { rememberedStandings } from './standing.ts';

export type { SignatureOutcome, SignatureVerdict } from './judge-signature.ts';

export interface VerifyDetachedInput {
  /** The exact bytes that were signed. */
  readonly signed: Uint8Array;
  /** The signature file, armoured or binary. */
  readonly signature: Uint8Array;
  /** The pinned keys (`loadVendorKeys`, `readVendorKeys`). */
  readonly keys: readonly VendorKey[];
  /** Default: the clock of this machine. */
  readonly now?: Date;
}

/** From what tells most about a file without a good signature to what tells least. */
const MOST_TELLING: readonly SignatureOutcome[] = [
  'key-revoked',
  'key-expired',
  'weak-digest',
  'unknown-key',
  'unparsable',
];

/**
 * Verifies a detached signature file. Where it holds several signatures, it is good if one of them is good and none
 * by a pinned key is bad: vendors sign with the old and the new key while they change keys.
 *
 * Times: a key must have been good when it signed. One that expired or was retired or superseded later stays good
 * for what it signed before (RFC 9580 section 5.2.3.31; GnuPG judges by the present and only warns); one that was
 * revoked as compromised, or without a reason, is good for nothing.
 * @returns a verdict, whatever is wrong with the signature; never throws for that
 */
export async function verifyDetached({
  signed,
  signature,
  keys,
  now = new Date(),
}: VerifyDetachedInput): Promise<SignatureVerdict> {
  let signatures: SignatureInFile[];
  try {
    signatures = await readSignatures(signature);
  } catch (error) {
    if (!isAirlockError(error, 'signature.invalid')) throw error;
    return { outcome: 'unparsable', keyId: null, fingerprint: null, message: error.message };
  }
  const bench = await benchFor(signed, keys, now);
  const verdicts: SignatureVerdict[] = [];
  for (const one of signatures) verdicts.push(await judgeSignature(bench, one));
  return summary(verdicts);
}

/**
 * The error for a verdict that is not good, for callers that must refuse.
 * @returns signature.bad, signature.unknown-key, signature.key-revoked, signature.key-expired, signature.weak-digest or signature.invalid
 */
export function signatureError(verdict: SignatureVerdict): AirlockError {
  const { outcome, message, ...facts } = verdict;
  return new AirlockError(ERROR_CODES[outcome], message, { details: { outcome, ...facts } });
}

const ERROR_CODES: Readonly<Record<SignatureOutcome, ErrorCode>> = {
  good: 'internal',
  bad: 'signature.bad',
  'unknown-key': 'signature.unknown-key',
  'key-revoked': 'signature.key-revoked',
  'key-expired': 'signature.key-expired',
  'weak-digest': 'signature.weak-digest',
  unparsable: 'signature.invalid',
};

async function benchFor(signed: Uint8Array, keys: readonly VendorKey[], now: Date): Promise<Bench> {
  const openpgp = await loadOpenPgp();
  return {
    openpgp,
    keys,
    now,
    allowsWeakHashes: false,
    standing: rememberedStandings(openpgp, now),
    matches: (packet, signer) => matches(openpgp, signed, packet, signer),
  };
}

async function matches(
  openpgp: OpenPgp,
  signed: Uint8Array,
  packet: SignaturePacket,
  signer: AnyKeyPacket,
): Promise<boolean> {
  const { signatureType, created } = packet;
  const literal = (await openpgp.createMessage({ binary: signed })).packets[0];
  if (literal === undefined || signatureType === null || created === null) return false;
  try {
    await packet.verify(signer, signatureType, literal, created, true, certificationConfig(openpgp));
    return true;
  } catch {
    return false;
  }
}

function summary(verdicts: readonly SignatureVerdict[]): SignatureVerdict {
  for (const outcome of ['bad', 'good', ...MOST_TELLING] as const) {
    const found = verdicts.find((verdict) => verdict.outcome === outcome);
    if (found !== undefined) return found;
  }
  return { outcome: 'unparsable', keyId: null, fingerprint: null, message: 'The file holds no signature.' };
}
