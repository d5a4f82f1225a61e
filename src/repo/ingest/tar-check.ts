import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../blobs/blob-store.ts';

const BLOCK = 512;

/**
 * Walks the headers of a tar (POSIX.1-2017 pax, ustar interchange format; sizes also in GNU's base-256), reading
 * nothing else, to see that it is one and that it is whole. Nothing is extracted.
 * @returns the number of headers
 * @throws tar.invalid
 */
export async function checkTar(source: ByteSource): Promise<number> {
  const header = Buffer.alloc(BLOCK);
  let position = 0;
  for (let count = 0; count <= limits.tarEntries; count += 1) {
    const read = await source.readAt(header, position);
    if (read < BLOCK) throw invalid(position, 'it ends without the closing empty blocks: it was cut off');
    if (header.every((byte) => byte === 0)) return count;
    if (!hasGoodChecksum(header))
      throw invalid(position, count === 0 ? 'it does not begin with a tar header' : 'a header is damaged');
    const size = sizeOf(header);
    if (size === undefined || position + BLOCK + size > source.size) {
      throw invalid(position, 'an entry is longer than the file: it was cut off, or a header is damaged');
    }
    position += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw invalid(position, `it has more than ${limits.tarEntries} entries`);
}

/** The sum of all bytes, those of the checksum field itself taken as spaces. */
function hasGoodChecksum(header: Buffer): boolean {
  let sum = 8 * 0x20;
  for (const [index, byte] of header.entries()) if (index < 148 || index >= 156) sum += byte;
  return octal(header.subarray(148, 156)) === sum;
}

function sizeOf(header: Buffer): number | undefined {
  const field = header.subarray(124, 136);
  const first = field[0] ?? 0;
  if ((first & 0x80) === 0) return octal(field);
  const size = field.subarray(1).reduce((value, byte) => value * 256 + byte, first & 0x7f);
  return Number.isSafeInteger(size) ? size : undefined;
}

function octal(field: Buffer): number | undefined {
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : text === '' ? 0 : undefined;
}

function invalid(position: number, what: string): AirlockError {
  return new AirlockError(
    'tar.invalid',
    `The tar is not whole: ${what} (at byte ${position}). Copy or download it again.`,
  );
}
