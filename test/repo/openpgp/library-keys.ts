/** Keys, signatures and forged certificates made with the library itself. */

import * as openpgp from 'openpgp';

import { PACKET, splitPackets } from '../../../src/repo/formats/openpgp/packets.ts';

const DAY = 24 * 3600_000;

export function days(count: number, from = new Date('2024-01-01T00:00:00Z')): Date {
  return new Date(from.getTime() + count * DAY);
}

type MakeKeyOptions = Partial<openpgp.KeyOptions> & { readonly name?: string };

/** Ed25519 unless told otherwise, in the old encoding that GnuPG knows too; made on 2024-01-01. */
export async function makeKey({ name = 'release', ...options }: MakeKeyOptions = {}): Promise<openpgp.PrivateKey> {
  const { privateKey } = await openpgp.generateKey({
    type: 'ecc',
    curve: 'ed25519Legacy',
    userIDs: [{ name, email: `${name}@vendor.example` }],
    subkeys: [],
    date: days(0),
    ...options,
    format: 'object',
  });
  return privateKey;
}

export interface SignOptions {
  readonly at?: Date;
  readonly hash?: openpgp.enums.hash;
  readonly type?: openpgp.enums.signature;
  /** Seconds until the signature runs out. */
  readonly expires?: number;
  /** What signs: default the primary key. Nothing is checked: it may be expired, revoked or not meant for signing. */
  readonly with?: openpgp.AnySecretKeyPacket;
}

/** A detached signature, binary, made without any of the checks that the library's `sign` does. */
export async function sign(key: openpgp.PrivateKey, data: Uint8Array, options: SignOptions = {}): Promise<Uint8Array> {
  const signer = options.with ?? secret(key.keyPacket);
  const packet = new openpgp.SignaturePacket();
  packet.signatureType = options.type ?? openpgp.enums.signature.binary;
  packet.publicKeyAlgorithm = signer.algorithm;
  packet.hashAlgorithm = options.hash ?? openpgp.enums.hash.sha256;
  if (options.expires !== undefined) {
    packet.signatureNeverExpires = false;
    packet.signatureExpirationTime = options.expires;
  }
  const literal = (await openpgp.createMessage({ binary: data })).packets[0];
  await signPacket(packet, signer, literal ?? {}, options.at ?? days(10), true);
  return packetBytes(packet);
}

/** `SignaturePacket.sign` takes packets as data and needs a configuration; its declaration leaves both out. */
type SignPacket = (
  key: openpgp.AnySecretKeyPacket,
  data: object,
  date: Date,
  detached: boolean,
  config: openpgp.Config,
) => Promise<void>;

async function signPacket(
  packet: openpgp.SignaturePacket,
  key: openpgp.AnySecretKeyPacket,
  data: object,
  date: Date,
  detached: boolean,
): Promise<void> {
  const method = packet.sign as unknown as SignPacket;
  // the library cannot salt signatures over old hashes
  await method.call(packet, key, data, date, detached, {
    ...openpgp.config,
    nonDeterministicSignaturesViaNotation: false,
  });
}

/** The public key, binary. */
export function publicBytes(key: openpgp.PrivateKey): Uint8Array {
  return key.toPublic().write();
}

/** The first packet of a type in the key's public half, binary. */
export function packetOf(key: openpgp.PrivateKey, tag: number): Uint8Array {
  const packet = splitPackets(publicBytes(key), 'key.invalid', 100).find((each) => each.tag === tag);
  if (packet === undefined) throw new Error(`the key has no packet of type ${tag}`);
  return packet.raw;
}

/** The subkey packet of the key's only subkey, binary, without any signature. */
export function bareSubkey(key: openpgp.PrivateKey): Uint8Array {
  return packetOf(key, PACKET.publicSubkey);
}

type Statements = Partial<
  Pick<
    openpgp.SignaturePacket,
    | 'embeddedSignature'
    | 'hashAlgorithm'
    | 'isPrimaryUserID'
    | 'keyExpirationTime'
    | 'keyFlags'
    | 'keyNeverExpires'
    | 'reasonForRevocationFlag'
    | 'signatureExpirationTime'
    | 'signatureNeverExpires'
  >
>;

/** A signature about keys, as an owner, a careless tool or an attacker might make it. */
export async function statement(
  signer: openpgp.AnyKeyPacket,
  type: openpgp.enums.signature,
  about: object,
  statements: Statements = {},
  at = days(0),
): Promise<openpgp.SignaturePacket> {
  const packet = new openpgp.SignaturePacket();
  packet.signatureType = type;
  packet.publicKeyAlgorithm = signer.algorithm;
  packet.hashAlgorithm = openpgp.enums.hash.sha256;
  Object.assign(packet, statements);
  await signPacket(packet, secret(signer), about, at, false);
  return packet;
}

/** A self-signature over the key's first user id, binary; it allows signing unless told otherwise. */
export async function selfSignature(
  key: openpgp.PrivateKey,
  statements: Statements = {},
  at = days(0),
): Promise<Uint8Array> {
  const keyFlags = Uint8Array.of(openpgp.enums.keyFlags.certifyKeys | openpgp.enums.keyFlags.signData);
  const about = { key: key.keyPacket, userID: key.users[0]?.userID };
  const { certPositive } = openpgp.enums.signature;
  return packetBytes(await statement(key.keyPacket, certPositive, about, { keyFlags, ...statements }, at));
}

/** A binding signature of `primary` over `subkey`, binary; it allows signing unless told otherwise. */
export async function bindSubkey(
  primary: openpgp.PrivateKey,
  subkey: openpgp.AnyKeyPacket,
  statements: Statements = {},
): Promise<Uint8Array> {
  const keyFlags = Uint8Array.of(openpgp.enums.keyFlags.signData);
  const bound = { key: primary.keyPacket, bind: subkey };
  const { subkeyBinding } = openpgp.enums.signature;
  return packetBytes(await statement(primary.keyPacket, subkeyBinding, bound, { keyFlags, ...statements }));
}

/** The primary key of `key` as a subkey packet, bound by `owner` without a back signature. */
export async function asSubkeyOf(key: openpgp.PrivateKey, owner: openpgp.PrivateKey): Promise<Uint8Array> {
  const [primary] = splitPackets(publicBytes(key), 'key.invalid', 100);
  if (primary === undefined) throw new Error('no packets');
  const packet = new openpgp.PublicSubkeyPacket();
  await packet.read(primary.body);
  const header = Uint8Array.of(0xc0 | PACKET.publicSubkey, primary.body.length);
  return Buffer.concat([header, primary.body, await bindSubkey(owner, packet)]);
}

export function secret(packet: openpgp.AnyKeyPacket): openpgp.AnySecretKeyPacket {
  if (packet instanceof openpgp.SecretKeyPacket || packet instanceof openpgp.SecretSubkeyPacket) return packet;
  throw new Error('not a secret key');
}

/** The only subkey of `key`. */
export function onlySubkey(key: openpgp.PrivateKey): openpgp.Subkey {
  const [subkey] = key.subkeys;
  if (subkey === undefined) throw new Error('the key has no subkey');
  return subkey;
}

export function packetBytes(packet: openpgp.SignaturePacket): Uint8Array {
  const list = new openpgp.PacketList<openpgp.SignaturePacket>();
  list.push(packet);
  return list.write();
}

export function armoredSignature(binary: Uint8Array): Uint8Array {
  return Buffer.from(openpgp.armor(openpgp.enums.armor.signature, binary, undefined, undefined, undefined, true));
}

export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at < 0 ? copy.length + at : at] = (copy.at(at) ?? 0) ^ 1;
  return copy;
}
