import { limits } from '../../../limits.ts';
import type { ByteRange } from '../../blobs/blob-store.ts';
import type { RpmPart } from './digests.ts';
import type { RpmHeader } from './header.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';
import { SIGTAG } from './tags.ts';

/** An OpenPGP signature as the package carries it: not looked into, not verified. */
export interface RpmSignature {
  /** As rpm calls the tag: `RSAHEADER`, `SIGPGP`, `OPENPGP` … The names say little of the algorithm. */
  readonly name: string;
  readonly covers: readonly RpmPart[];
  /** The bytes of the file that it is over. */
  readonly range: ByteRange;
  /** Binary OpenPGP packets. */
  readonly packets: Uint8Array;
}

/**
 * The signatures of a package in the order of their tags. Those over the header vouch for the payload through the payload
 * digest that stands there; those over both, of rpm 3, are a second opinion.
 * @throws rpm.invalid for what is no OpenPGP data at all; rpm.limit
 */
export function signaturesOf({ signature, header, payload }: RpmFile): RpmSignature[] {
  const overHeader = { covers: ['header'], range: header.range } as const;
  const overBoth = { covers: ['header', 'payload'], range: { start: header.range.start, end: payload.end } } as const;
  return [
    ...binary(signature, SIGTAG.dsa).map((packets) => ({ name: 'DSAHEADER', ...overHeader, packets })),
    ...binary(signature, SIGTAG.rsa).map((packets) => ({ name: 'RSAHEADER', ...overHeader, packets })),
    ...base64(signature, SIGTAG.openpgp).map((packets) => ({ name: 'OPENPGP', ...overHeader, packets })),
    ...binary(signature, SIGTAG.pgp).map((packets) => ({ name: 'SIGPGP', ...overBoth, packets })),
    ...binary(signature, SIGTAG.pgp5).map((packets) => ({ name: 'SIGPGP5', ...overBoth, packets })),
    ...binary(signature, SIGTAG.gpg).map((packets) => ({ name: 'SIGGPG', ...overBoth, packets })),
  ];
}

function binary(signature: RpmHeader, tag: number): Uint8Array[] {
  const packets = signature.bytes(tag);
  if (packets === null) return [];
  checkSize(signature, tag, packets.length);
  return [Buffer.from(packets)];
}

/** Since rpm 6 a package may carry any number of signatures, in base64. */
function base64(signature: RpmHeader, tag: number): Uint8Array[] {
  const most = limits.signaturePackets;
  const count = signature.count(tag);
  if (count > most) throw beyondLimit(signature.positionOf(tag), `${count} signatures`, most);
  return Array.from(signature.textArray(tag), (bytes) => {
    checkSize(signature, tag, bytes.length);
    const text = bytes.toString('latin1').replace(/\s/g, '');
    const packets = Buffer.from(text, 'base64');
    if (packets.length > 0 && packets.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '')) return packets;
    throw invalid(signature.positionOf(tag), 'a signature is not base64');
  });
}

function checkSize(signature: RpmHeader, tag: number, length: number): void {
  const most = limits.signatureFile;
  if (length > most) throw beyondLimit(signature.positionOf(tag), `a signature of ${length} bytes`, most);
}
