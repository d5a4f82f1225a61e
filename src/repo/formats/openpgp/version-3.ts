/** Signatures of version 3 (RFC 4880 section 5.2.2), which packages for el7 and older carry. The library refuses them. */

import type { SignaturePacket } from 'openpgp';

import { loadOpenPgp } from './library.ts';
import type { SignatureInternals } from './streamed-signature.ts';

const RSA: readonly number[] = [1, 3];
const DSA = 17;
/** Version, length of what is hashed, type, time, key id, two algorithms, first bits of the digest. */
const FIXED_BYTES = 19;
const HASHED_BYTES = 5;

/**
 * Reads the body of a version 3 signature packet into the library's own kind of signature, so that whoever judges
 * signatures need not know of versions. Its `signatureData` is what is hashed behind the signed bytes: type and time.
 * To be verified by its digest (`StreamedSignature`) only.
 * @returns `damaged`; `unsupported` for algorithms other than RSA and DSA, the only ones of that time
 */
export async function readVersion3(body: Uint8Array): Promise<SignaturePacket | 'damaged' | 'unsupported'> {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (bytes.length < FIXED_BYTES || bytes[1] !== HASHED_BYTES) return 'damaged';
  const algorithm = bytes.readUInt8(15);
  if (!RSA.includes(algorithm) && algorithm !== DSA) return 'unsupported';
  const [first, second, ...more] = readNumbers(bytes.subarray(FIXED_BYTES)) ?? [];
  if (first === undefined || (second === undefined) !== RSA.includes(algorithm) || more.length > 0) return 'damaged';

  const { SignaturePacket } = await loadOpenPgp();
  const internals: Partial<SignatureInternals> = {
    params: second === undefined ? { s: first } : { r: first, s: second },
  };
  const packet = new SignaturePacket();
  packet.issuerKeyID.bytes = bytes.toString('latin1', 7, 15);
  return Object.assign(packet, internals, {
    version: 3,
    signatureType: bytes.readUInt8(2),
    created: new Date(bytes.readUInt32BE(3) * 1000),
    publicKeyAlgorithm: algorithm,
    hashAlgorithm: bytes.readUInt8(16),
    signatureData: bytes.subarray(2, 2 + HASHED_BYTES),
    signedHashValue: bytes.subarray(17, 19),
  });
}

/** Multiprecision integers (RFC 4880 section 3.2). @returns undefined if the last one is cut off */
function readNumbers(bytes: Buffer): Buffer[] | undefined {
  const numbers: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 2 > bytes.length) return undefined;
    const end = at + 2 + Math.ceil(bytes.readUInt16BE(at) / 8);
    if (end > bytes.length) return undefined;
    numbers.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return numbers;
}
