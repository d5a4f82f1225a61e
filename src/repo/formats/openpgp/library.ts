import type { Config } from 'openpgp';

import { limits } from '../../../limits.ts';

export type OpenPgp = typeof import('openpgp');

/** The library takes a while to load and most processes never verify anything, so it is loaded at first use. */
export function loadOpenPgp(): Promise<OpenPgp> {
  return import('openpgp');
}

/**
 * How the library judges single certification packets here. Strength of data signatures and of keys, and all times,
 * are judged by our own code, which can say what is wrong; the library rejects MD5 and RIPEMD-160 in self-signatures
 * (SHA-1 is let through there: many vendors' keys still carry it, the owner alone chose what was signed, and
 * the key is pinned by its fingerprint).
 */
export function certificationConfig(openpgp: OpenPgp): Config {
  return {
    ...openpgp.config,
    maxDecompressedMessageSize: limits.checksumFile,
    rejectMessageHashAlgorithms: new Set(),
    rejectPublicKeyAlgorithms: new Set(),
    rejectCurves: new Set(),
    minRSABits: 0,
  };
}

/** Name of a hash algorithm (RFC 9580 section 9.5), whether the library knows it or not. */
export function hashName(id: number | null): string {
  return (id === null ? undefined : HASH_NAMES[id]) ?? `hash algorithm ${id}`;
}

const HASH_NAMES: Readonly<Record<number, string>> = {
  1: 'MD5',
  2: 'SHA1',
  3: 'RIPEMD160',
  8: 'SHA256',
  9: 'SHA384',
  10: 'SHA512',
  11: 'SHA224',
  12: 'SHA3-256',
  14: 'SHA3-512',
};

/** True for hash algorithms that can be computed here, weak ones among them. */
export function isKnownHash(id: number | null): boolean {
  return id !== null && id in HASH_NAMES;
}

/** Hashes for which signed data can be forged, or nearly: never accepted from a data signature. */
export function isWeakHash(id: number | null): boolean {
  return id === 1 || id === 2 || id === 3;
}
