/**
 * What a key file says about its keys: who they are, until when they are good, whether they may sign at all.
 *
 * Everything rests on signatures that the primary key made about itself and its subkeys; each one is verified, and
 * what is not verified does not exist. Where several speak of one thing, the latest one counts (RFC 9580 section
 * 5.2.3.10), as with GnuPG: owners who prolong a key replace the older statement, and the signatures made before then stay good.
 */

import type { AnyKeyPacket, Key, SignaturePacket, Subkey } from 'openpgp';

import { limits } from '../../../limits.ts';
import { certificationConfig, type OpenPgp } from './library.ts';

/** RSA keys shorter than this are refused; odd keys of 2047 bits occur among those called 2048. */
const LEAST_RSA_BITS = 2047;
/** DSA of 1024 bits, all that there was until 2009, is within reach; of 2048 bits it still signs packages. */
const LEAST_DSA_BITS = 2047;

export interface Revocation {
  readonly at: Date;
  /** The owner's reason in words. */
  readonly reason: string;
  /** True when no signature of the key counts any more; false (superseded, retired) when older ones stay good. */
  readonly hard: boolean;
}

/** One key, primary or subkey, as its certificate describes it. */
export interface Standing {
  /** Upper-case hexadecimal digits. */
  readonly fingerprint: string;
  readonly keyId: string;
  /** `RSA 3072`, `ed25519`, `nistP256`. */
  readonly algorithm: string;
  readonly created: Date;
  /** First moment at which it is not good any more; null if it never expires. */
  readonly expires: Date | null;
  /** Its own, and for a subkey those of the primary key too. */
  readonly revocations: readonly Revocation[];
  /** Why it may never sign, whatever the time: a clause that goes after "it"; null if it may. */
  readonly obstacle: string | null;
}

export interface CertificateStanding {
  readonly primary: Standing;
  readonly subkeys: readonly Standing[];
  /** User ids with a valid self-signature that is not revoked, the primary one first. */
  readonly userIds: readonly string[];
  /** False if no valid self-signature vouches for anything in it: damaged or forged. */
  readonly selfSigned: boolean;
}

interface Context {
  readonly openpgp: OpenPgp;
  readonly certificate: Key;
  readonly now: Date;
}

interface SelfSignature {
  readonly userId: string;
  readonly packet: SignaturePacket;
}

/** Works out what `certificate` says at the moment `now`. */
export async function standingOf(openpgp: OpenPgp, certificate: Key, now: Date): Promise<CertificateStanding> {
  const context = { openpgp, certificate, now };
  const primary = await standingOfPrimary(context);
  const subkeys: Standing[] = [];
  for (const subkey of certificate.subkeys) subkeys.push(await standingOfSubkey(context, subkey, primary));
  return {
    primary: primary.standing,
    subkeys,
    userIds: primary.selfSignatures.map(({ userId }) => userId),
    selfSigned: primary.selfSigned,
  };
}

/** `standingOf` at one moment; works each certificate through at most once, however many signatures name it. */
export function rememberedStandings(
  openpgp: OpenPgp,
  now: Date,
): (key: { readonly certificate: Key }) => Promise<CertificateStanding> {
  const standings = new Map<Key, Promise<CertificateStanding>>();
  return ({ certificate }) => {
    const standing = standings.get(certificate) ?? standingOf(openpgp, certificate, now);
    standings.set(certificate, standing);
    return standing;
  };
}

interface PrimaryStanding {
  readonly standing: Standing;
  readonly selfSignatures: readonly SelfSignature[];
  readonly selfSigned: boolean;
}

async function standingOfPrimary(context: Context): Promise<PrimaryStanding> {
  const { openpgp, certificate } = context;
  const key = certificate.keyPacket;
  const { signature } = openpgp.enums;
  const selfSignatures = await selfSignaturesOf(context);
  const direct = await latestSound(context, directSignaturesOf(context), key, signature.key, { key });
  // version 6 keys carry what applies to the whole key in a direct-key signature (RFC 9580 section 10.1.1)
  const main = key.version === 6 ? direct : selfSignatures[0]?.packet;
  const revocations = await revocationsAmong(context, certificate.revocationSignatures, signature.keyRevocation, {
    key,
  });
  const standing: Standing = {
    ...identity(key),
    expires: earliest(expiryOf(key, main), expiryOf(key, direct)),
    revocations,
    obstacle: main === undefined ? 'has no valid self-signature' : obstacleOf(openpgp, key, main),
  };
  return { standing, selfSignatures, selfSigned: main !== undefined };
}

