/**
 * OpenPGP written by hand around keys of node:crypto, for what no tool makes any more: version 3 signatures (RFC 4880
 * section 5.2.2), as packages for el7 and older carry, by RSA and DSA keys.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign as signWith } from 'node:crypto';

import * as openpgp from 'openpgp';

type HashName = 'md5' | 'sha1' | 'sha256' | 'sha512';
const HASH_IDS: Readonly<Record<HashName, number>> = { md5: 1, sha1: 2, sha256: 8, sha512: 10 };

const CREATED = 1_200_000_000;

export interface OldKey {
  /** The whole certificate, binary: public key, user id, self-signature. */
  readonly certificate: Buffer;
  readonly keyId: Buffer;
  readonly algorithm: 1 | 17;
  readonly privateKey: KeyObject;
}

/** Makes a key of 2048 bits, of 2008, with a version 4 self-signature over SHA-256. */
export function makeOldKey(kind: 'rsa' | 'dsa', userId = `${kind} <${kind}@old.example>`): OldKey {
  const { publicKey, privateKey } =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 });
  const algorithm = kind === 'rsa' ? 1 : 17;
  const numbers = integersOf(publicKey.export({ type: 'spki', format: 'der' })).map(mpi);
  const body = Buffer.concat([Buffer.of(4), uint32(CREATED), Buffer.of(algorithm), ...numbers]);
  const toHash = Buffer.concat([Buffer.of(0x99, body.length >> 8, body.length & 0xff), body]);
  const keyId = createHash('sha1').update(toHash).digest().subarray(-8);
  const key = { algorithm, keyId, privateKey } as const;

  const user = Buffer.from(userId);
  const certified = Buffer.concat([toHash, Buffer.of(0xb4), uint32(user.length), user]);
  const selfSignature = version4(key, certified, 0x13);
  return { ...key, certificate: Buffer.concat([packet(6, body), packet(13, user), selfSignature]) };
}

export interface Version3Options {
  readonly hash?: HashName;
  /** Seconds since 1970. */
  readonly created?: number;
  /** 0: binary. */
  readonly type?: number;
}

/** A version 3 signature packet. */
export function version3(key: OldKey, data: Uint8Array, options: Version3Options = {}): Buffer {
  const { hash = 'sha256', created = CREATED + 1, type = 0 } = options;
  const hashed = Buffer.concat([Buffer.of(type), uint32(created)]);
  const toHash = Buffer.concat([data, hashed]);
  return packet(
    2,
    Buffer.concat([
      ...[Buffer.of(3, hashed.length), hashed, key.keyId, Buffer.of(key.algorithm, HASH_IDS[hash])],
      ...[createHash(hash).update(toHash).digest().subarray(0, 2), ...signatureNumbers(key, hash, toHash)],
    ]),
  );
}

/** The key as `rpmkeys --import` wants it. */
export function armoredKey(certificate: Uint8Array): string {
  return openpgp.armor(openpgp.enums.armor.publicKey, certificate, undefined, undefined, undefined, true);
}

/** A version 4 signature packet. @param created the field with its time, four bytes long if it is as it should be */
export function version4(
  key: Pick<OldKey, 'algorithm' | 'keyId' | 'privateKey'>,
  data: Uint8Array,
  type: number,
  created: Uint8Array = uint32(CREATED),
): Buffer {
  const subpackets = Buffer.concat([Buffer.of(created.length + 1, 2), created]);
  const hashed = Buffer.concat([Buffer.of(4, type, key.algorithm, 8, 0, subpackets.length), subpackets]);
  const toHash = Buffer.concat([data, hashed, Buffer.of(4, 0xff), uint32(hashed.length)]);
  const unhashed = Buffer.concat([Buffer.of(0, 10, 9, 16), key.keyId]);
  const start = createHash('sha256').update(toHash).digest().subarray(0, 2);
  return packet(2, Buffer.concat([hashed, unhashed, start, ...signatureNumbers(key, 'sha256', toHash)]));
}

function signatureNumbers(key: Pick<OldKey, 'algorithm' | 'privateKey'>, hash: HashName, toHash: Buffer): Buffer[] {
  const signature = signWith(hash, toHash, { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  if (key.algorithm === 1) return [mpi(signature)];
  const half = signature.length / 2;
  return [mpi(signature.subarray(0, half)), mpi(signature.subarray(half))];
}

/** Every INTEGER of a DER structure in its order: n, e; or p, q, g, y. */
function integersOf(der: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < der.length; ) {
    const tag = der.readUInt8(at);
    const size = der.readUInt8(at + 1);
    const start = at + 2 + (size < 0x80 ? 0 : size & 0x7f);
    const length = size < 0x80 ? size : der.readUIntBE(at + 2, size & 0x7f);
    const content = der.subarray(start, start + length);
    if (tag === 0x02) found.push(content);
    if (tag === 0x30) found.push(...integersOf(content));
    if (tag === 0x03) found.push(...integersOf(content.subarray(1)));
    at = start + length;
  }
  return found;
}

function mpi(number: Uint8Array): Buffer {
  const first = number.findIndex((byte) => byte !== 0);
  const digits = number.subarray(first);
  const bits = 8 * digits.length - (Math.clz32(digits[0] ?? 0) - 24);
  return Buffer.concat([Buffer.of(bits >> 8, bits & 0xff), digits]);
}

/** In the old format, with a length of two bytes. */
function packet(tag: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0x81 | (tag << 2), body.length >> 8, body.length & 0xff), body]);
}

function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}
