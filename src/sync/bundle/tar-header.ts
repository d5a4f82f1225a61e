import { AirlockError } from '../../errors.ts';
import { quote, quoteUnsafe } from '../../repo/formats/quote.ts';

const BLOCK = 512;
const FILE = '0'.charCodeAt(0);

/** What a header in a volume must say. */
export interface ExpectedEntry {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * Compares a header (POSIX.1-2017, ustar; sizes also in GNU's base-256) with what the manifest says. Names only compare,
 * they lead nowhere; anything but a plain file is refused.
 * @param volume where it lies, for the message
 * @throws bundle.invalid
 */
export function requireHeader(
  header: Buffer,
  { name, size }: ExpectedEntry,
  volume: { readonly name: string; readonly where: string },
): void {
  const wrong = (why: string) =>
    new AirlockError(
      'bundle.invalid',
      `In ${volume.name} at ${quoteUnsafe(volume.where)}, the header of ${name} is not what the manifest says: ${why}. The volume was changed, or copied badly: copy it again.`,
      { details: { volumes: [volume.name], entry: name } },
    );
  if (header.length !== BLOCK || !hasGoodChecksum(header)) throw wrong('it is damaged');
  const type = header[156];
  if (type !== FILE) throw wrong(`it is of type ${quote(String.fromCharCode(type ?? 0))}, not a plain file`);
  const found = header.toString('latin1', 0, 100).replace(/\0.*$/s, '');
  const prefix = header.toString('latin1', 345, 500).replace(/\0.*$/s, '');
  if (found !== name || prefix !== '') throw wrong(`it names ${quote(prefix === '' ? found : `${prefix}/${found}`)}`);
  if (sizeOf(header) !== BigInt(size)) throw wrong(`it says ${sizeOf(header)} bytes, not ${size}`);
}

/** Section "ustar Interchange Format": the sum of all bytes, with the sum's own field taken as spaces. */
function hasGoodChecksum(header: Buffer): boolean {
  let sum = 8 * 0x20;
  for (const [at, byte] of header.entries()) if (at < 148 || at >= 156) sum += byte;
  return Number.parseInt(header.toString('latin1', 148, 156), 8) === sum;
}

function sizeOf(header: Buffer): bigint {
  const field = header.subarray(124, 136);
  if (((field[0] ?? 0) & 0x80) === 0) return BigInt(`0o${field.toString('latin1').replace(/[^0-7]/g, '') || '0'}`);
  return BigInt(`0x${field.subarray(1).toString('hex')}`);
}
