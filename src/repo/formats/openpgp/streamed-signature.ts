/** A signature over bytes that are read once and never held: only their digest is. */

import { createHash, getHashes, type Hash } from 'node:crypto';

import type { AnyKeyPacket, SignaturePacket } from 'openpgp';

import { certificationConfig, type OpenPgp } from './library.ts';

/** What the library's signatures have, and its declarations leave out. */
export interface SignatureInternals {
  /** Version 6: goes into the digest before the signed bytes. */
  readonly salt: Uint8Array | null;
  /** RSA; DSA. */
  readonly params: { readonly s: Uint8Array } | { readonly r: Uint8Array; readonly s: Uint8Array };
  /** A digest that is there already: the library verifies against it and asks for no data. */
  hashed: Uint8Array;
}

/** Node's names of hash algorithms (RFC 9580 section 9.5), and how long a version 6 signature's salt must be; 0: not in version 6. */
const HASHES: Readonly<Record<number, { readonly name: string; readonly salt: number }>> = {
  1: { name: 'md5', salt: 0 },
  2: { name: 'sha1', salt: 0 },
  3: { name: 'ripemd160', salt: 0 },
  8: { name: 'sha256', salt: 16 },
  9: { name: 'sha384', salt: 24 },
  10: { name: 'sha512', salt: 32 },
  11: { name: 'sha224', salt: 16 },
  12: { name: 'sha3-256', salt: 16 },
  14: { name: 'sha3-512', salt: 32 },
};

/**
 * One signature while its bytes go by: `update` with all of them in order, `finish`, then ask. Never holds them.
 * Makes no distinction between binary and text signatures: the bytes are taken as they are.
 */
export class StreamedSignature {
  readonly packet: SignaturePacket;
  readonly #hash: Hash;
  readonly #internals: SignaturePacket & SignatureInternals;

  /** @returns undefined if its digest cannot be computed: an unknown hash algorithm, a salt of the wrong length */
  static of(packet: SignaturePacket): StreamedSignature | undefined {
    const hash = HASHES[packet.hashAlgorithm ?? 0];
    const { salt } = packet as SignaturePacket & SignatureInternals;
    if (hash === undefined || !getHashes().includes(hash.name) || packet.signatureData === null) return undefined;
    if (packet.version === 6 && (hash.salt === 0 || salt?.length !== hash.salt)) return undefined;
    return new StreamedSignature(packet, createHash(hash.name));
  }

  private constructor(packet: SignaturePacket, hash: Hash) {
    this.packet = packet;
    this.#internals = packet as SignaturePacket & SignatureInternals;
    this.#hash = hash;
    if (packet.version === 6 && this.#internals.salt !== null) hash.update(this.#internals.salt);
  }

  update(piece: Uint8Array): void {
    this.#hash.update(piece);
  }

  /** Ends the signed bytes (RFC 9580 section 5.2.4; version 3, RFC 4880 section 5.2.4). Once. */
  finish(): void {
    const { signatureData, version } = this.packet;
    const hashed = signatureData ?? new Uint8Array(0);
    this.#hash.update(hashed);
    if (version > 3) {
      const trailer = Buffer.from([version, 0xff, 0, 0, 0, 0]);
      trailer.writeUInt32BE(hashed.length, 2);
      this.#hash.update(trailer);
    }
    this.#internals.hashed = this.#hash.digest();
  }

  /**
   * False if the digest's first bits, which the signature repeats, are others: then it is over other bytes, whoever
   * made it. True proves nothing.
   */
  mayFit(): boolean {
    const [first, second] = this.packet.signedHashValue ?? [];
    return first === this.#internals.hashed[0] && second === this.#internals.hashed[1];
  }

  /**
   * The cryptographic check, and nothing else, at the moment of the signature's own date, so that no clock has a say in
   * it: did `signer` make it over these bytes?
   */
  async isBy(openpgp: OpenPgp, signer: AnyKeyPacket): Promise<boolean> {
    const { signatureType, created } = this.packet;
    if (signatureType === null || created === null) return false;
    const config = { ...certificationConfig(openpgp), rejectHashAlgorithms: new Set<never>() };
    try {
      await this.packet.verify(signer, signatureType, {}, created, true, config);
      return true;
    } catch {
      return false;
    }
  }
}