async function standingOfSubkey(context: Context, subkey: Subkey, primary: PrimaryStanding): Promise<Standing> {
  const { openpgp, certificate } = context;
  const { signature } = openpgp.enums;
  const bound = { key: certificate.keyPacket, bind: subkey.keyPacket };
  const binding = await latestSound(context, subkey.bindingSignatures, bound.key, signature.subkeyBinding, bound);
  const revocations = await revocationsAmong(context, subkey.revocationSignatures, signature.subkeyRevocation, bound);
  return {
    ...identity(subkey.keyPacket),
    expires: earliest(primary.standing.expires, expiryOf(subkey.keyPacket, binding)),
    revocations: [...revocations, ...primary.standing.revocations],
    obstacle: await subkeyObstacle(context, subkey, binding, primary),
  };
}

async function subkeyObstacle(
  context: Context,
  subkey: Subkey,
  binding: SignaturePacket | undefined,
  primary: PrimaryStanding,
) {
  const { openpgp, certificate } = context;
  if (binding === undefined) {
    return 'is not bound to its primary key by a valid binding signature, so anybody may have put it there';
  }
  const obstacle = obstacleOf(openpgp, subkey.keyPacket, binding);
  if (obstacle !== null) return obstacle;
  if (!primary.selfSigned) return `belongs to a primary key that ${primary.standing.obstacle}`;
  const weakness = weaknessOf(openpgp, certificate.keyPacket);
  if (weakness !== null) return `belongs to a primary key that ${weakness}`;
  // A signing subkey must sign its primary key in turn (RFC 9580 section 5.2.3.34), or its signatures could be claimed by
  // whoever binds a stranger's key as his own.
  const back = binding.embeddedSignature;
  const bound = { key: certificate.keyPacket, bind: subkey.keyPacket };
  const { keyBinding } = openpgp.enums.signature;
  const crossCertified =
    back !== null &&
    back.signatureType === keyBinding &&
    (await isSound(context, back, subkey.keyPacket, keyBinding, bound));
  return crossCertified ? null : 'has no valid back signature over its primary key (it is not cross-certified)';
}

/** The latest valid self-signature of every user id that is not revoked; the primary user id first, then the latest. */
async function selfSignaturesOf(context: Context): Promise<SelfSignature[]> {
  const { certificate, openpgp } = context;
  const key = certificate.keyPacket;
  const { signature } = openpgp.enums;
  const found: SelfSignature[] = [];
  for (const { userID, selfCertifications, revocationSignatures } of certificate.users) {
    if (userID === null) continue;
    const packet = await latestSound(context, selfCertifications, key, signature.certGeneric, { key, userID });
    const revoked = await latestSound(context, revocationSignatures, key, signature.certRevocation, { key, userID });
    if (packet === undefined || (revoked !== undefined && timeOf(revoked) >= timeOf(packet))) continue;
    found.push({ userId: userID.userID, packet });
  }
  const rank = ({ packet }: SelfSignature) => (packet.isPrimaryUserID === true ? 1 : 0);
  return found.sort((a, b) => rank(b) - rank(a) || timeOf(b.packet) - timeOf(a.packet));
}

function directSignaturesOf({ certificate, openpgp }: Context): SignaturePacket[] {
  const found: SignaturePacket[] = [];
  for (const packet of certificate.toPacketList()) {
    if (packet instanceof openpgp.SignaturePacket && packet.signatureType === openpgp.enums.signature.key) {
      found.push(packet);
    }
  }
  return found;
}

/**
 * Every valid revocation among `signatures`. A revocation with a weak hash, or one dated in the future, counts all
 * the same: refusing too much is the safe side.
 */
async function revocationsAmong(
  context: Context,
  signatures: readonly SignaturePacket[],
  type: number,
  data: object,
): Promise<Revocation[]> {
  const { openpgp, certificate } = context;
  const config = { ...certificationConfig(openpgp), rejectHashAlgorithms: new Set<never>() };
  const { keySuperseded, keyRetired, keyCompromised } = openpgp.enums.reasonForRevocation;
  const found: Revocation[] = [];
  for (const packet of signatures) {
    if (packet.created === null || !(await verifies(packet, certificate.keyPacket, type, data, config))) continue;
    const flag = packet.reasonForRevocationFlag;
    const reason =
      flag === keySuperseded
        ? 'superseded'
        : flag === keyRetired
          ? 'retired'
          : flag === keyCompromised
            ? 'compromised'
            : 'no reason given';
    found.push({ at: packet.created, reason, hard: flag !== keySuperseded && flag !== keyRetired });
  }
  return found;
}

