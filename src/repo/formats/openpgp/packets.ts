import { AirlockError } from '../../../errors.ts';

/** Packet types of RFC 9580 section 5 that keys and signatures are made of, and those that are often mistaken for them. */
export const PACKET = {
  signature: 2,
  onePassSignature: 4,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  compressed: 8,
  marker: 10,
  literal: 11,
  trust: 12,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
  padding: 21,
} as const;

/** What messages are made of, signed inline or encrypted: RFC 9580 section 10.3. */
const MESSAGE_PACKETS: readonly number[] = [1, 3, 8, 9, 11, 18, 20];

/** One packet. Both arrays are views of the bytes it was read from. */
export interface Packet {
  /** Type ID, 0 to 63. */
  readonly tag: number;
  /** Header and body. */
  readonly raw: Uint8Array;
  readonly body: Uint8Array;
}

/**
 * Splits a binary OpenPGP file into its packets, in both header formats (RFC 9580 section 4.2), without looking inside.
 * Packets of partial or indeterminate length are refused: keys and signatures have none.
 * @param most packets allowed
 * @throws signature.invalid or key.invalid (as `code` says) where the framing is broken, or there are too many
 */
export function splitPackets(bytes: Uint8Array, code: 'signature.invalid' | 'key.invalid', most: number): Packet[] {
  const packets: Packet[] = [];
  let position = 0;
  while (position < bytes.length) {
    if (packets.length === most) {
      throw new AirlockError(code, `The file has more than ${most} OpenPGP packets; get it again.`);
    }
    const header = readHeader(bytes, position);
    if (header?.length === undefined && MESSAGE_PACKETS.includes(header?.tag ?? 0)) {
      throw new AirlockError(
        code,
        'The file is an OpenPGP message that carries its own content (signed inline, or encrypted), not a detached signature or a key.',
      );
    }
    const end = header?.length === undefined ? Number.POSITIVE_INFINITY : header.body + header.length;
    if (header === undefined || end > bytes.length) {
      throw new AirlockError(code, `The OpenPGP data is damaged or cut off at byte ${position}; get the file again.`);
    }
    packets.push({ tag: header.tag, raw: bytes.subarray(position, end), body: bytes.subarray(header.body, end) });
    position = end;
  }
  return packets;
}

interface PacketHeader {
  readonly tag: number;
  /** Position of the first byte of the body. */
  readonly body: number;
  /** undefined: partial or indeterminate, which only packets of messages may have. */
  readonly length: number | undefined;
}

/** @returns undefined for bytes that begin no packet */
function readHeader(bytes: Uint8Array, at: number): PacketHeader | undefined {
  const first = bytes[at] ?? 0;
  if ((first & 0x80) === 0) return undefined;
  return (first & 0x40) === 0 ? readOldHeader(bytes, at, first) : readNewHeader(bytes, at, first & 0x3f);
}

function readOldHeader(bytes: Uint8Array, at: number, first: number): PacketHeader | undefined {
  const tag = (first & 0x3f) >> 2;
  const size = [1, 2, 4][first & 3];
  if (size === undefined) return { tag, body: at + 1, length: undefined };
  if (at + 1 + size > bytes.length) return undefined;
  return { tag, body: at + 1 + size, length: Buffer.from(bytes.subarray(at + 1, at + 1 + size)).readUIntBE(0, size) };
}

function readNewHeader(bytes: Uint8Array, at: number, tag: number): PacketHeader | undefined {
  const [one, two, ...rest] = bytes.subarray(at + 1, at + 6);
  if (one === undefined) return undefined;
  if (one < 192) return { tag, body: at + 2, length: one };
  if (one >= 224 && one < 255) return { tag, body: at + 2, length: undefined };
  if (two === undefined) return undefined;
  if (one < 224) return { tag, body: at + 3, length: ((one - 192) << 8) + two + 192 };
  return rest.length < 3 ? undefined : { tag, body: at + 6, length: Buffer.of(two, ...rest).readUInt32BE() };
}
