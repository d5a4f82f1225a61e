import { limits } from '../../../limits.ts';
import type { ByteSource } from '../../blobs/blob-store.ts';
import { type DirectoryRecord, decodeRecord } from './directory-record.ts';
import { readExactly } from './image-reader.ts';
import { descriptorDate } from './iso-dates.ts';
import { beyondLimit, invalid, truncated } from './iso-fault.ts';
import { both16, both32 } from './iso-numbers.ts';

/** Volume descriptors and directories are laid out in sectors of this size, whatever the block size. */
export const SECTOR = 2048;
/** Sectors 0 to 15 belong to the system: boot code, partition tables (ECMA-119 6.2.1). */
const FIRST = 16 * SECTOR;

const BOOT = 0;
const PRIMARY = 1;
const SUPPLEMENTARY = 2;
const TERMINATOR = 255;

/** Joliet's UCS-2 levels 1 to 3, as they stand in the escape sequences of a supplementary descriptor. */
const JOLIET_LEVELS = ['%/@', '%/C', '%/E'];

/** The volume as one descriptor tells it: the primary one, or Joliet's supplementary one. */
export interface Volume {
  /** Byte of the image where the descriptor starts. */
  readonly position: number;
  readonly volumeId: string;
  readonly systemId: string;
  readonly publisherId: string;
  readonly createdAt: Date | undefined;
  /** Logical block: 512, 1024 or 2048 bytes. All locations count blocks. */
  readonly blockSize: number;
  /** Bytes of the volume. The image file may be longer (appended partitions), never shorter. */
  readonly sizeInBytes: number;
  /** Number of this volume in its set, from 1. */
  readonly sequence: number;
  readonly root: DirectoryRecord;
}

export interface VolumeDescriptors {
  readonly primary: Volume;
  readonly joliet: Volume | undefined;
  readonly hasElTorito: boolean;
}

/**
 * Reads the volume descriptors (ECMA-119 clause 8) up to their terminator.
 * Of several primary or Joliet descriptors the first counts. Partition descriptors, and supplementary ones that are not
 * Joliet's, are passed over.
 * @throws iso.invalid if this is no ISO 9660 image or a descriptor is damaged; iso.truncated if the source is shorter
 *   than the volume; iso.limit if there is no end of descriptors
 */
export async function readVolumeDescriptors(source: ByteSource): Promise<VolumeDescriptors> {
  let primary: Volume | undefined;
  let joliet: Volume | undefined;
  let hasElTorito = false;
  for (let n = 0; ; n += 1) {
    const position = FIRST + n * SECTOR;
    if (n >= limits.iso.volumeDescriptors) {
      throw beyondLimit(position, `${n} volume descriptors and no terminator`, limits.iso.volumeDescriptors);
    }
    const bytes = await readExactly(source, position, SECTOR, 'the list of volume descriptors');
    const type = bytes.readUInt8(0);
    if (bytes.toString('latin1', 1, 6) !== 'CD001') throw notADescriptor(bytes, position, n);
    if (type === TERMINATOR) break;
    if (type === BOOT) hasElTorito ||= bytes.toString('latin1', 7, 30) === 'EL TORITO SPECIFICATION';
    else if (type === PRIMARY) primary ??= decodeVolume(bytes, position, 'latin1');
    else if (type === SUPPLEMENTARY && isJoliet(bytes)) joliet ??= decodeVolume(bytes, position, 'utf-16be');
  }
  if (primary === undefined) throw invalid(FIRST, 'there is no primary volume descriptor');
  for (const volume of [primary, joliet]) {
    if (volume !== undefined && volume.sizeInBytes > source.size) {
      throw truncated('the volume', volume.sizeInBytes, source.size);
    }
  }
  return { primary, joliet, hasElTorito };
}

function notADescriptor(bytes: Buffer, position: number, n: number): Error {
  const mark = bytes.toString('latin1', 1, 6);
  if (n > 0) return invalid(position, 'the volume descriptors end without a terminator');
  if (['BEA01', 'NSR02', 'NSR03'].includes(mark)) {
    return invalid(
      position,
      'this image holds only a UDF file system, which Airlock does not read; ISO 9660 is needed',
    );
  }
  return invalid(position, 'this is not an ISO 9660 image: it has no volume descriptor');
}

/** Bit 0 of the flags: the escape sequences are not registered ones (ECMA-119 8.5.3); Joliet's are. */
function isJoliet(bytes: Buffer): boolean {
  const escapes = bytes.toString('latin1', 88, 120);
  return (bytes.readUInt8(7) & 1) === 0 && JOLIET_LEVELS.some((level) => escapes.startsWith(level));
}

function decodeVolume(bytes: Buffer, position: number, encoding: 'latin1' | 'utf-16be'): Volume {
  const version = bytes.readUInt8(6);
  if (version !== 1) throw invalid(position + 6, `the volume descriptor's version is ${version} instead of 1`);
  const blockSize = both16(bytes, 128, position, 'the logical block size');
  if (![512, 1024, 2048].includes(blockSize)) {
    throw invalid(position + 128, `the logical block size is ${blockSize} bytes; 512, 1024 and 2048 are possible`);
  }
  const blocks = both32(bytes, 80, position, 'the volume space size');
  const text = (start: number, end: number) => decodeText(bytes.subarray(start, end), encoding);
  const root = decodeRecord(bytes.subarray(156, 190), position + 156);
  if (!root.isDirectory) throw invalid(root.position, 'the root directory is not marked as a directory');
  return {
    position,
    volumeId: text(40, 72),
    systemId: text(8, 40),
    publisherId: text(318, 446),
    createdAt: descriptorDate(bytes.subarray(813, 830)),
    blockSize,
    sizeInBytes: blocks * blockSize,
    sequence: bytes.readUInt16LE(124),
    root,
  };
}

/** Labels are for people: they are padded with spaces, by some tools with NULs, and must never cause an error. */
function decodeText(bytes: Buffer, encoding: 'latin1' | 'utf-16be'): string {
  const text = encoding === 'latin1' ? bytes.toString('latin1') : new TextDecoder(encoding).decode(bytes);
  return text.split('\0', 1).join('').trimEnd();
}