async function latestSound(
  context: Context,
  signatures: readonly SignaturePacket[],
  signer: AnyKeyPacket,
  type: number,
  data: object,
) {
  let latest: SignaturePacket | undefined;
  for (const packet of signatures) {
    if (latest !== undefined && timeOf(packet) < timeOf(latest)) continue;
    if (await isSound(context, packet, signer, type, data)) latest = packet;
  }
  return latest;
}

/** True if `signer` made `packet` over `data`, and it is neither from the future nor past its own end. */
async function isSound(
  context: Context,
  packet: SignaturePacket,
  signer: AnyKeyPacket,
  type: number,
  data: object,
): Promise<boolean> {
  const now = context.now.getTime();
  if (packet.created === null || timeOf(packet) > now + limits.clockTolerance) return false;
  if (Number(packet.getExpirationTime()) <= now) return false;
  return await verifies(packet, signer, type, data, certificationConfig(context.openpgp));
}

/** The cryptographic check alone: judged at the moment of its making, so that no clock has a say in it. */
async function verifies(
  packet: SignaturePacket,
  signer: AnyKeyPacket,
  type: number,
  data: object,
  config: ReturnType<typeof certificationConfig>,
): Promise<boolean> {
  try {
    await packet.verify(signer, type, data, packet.created ?? undefined, false, config);
    return true;
  } catch {
    return false;
  }
}

function obstacleOf(openpgp: OpenPgp, key: AnyKeyPacket, statement: SignaturePacket): string | null {
  const { publicKey, keyFlags } = openpgp.enums;
  const { rsaEncryptSign, rsaSign, dsa, ecdsa, eddsaLegacy, ed25519, ed448 } = publicKey;
  if (![rsaEncryptSign, rsaSign, dsa, ecdsa, eddsaLegacy, ed25519, ed448].includes(key.algorithm)) {
    return 'is of a kind that cannot sign (encryption only)';
  }
  // Keys made before key flags existed have none, and may do what their algorithm can; so GnuPG and rpm.
  if (statement.keyFlags !== null && ((statement.keyFlags[0] ?? 0) & keyFlags.signData) === 0) {
    return 'is not meant for signing (its owner gave it other uses)';
  }
  return weaknessOf(openpgp, key);
}

function weaknessOf(openpgp: OpenPgp, key: AnyKeyPacket): string | null {
  const { algorithm, bits, curve } = key.getAlgorithmInfo();
  const { dsa } = openpgp.enums.publicKey;
  if (key.algorithm === dsa && dsaBits(key) < LEAST_DSA_BITS) {
    return `is a DSA key of ${dsaBits(key)} bits, which is too weak`;
  }
  if (algorithm.startsWith('rsa') && (bits ?? 0) < LEAST_RSA_BITS) {
    return `is an RSA key of ${bits} bits, which is too weak`;
  }
  return curve === 'secp256k1' ? 'is on the curve secp256k1, which is not accepted' : null;
}

/** Bits of the prime that a DSA key counts by; the library does not tell. */
function dsaBits(key: AnyKeyPacket): number {
  const { p = new Uint8Array(1) } = key.publicParams as { readonly p?: Uint8Array };
  return 8 * p.length + 24 - Math.clz32(p[0] ?? 0);
}

function identity(key: AnyKeyPacket) {
  const { algorithm, bits, curve } = key.getAlgorithmInfo();
  return {
    fingerprint: key.getFingerprint().toUpperCase(),
    keyId: key.getKeyID().toHex().toUpperCase(),
    algorithm: algorithm.startsWith('rsa') ? `RSA ${bits}` : (curve ?? algorithm).replace('Legacy', ''),
    created: key.getCreationTime(),
  };
}

function expiryOf(key: AnyKeyPacket, statement: SignaturePacket | undefined): Date | null {
  if (statement === undefined || statement.keyNeverExpires !== false) return null;
  return new Date(key.getCreationTime().getTime() + (statement.keyExpirationTime ?? 0) * 1000);
}

function earliest(a: Date | null, b: Date | null): Date | null {
  if (a === null || b === null) return a ?? b;
  return a < b ? a : b;
}

function timeOf(packet: SignaturePacket): number {
  return packet.created?.getTime() ?? 0;
}
