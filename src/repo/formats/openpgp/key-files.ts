/** Key files: one or many public keys, armoured or binary. */

import type { Key } from 'openpgp';

import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { openpgpData } from './armor.ts';
import { certificationConfig, loadOpenPgp } from './library.ts';
import { PACKET, type Packet, splitPackets } from './packets.ts';
import { type CertificateStanding, type Revocation, type Standing, standingOf } from './standing.ts';

/** What there is to say about a key, for people and for `--json`. Fingerprints and key ids: upper-case hexadecimal digits. */
export interface VendorKeyFacts {
  /** Of the primary key, full: this is what is pinned. */
  readonly fingerprint: string;
  readonly keyId: string;
  /** `RSA 3072`, `ed25519`, `nistP256`. */
  readonly algorithm: string;
  /** Those that the key itself vouches for, the primary one first. Text from outside. */
  readonly userIds: readonly string[];
  readonly created: Date;
  /** null: never. */
  readonly expires: Date | null;
  /** The revocation that weighs most, null if there is none. */
  readonly revoked: Revocation | null;
  /** Every key in it that may sign, the primary key among them or not; expired and revoked ones too. */
  readonly signingKeys: readonly {
    readonly fingerprint: string;
    readonly keyId: string;
    readonly expires: Date | null;
  }[];
}

/** A key that signatures can be held against. */
export interface VendorKey extends VendorKeyFacts {
  readonly certificate: Key;
  /** Its packets as they stood in the file, binary. */
  readonly bytes: Uint8Array;
}

/** One primary key and all that belongs to it, as it stands in a file. */
interface KeyBlock {
  readonly version: number;
  readonly bytes: Uint8Array;
}

/**
 * Reads every public key of a key file.
 * @param now the moment of reading: self-signatures from its future do not count
 * @throws key.invalid for anything that is no public key, for private keys, and for keys that are damaged or of an
 *   unsupported version
 */
export async function readVendorKeys(bytes: Uint8Array, now: Date): Promise<VendorKey[]> {
  const keys: VendorKey[] = [];
  for (const block of keyBlocks(bytes)) keys.push(await readBlock(block, now));
  return keys;
}

/**
 * As `readVendorKeys`, but only the one key whose primary fingerprint is `fingerprint`; what else the file holds is
 * not used, and may be unsupported.
 * @param fingerprint normal form (`normalFingerprint`)
 * @throws key.fingerprint-mismatch naming what the file holds; key.invalid
 */
export async function readVendorKey(bytes: Uint8Array, fingerprint: string, now: Date): Promise<VendorKey> {
  const found: string[] = [];
  for (const block of keyBlocks(bytes)) {
    const certificate = await parseBlock(block).catch(() => undefined);
    if (certificate === undefined) {
      found.push(`an unreadable version ${block.version} key`);
      continue;
    }
    const primary = certificate.getFingerprint().toUpperCase();
    if (primary === fingerprint) return vendorKey(certificate, block.bytes, now);
    const isSubkey = certificate.subkeys.some((subkey) => subkey.getFingerprint().toUpperCase() === fingerprint);
    found.push(isSubkey ? `${primary} (which has that subkey; give this fingerprint instead)` : primary);
  }
  throw new AirlockError(
    'key.fingerprint-mismatch',
    `The key file does not hold the key ${fingerprint}; it holds ${found.join(', ')}. Nothing was stored. ` +
      'Compare these with the fingerprint that the vendor publishes elsewhere before you trust the file.',
    { details: { expected: fingerprint, found } },
  );
}

/**
 * Says no to a key that could never verify anything, so that the person who adds it hears of it at once.
 * @throws key.invalid if no valid self-signature vouches for it, or nothing in it may sign
 */
export async function refuseUselessKey(key: VendorKey, now: Date): Promise<void> {
  const standing = await standingOf(await loadOpenPgp(), key.certificate, now);
  if (key.created.getTime() > now.getTime() + limits.clockTolerance) {
    throw invalid(
      `The key ${key.fingerprint} was made on ${key.created.toISOString()}, later than now: check the clock of this machine.`,
    );
  }
  if (!standing.selfSigned) {
    throw invalid(
      `The key ${key.fingerprint} has no valid self-signature (damaged, forged, or signed with MD5 or in version 3); get it again.`,
    );
  }
  if (key.signingKeys.length === 0) {
    const reasons = all(standing).map(({ fingerprint, obstacle }) => `${fingerprint} ${obstacle}`);
    throw invalid(
      `The file holds no key that may sign: ${reasons.join('; ')}. Ask the vendor for the key that signs releases.`,
    );
  }
}

/** What of `key` is for people and for JSON. */
export function factsOf({ certificate: _certificate, bytes: _bytes, ...facts }: VendorKey): VendorKeyFacts {
  return facts;
}

/**
 * One key block with everything that two blocks of the same primary key say. The library's own merging drops a
 * second revocation, so this works on packets.
 * @returns binary
 */
