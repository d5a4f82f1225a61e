/** One signature, held against the pinned keys. */

import type { AnyKeyPacket, SignaturePacket } from 'openpgp';

import { limits } from '../../../limits.ts';
import { quote } from '../quote.ts';
import type { VendorKey } from './key-files.ts';
import { hashName, isKnownHash, isWeakHash, type OpenPgp } from './library.ts';
import type { SignatureInFile } from './signature-files.ts';
import type { CertificateStanding } from './standing.ts';

/**
 * What came of a signature:
 * - `good`: made by a pinned key over exactly these bytes, at a time when that key was good
 * - `bad`: names a pinned key, and is not its signature over these bytes; or is dated impossibly, or has run out
 * - `unknown-key`: no pinned key that may sign made it; also where a pinned key file carries the key without
 *   vouching for it (an unbound or not cross-certified subkey, one for encryption only, a weak one)
 * - `key-revoked`, `key-expired`: really made by a pinned key, which was not good at that time
 * - `weak-digest`: over MD5, SHA-1 or RIPEMD-160, for which the signed bytes can be forged
 * - `unparsable`: not a detached signature, or of a version or algorithm that is not supported
 */
export type SignatureOutcome =
  | 'good'
  | 'bad'
  | 'unknown-key'
  | 'key-revoked'
  | 'key-expired'
  | 'weak-digest'
  | 'unparsable';

/** Key ids and fingerprints are upper-case hexadecimal digits, dates those that the signature states. */
export interface SignatureVerdict {
  readonly outcome: SignatureOutcome;
  /** Of the key or subkey that made it, as the signature says; null if it does not say. */
  readonly keyId: string | null;
  /** Of the pinned primary key; where none is pinned, what the signature says of its maker, unproven; else null. */
  readonly fingerprint: string | null;
  /** Of the subkey that made it, where it was not the primary key itself. */
  readonly subkeyFingerprint?: string;
  /** Of the pinned key, the primary one; vouched for by the key itself. Text from outside. */
  readonly userId?: string;
  /** Absent where the signature states none that is possible. */
  readonly signedAt?: Date;
  /** `SHA256`, `SHA512`. */
  readonly hash?: string;
  /** What came of it, naming the keys, and what to do next. */
  readonly message: string;
}

/** What signatures are judged by. */
export interface Bench {
  readonly openpgp: OpenPgp;
  readonly keys: readonly VendorKey[];
  /** For what cannot come from the future, and for signatures that run out. */
  readonly now: Date;
  /** True where weak hashes are for the caller to weigh; then there is no outcome `weak-digest`. */
  readonly allowsWeakHashes: boolean;
  /** What a pinned key's certificate says at `now`. */
  standing(key: VendorKey): Promise<CertificateStanding>;
  /**
   * The cryptographic check, and nothing else: is `packet` the signature of `signer` over the signed bytes? Checked at
   * the moment of its own date, so that no clock has a say in it.
   */
  matches(packet: SignaturePacket, signer: AnyKeyPacket): Promise<boolean>;
}

/** A pinned key, or subkey, whose id the signature names. */
interface Candidate {
  readonly key: VendorKey;
  readonly signer: AnyKeyPacket;
}

type Facts = Pick<SignatureVerdict, 'keyId' | 'fingerprint' | 'subkeyFingerprint' | 'userId' | 'signedAt' | 'hash'>;

/** Judges one signature. Never throws for what is wrong with the signature or the keys. */
export async function judgeSignature(bench: Bench, signature: SignatureInFile): Promise<SignatureVerdict> {
  switch (signature.kind) {
    case 'modern':
      return await judgePacket(bench, signature.packet);
    case 'version-3':
      return unparsable(
        signature.keyId,
        `The signature, by key ${signature.keyId}, has the outdated version 3, which is not supported for files. ` +
          'Ask the vendor for a version 4 signature (GnuPG makes nothing else since 2.1).',
      );
    case 'unreadable':
      return unparsable(null, `The signature ${signature.problem}.`);
  }
}

/** As `judgeSignature`, for a signature that is read already. */
export async function judgePacket(bench: Bench, packet: SignaturePacket): Promise<SignatureVerdict> {
  const facts = factsOf(packet);
  const { binary, text } = bench.openpgp.enums.signature;
  if (packet.signatureType !== binary && packet.signatureType !== text) {
    const message = `The signature by key ${facts.keyId} is of type ${packet.signatureType}, not one over a file. Get the right file.`;
    return { ...facts, outcome: 'unparsable', message };
  }
  if (!isKnownHash(packet.hashAlgorithm)) {
    const message = `The signature by key ${facts.keyId} uses the unsupported ${facts.hash}. Ask the vendor for a SHA-256 or SHA-512 signature.`;
    return { ...facts, outcome: 'unparsable', message };
  }
  // Ids of 64 bits can collide, and anybody can put a stranger's key into his own as a subkey: every candidate is tried.
  const verdicts: SignatureVerdict[] = [];
  for (const candidate of candidatesFor(packet, bench.keys)) {
    verdicts.push(await judgeCandidate(bench, candidate, packet));
  }
  return (
    verdicts.find(({ outcome }) => outcome === 'good') ??
    verdicts.find(({ outcome }) => outcome !== 'bad') ??
    verdicts[0] ??
    unknownKey(facts, bench.keys)
  );
}

