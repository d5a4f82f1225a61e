import { recordDate } from './iso-dates.ts';
import { invalid } from './iso-fault.ts';
import { both16, both32 } from './iso-numbers.ts';

/** Length of a directory record without identifier and system use (ECMA-119 9.1). */
const FIXED = 33;

const DIRECTORY = 0x02;
const ASSOCIATED = 0x04;
const MULTI_EXTENT = 0x80;

/** One directory record, as recorded. Its buffers are views: copy what must outlive the bytes it was decoded from. */
export interface DirectoryRecord {
  /** Byte of the image where the record starts. */
  readonly position: number;
  /** First block of the data, after the extended attribute record if there is one. */
  readonly block: number;
  /** Bytes of this section of the file, or of the directory. */
  readonly size: number;
  readonly date: Date | undefined;
  readonly isDirectory: boolean;
  /** A second stream of the file of the same name (Apple's resource fork). */
  readonly isAssociated: boolean;
  /** Another record of the same identifier follows, with the next section of the file (ECMA-119 9.1.6). */
  readonly hasMore: boolean;
  /** Number of the volume (of a set) that the data lies on. */
  readonly volume: number;
  readonly identifier: Buffer;
  readonly systemUse: Buffer;
  /** Byte of the image where `systemUse` starts. */
  readonly systemUsePosition: number;
}

/**
 * Decodes the record that fills `bytes`.
 * @param position byte of the image where `bytes` start
 * @throws iso.invalid if lengths or both-endian numbers disagree, or the file is interleaved
 */
export function decodeRecord(bytes: Buffer, position: number): DirectoryRecord {
  const recorded = bytes.length > 0 ? bytes.readUInt8(0) : 0;
  if (recorded !== bytes.length || recorded <= FIXED) {
    throw invalid(position, `a directory record says that it is ${recorded} bytes long, in a place of ${bytes.length}`);
  }
  const nameLength = bytes.readUInt8(32);
  if (nameLength === 0) throw invalid(position, 'a directory record has an empty identifier');
  if (FIXED + nameLength > bytes.length) {
    throw invalid(position, `a directory record of ${bytes.length} bytes has an identifier of ${nameLength} bytes`);
  }
  if (bytes.readUInt8(26) !== 0 || bytes.readUInt8(27) !== 0) {
    throw invalid(position, 'a file is recorded interleaved, which Airlock does not read');
  }
  // The identifier is padded so that the system use area starts at an even place.
  const systemUse = Math.min(bytes.length, FIXED + nameLength + ((nameLength + 1) % 2));
  const flags = bytes.readUInt8(25);
  return {
    position,
    block: both32(bytes, 2, position, "a directory record's location of extent") + bytes.readUInt8(1),
    size: both32(bytes, 10, position, "a directory record's data length"),
    date: recordDate(bytes.subarray(18, 25)),
    isDirectory: (flags & DIRECTORY) !== 0,
    isAssociated: (flags & ASSOCIATED) !== 0,
    hasMore: (flags & MULTI_EXTENT) !== 0,
    volume: both16(bytes, 28, position, "a directory record's volume sequence number"),
    identifier: bytes.subarray(FIXED, FIXED + nameLength),
    systemUse: bytes.subarray(systemUse),
    systemUsePosition: position + systemUse,
  };
}

/** True for the record of the directory itself (0, "."), with which every directory starts (ECMA-119 7.6.2). */
export function isSelf(record: DirectoryRecord): boolean {
  return record.identifier.length === 1 && record.identifier[0] === 0;
}

/** True for the record of the parent (1, ".."). */
export function isParent(record: DirectoryRecord): boolean {
  return record.identifier.length === 1 && record.identifier[0] === 1;
}
