import { invalid } from './iso-fault.ts';

/**
 * A 32-bit number recorded in both byte orders (ECMA-119 7.3.3).
 * Some readers ignore the second half; here both must agree, because a disagreement is the cheapest sign of damage.
 * @param position byte of the image where `bytes` start, for the message
 * @throws iso.invalid if the halves disagree
 */
export function both32(bytes: Buffer, offset: number, position: number, what: string): number {
  const little = bytes.readUInt32LE(offset);
  const big = bytes.readUInt32BE(offset + 4);
  if (little !== big) throw disagreement(position + offset, what, little, big);
  return little;
}

/**
 * A 16-bit number recorded in both byte orders (ECMA-119 7.2.3).
 * @throws iso.invalid if the halves disagree
 */
export function both16(bytes: Buffer, offset: number, position: number, what: string): number {
  const little = bytes.readUInt16LE(offset);
  const big = bytes.readUInt16BE(offset + 2);
  if (little !== big) throw disagreement(position + offset, what, little, big);
  return little;
}

function disagreement(position: number, what: string, little: number, big: number): Error {
  return invalid(position, `${what} is ${little} in little-endian order but ${big} in big-endian order`);
}