async function judgeCandidate(
  bench: Bench,
  { key, signer }: Candidate,
  packet: SignaturePacket,
): Promise<SignatureVerdict> {
  const { primary, subkeys, userIds } = await bench.standing(key);
  const fingerprint = signer.getFingerprint().toUpperCase();
  const own = [primary, ...subkeys].find((standing) => standing.fingerprint === fingerprint);
  const facts: Facts = {
    ...factsOf(packet),
    fingerprint: primary.fingerprint,
    ...(own === primary ? {} : { subkeyFingerprint: fingerprint }),
    ...(userIds[0] === undefined ? {} : { userId: userIds[0] }),
  };
  const owner = userIds[0] === undefined ? '' : ` ${quote(userIds[0])}`;
  const name = `${own === primary ? '' : `subkey ${fingerprint} of `}key ${primary.fingerprint}${owner}`;
  const signedAt = facts.signedAt ?? new Date(0);
  const verdict = (outcome: SignatureOutcome, message: string): SignatureVerdict => ({ ...facts, outcome, message });

  if (isWeakHash(packet.hashAlgorithm) && !bench.allowsWeakHashes) {
    return verdict(
      'weak-digest',
      `The signature by ${name} is over ${facts.hash}, for which the signed bytes can be forged. Ask the vendor for a SHA-256 or SHA-512 signature.`,
    );
  }
  if (!(await bench.matches(packet, signer))) {
    return verdict(
      'bad',
      `Bad signature: it names ${name}, which did not sign these bytes. The file or its signature was changed or damaged; download both again.`,
    );
  }
  if (own === undefined || own.obstacle !== null) {
    return verdict(
      'unknown-key',
      `The signature was made by ${name}, but that key ${own?.obstacle ?? 'is no part of it'}. Ask the vendor for a file signed by the release key.`,
    );
  }
  if (signedAt.getTime() > bench.now.getTime() + limits.clockTolerance) {
    return verdict(
      'bad',
      `The signature by ${name} is dated ${show(signedAt)}, in the future. Check the clock of this machine.`,
    );
  }
  if (signedAt < own.created) {
    return verdict(
      'bad',
      `The signature by ${name} is dated ${show(signedAt)}, before that key was made (${show(own.created)}). Ask the vendor.`,
    );
  }
  const revocation = own.revocations.find(({ hard, at }) => hard || at <= signedAt);
  if (revocation !== undefined) {
    return verdict(
      'key-revoked',
      `The signature was made by ${name}, which its owner revoked on ${show(revocation.at)} (${revocation.reason}). Ask the vendor for a file signed by the current key.`,
    );
  }
  if (own.expires !== null && signedAt >= own.expires) {
    return verdict(
      'key-expired',
      `The signature of ${show(signedAt)} was made by ${name}, which had expired on ${show(own.expires)}. If the vendor has prolonged that key, add the current key file.`,
    );
  }
  const end = packet.getExpirationTime();
  if (end instanceof Date && end <= bench.now) {
    return verdict('bad', `The signature by ${name} was valid until ${show(end)} only. Download a current one.`);
  }
  return verdict('good', `Good ${facts.hash} signature of ${show(signedAt)} by ${name}.`);
}

/** Primary keys and subkeys, bound or not, that the signature says to be made by. */
function candidatesFor(packet: SignaturePacket, keys: readonly VendorKey[]): Candidate[] {
  const fingerprint = issuerFingerprint(packet);
  return keys.flatMap((key) =>
    [key.certificate.keyPacket, ...key.certificate.subkeys.map(({ keyPacket }) => keyPacket)]
      .filter((signer) => signer.getKeyID().equals(packet.issuerKeyID))
      .filter((signer) => fingerprint === null || signer.getFingerprint().toUpperCase() === fingerprint)
      .map((signer) => ({ key, signer })),
  );
}

function factsOf(packet: SignaturePacket): Facts {
  const keyId = packet.issuerKeyID.toHex().toUpperCase();
  return {
    keyId: /^0*$/.test(keyId) ? null : keyId,
    fingerprint: issuerFingerprint(packet),
    hash: hashName(packet.hashAlgorithm),
    ...(isTime(packet.created) ? { signedAt: packet.created } : {}),
  };
}

/** A field that is longer than it should be gives a time that is none. */
function isTime(date: Date | null): date is Date {
  return date !== null && !Number.isNaN(date.getTime());
}

function issuerFingerprint({ issuerFingerprint: bytes }: SignaturePacket): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('hex').toUpperCase();
}

function unknownKey(facts: Facts, keys: readonly VendorKey[]): SignatureVerdict {
  const maker =
    facts.keyId === null
      ? 'The signature does not say which key made it'
      : `The signature says that it was made by key ${facts.fingerprint ?? facts.keyId}, which is not pinned`;
  const pinned =
    keys.length === 0
      ? 'no vendor key is pinned here'
      : `pinned are ${keys.map(({ fingerprint }) => fingerprint).join(', ')}`;
  const message = `${maker}; ${pinned}. If the vendor publishes that fingerprint elsewhere too, add its key: airlock trust vendor-key add FILE --fingerprint F.`;
  return { ...facts, outcome: 'unknown-key', message };
}

function unparsable(keyId: string | null, message: string): SignatureVerdict {
  return { outcome: 'unparsable', keyId, fingerprint: null, message };
}

function show(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}
