import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quote } from '../../repo/formats/quote.ts';

/** What a medium holds, and how long a file on it may be. Bytes. */
export interface Medium {
  readonly name: string;
  /** Of the whole medium; Infinity if it is not known. */
  readonly capacity: number;
  readonly file: number;
}

const BLOCK = 512;
const UNITS: Readonly<Record<string, number>> = { '': 1, B: 1, KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30 };

/** Sizes of blank media as drives give them (ECMA-267, ECMA-364; Blu-ray Disc part 1). */
const MEDIA: Readonly<Record<string, Omit<Medium, 'name'>>> = {
  fat32: { capacity: Number.POSITIVE_INFINITY, file: limits.bundle.fatFile },
  exfat: { capacity: Number.POSITIVE_INFINITY, file: 2 ** 40 },
  dvd: { capacity: 4_700_372_992, file: 4_700_372_992 },
  'dvd-dl': { capacity: 8_543_666_176, file: 8_543_666_176 },
  bd: { capacity: 25_025_314_816, file: 25_025_314_816 },
};

/** @param text `fat32`, `exfat`, `dvd`, `dvd-dl`, `bd`, or a size: `700MiB`, `4294967295` @throws usage.invalid */
export function parseMedium(text: string): Medium {
  const known = Object.hasOwn(MEDIA, text) ? MEDIA[text] : undefined;
  if (known !== undefined) return { name: text, ...known };
  const [, digits = '', unit = ''] = /^(\d{1,15})\s*([A-Za-z]{0,3})$/.exec(text) ?? [];
  const factor = UNITS[unit.toUpperCase()];
  const size = digits === '' || factor === undefined ? Number.NaN : Number(digits) * factor;
  if (Number.isSafeInteger(size) && size >= limits.bundle.leastVolume) {
    return { name: text, capacity: Number.POSITIVE_INFINITY, file: size };
  }
  throw new AirlockError(
    'usage.invalid',
    `--medium takes ${Object.keys(MEDIA).join(', ')}, or a size from 1MiB on, such as 700MiB, not ${quote(text)}.`,
  );
}

/**
 * The longest volume for a medium: whole blocks, with room left on a disc of fixed size for what lies beside the volume.
 * @param beside bytes of metadata, manifest and the like
 * @throws usage.invalid if nothing fits
 */
export function volumeSize({ name, capacity, file }: Medium, beside: number): number {
  // A disc's own file system takes less than a hundredth.
  const room = Number.isFinite(capacity) ? Math.floor(capacity * 0.99) - beside : file;
  const size = Math.floor(Math.min(room, file) / BLOCK) * BLOCK;
  if (size >= limits.bundle.leastVolume) return size;
  throw new AirlockError(
    'usage.invalid',
    `On ${name} there is no room for a volume beside ${beside} bytes of metadata. Choose a larger medium.`,
  );
}