export function mergeKeyBlocks(first: Uint8Array, second: Uint8Array): Uint8Array {
  return inOrder(splitPackets(Buffer.concat([first, second]), 'key.invalid', 2 * limits.keyPackets));
}

/**
 * The packets of one key, in the order that is prescribed; each user id and subkey once, each signature on it once.
 * So a copy of a subkey without its binding cannot hide the bound one.
 */
function inOrder(packets: readonly Packet[]): Uint8Array {
  const sections = new Map<string, { readonly head: Packet; readonly signatures: Map<string, Packet> }>();
  let section: Map<string, Packet> | undefined;
  for (const packet of packets) {
    const name = `${packet.tag}:${Buffer.from(packet.body).toString('base64')}`;
    if (SECTION_ORDER.includes(packet.tag)) {
      const known = sections.get(name) ?? { head: packet, signatures: new Map() };
      sections.set(name, known);
      section = known.signatures;
    } else if (packet.tag === PACKET.signature) {
      section?.set(name, packet);
    }
  }
  const sorted = SECTION_ORDER.flatMap((tag) => [...sections.values()].filter(({ head }) => head.tag === tag));
  return Buffer.concat(sorted.flatMap(({ head, signatures }) => [head, ...signatures.values()].map(({ raw }) => raw)));
}

/** What a transferable public key is made of, in its order (RFC 9580 section 10.1). */
const SECTION_ORDER: readonly number[] = [PACKET.publicKey, PACKET.userId, PACKET.userAttribute, PACKET.publicSubkey];

async function readBlock(block: KeyBlock, now: Date): Promise<VendorKey> {
  return await vendorKey(await parseBlock(block), block.bytes, now);
}

async function vendorKey(certificate: Key, bytes: Uint8Array, now: Date): Promise<VendorKey> {
  const standing = await standingOf(await loadOpenPgp(), certificate, now);
  return {
    ...pick(standing.primary),
    algorithm: standing.primary.algorithm,
    userIds: standing.userIds,
    created: standing.primary.created,
    revoked: weightiest(standing.primary.revocations),
    signingKeys: all(standing)
      .filter(({ obstacle }) => obstacle === null)
      .map(pick),
    certificate,
    bytes,
  };
}

function all({ primary, subkeys }: CertificateStanding): Standing[] {
  return [primary, ...subkeys];
}

function pick({ fingerprint, keyId, expires }: Standing): Pick<Standing, 'fingerprint' | 'keyId' | 'expires'> {
  return { fingerprint, keyId, expires };
}

/** A hard revocation before a soft one, an early one before a late one. */
function weightiest(revocations: readonly Revocation[]): Revocation | null {
  const order = (a: Revocation, b: Revocation) => Number(b.hard) - Number(a.hard) || a.at.getTime() - b.at.getTime();
  return [...revocations].sort(order)[0] ?? null;
}

async function parseBlock({ version, bytes }: KeyBlock): Promise<Key> {
  if (version === 2 || version === 3) {
    throw invalid(
      `The file holds a version ${version} key (RSA with MD5, the format of before 1998), which cannot be pinned safely. ` +
        'Ask the vendor for the current key, or name the key you want from this file with --fingerprint.',
    );
  }
  if (version !== 4 && version !== 6) {
    throw invalid(
      `The file holds a version ${version} key, which is not supported; name the one you want with --fingerprint.`,
    );
  }
  const openpgp = await loadOpenPgp();
  try {
    return await openpgp.readKey({ binaryKey: bytes, config: certificationConfig(openpgp) });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AirlockError('key.invalid', `The key file is damaged or of an unsupported kind; get it again (${why}).`, {
      cause,
    });
  }
}

function keyBlocks(bytes: Uint8Array): KeyBlock[] {
  if (bytes.length > limits.keyFile) {
    throw invalid(`The file is ${bytes.length} bytes long; a key file has at most ${limits.keyFile}.`);
  }
  const data = openpgpData(bytes, 'PUBLIC KEY BLOCK', 'key.invalid');
  const packets = splitPackets(data, 'key.invalid', limits.keyPackets);
  if (packets.some(({ tag }) => tag === PACKET.secretKey || tag === PACKET.secretSubkey)) {
    throw invalid(
      'The file holds a private key; it does not belong here: keep it secret, and give the public key (gpg --export). Nothing was stored.',
    );
  }
  if (packets[0]?.tag === PACKET.signature) {
    throw invalid(
      'The file is a signature or a revocation certificate, not a key; give the file that holds the public key.',
    );
  }
  if (packets[0]?.tag !== PACKET.publicKey) throw invalid('The file holds no public key; get it again.');
  const blocks: Packet[][] = [];
  for (const packet of packets) {
    if (packet.tag === PACKET.publicKey) blocks.push([]);
    blocks.at(-1)?.push(packet);
  }
  return blocks.map((block) => ({
    version: block[0]?.body[0] ?? 0,
    bytes: inOrder(block),
  }));
}

function invalid(message: string): AirlockError {
  return new AirlockError('key.invalid', message);
}
