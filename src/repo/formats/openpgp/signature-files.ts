/** Signature files: the detached signatures in a vendor's `.asc` or `.sig`, armoured or binary. */

import type { SignaturePacket } from 'openpgp';

import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { openpgpData } from './armor.ts';
import { certificationConfig, loadOpenPgp } from './library.ts';
import { PACKET, type Packet, splitPackets } from './packets.ts';

/** A signature in the formats that the library reads: version 4 and 6. */
interface ModernSignature {
  readonly kind: 'modern';
  readonly packet: SignaturePacket;
}

/** A version 3 signature (RFC 4880 section 5.2.2): its bytes, for whoever can verify it, and who says to have made it. */
interface Version3Signature {
  readonly kind: 'version-3';
  /** Upper-case hexadecimal digits. */
  readonly keyId: string;
  readonly body: Uint8Array;
}

/** A signature that nobody here can read; `problem` is a clause that goes after "the signature". */
interface UnreadableSignature {
  readonly kind: 'unreadable';
  /** True for a version or an algorithm that is unknown here; false for damage. */
  readonly isUnsupported: boolean;
  readonly problem: string;
}

export type SignatureInFile = ModernSignature | Version3Signature | UnreadableSignature;

/** Packets that mean nothing beside a signature (RFC 9580 sections 5.8, 5.10 and 5.14). */
const MEANINGLESS: readonly number[] = [PACKET.marker, PACKET.trust, PACKET.padding];

/**
 * Reads every detached signature of a file, in their order. One that cannot be read does not hide the others.
 * @returns at least one
 * @throws signature.invalid for a file that is no detached signature, saying what it is instead
 */
export async function readSignatures(bytes: Uint8Array): Promise<SignatureInFile[]> {
  if (bytes.length > limits.signatureFile) {
    throw invalid(`The file is ${bytes.length} bytes long; a signature file has at most ${limits.signatureFile}.`);
  }
  const data = openpgpData(bytes, 'SIGNATURE', 'signature.invalid');
  const packets = splitPackets(data, 'signature.invalid', limits.signaturePackets);
  const signatures: SignatureInFile[] = [];
  for (const packet of packets) {
    if (MEANINGLESS.includes(packet.tag)) continue;
    if (packet.tag !== PACKET.signature)
      throw invalid(`The file ${whatElse(packet.tag)}; give the detached signature of the checksum file.`);
    signatures.push(await readSignature(packet));
  }
  if (signatures.length === 0) throw invalid('The file holds no signature; download it again.');
  return signatures;
}

/** Reads one signature packet. */
export async function readSignature({ raw, body }: Packet): Promise<SignatureInFile> {
  const version = body[0] ?? 0;
  if (version === 2 || version === 3) {
    return { kind: 'version-3', keyId: Buffer.from(body.subarray(7, 15)).toString('hex').toUpperCase(), body };
  }
  if (version !== 4 && version !== 6) {
    return {
      kind: 'unreadable',
      isUnsupported: true,
      problem: `has the unsupported version ${version}; ask the vendor for a version 4 signature`,
    };
  }
  const openpgp = await loadOpenPgp();
  try {
    const { packets } = await openpgp.readSignature({ binarySignature: raw, config: certificationConfig(openpgp) });
    const [packet] = packets;
    if (packet instanceof openpgp.SignaturePacket) return { kind: 'modern', packet };
    return {
      kind: 'unreadable',
      isUnsupported: true,
      problem: 'uses an algorithm that is not supported; ask the vendor for an RSA or Ed25519 signature',
    };
  } catch {
    return { kind: 'unreadable', isUnsupported: false, problem: 'is damaged; download it again' };
  }
}

function whatElse(tag: number): string {
  if (tag === PACKET.publicKey || tag === PACKET.publicSubkey) return 'is a public key, not a signature';
  if (tag === PACKET.secretKey || tag === PACKET.secretSubkey) return 'is a private key, which must be kept secret';
  if (tag === PACKET.compressed || tag === PACKET.onePassSignature || tag === PACKET.literal) {
    return 'is a signed message that carries its own content, not a detached signature';
  }
  return `holds an OpenPGP packet of type ${tag}, which is no part of a detached signature`;
}

function invalid(message: string): AirlockError {
  return new AirlockError('signature.invalid', message);
}
