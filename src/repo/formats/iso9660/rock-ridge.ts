import { limits } from '../../../limits.ts';
import { descriptorDate, recordDate } from './iso-dates.ts';
import { beyondLimit, invalid } from './iso-fault.ts';
import { both32 } from './iso-numbers.ts';
import type { SystemUseEntry } from './system-use.ts';

/** Rock Ridge names that an ER entry may announce: RRIP 1.09/1.10, IEEE P1282 in two spellings. */
const EXTENSIONS = ['RRIP_1991A', 'IEEE_P1282', 'IEEE_1282'];

/** NM and SL: the name or component goes on in the next entry. */
const CONTINUE = 0x01;

export type PosixType = 'file' | 'directory' | 'symlink' | 'special';

/** What Rock Ridge (RRIP, IEEE P1282) tells of one file. All names are data as recorded, not checked, not paths. */
export interface RockRidge {
  readonly name: Buffer | undefined;
  readonly type: PosixType | undefined;
  /** Target of a symbolic link. Nobody here follows it. */
  readonly target: Buffer | undefined;
  readonly modified: Date | undefined;
  /** Block of the directory that really stands here: it was moved because ISO 9660 allows only eight levels (CL). */
  readonly childBlock: number | undefined;
  /** This directory was moved here; it belongs to where a childBlock points to it (RE). */
  readonly isRelocated: boolean;
  /** The recorded bytes are not the file's: compressed by zisofs (ZF), or with holes left out (SF). */
  readonly encoding: 'zisofs' | 'sparse' | undefined;
}

/** True if the entries of the root's record of itself say that Rock Ridge is in use (SUSP 5.5; PX without ER is met too). */
export function announcesRockRidge(entries: readonly SystemUseEntry[]): boolean {
  return entries.some(({ signature, bytes }) => {
    if (signature === 'PX' || signature === 'RR') return true;
    const length = signature === 'ER' && bytes.length >= 8 ? bytes.readUInt8(4) : 0;
    return EXTENSIONS.includes(bytes.toString('latin1', 8, 8 + length));
  });
}

/**
 * Puts the entries of one record together. Entries that Airlock has no use for are passed over.
 * @throws iso.invalid for entries that contradict each other or themselves; iso.limit for an endless name or target
 */
export function decodeRockRidge(entries: readonly SystemUseEntry[]): RockRidge {
  const named = (signature: string) => entries.filter((entry) => entry.signature === signature);
  const type = decodeType(named('PX'));
  const target = decodeTarget(named('SL'));
  const [child] = named('CL');
  return {
    name: decodeName(named('NM')),
    type,
    target,
    modified: decodeModified(named('TF')),
    childBlock: child && both32(ofLength(child, 12), 4, child.position, 'the location of a moved directory'),
    isRelocated: named('RE').length > 0,
    encoding: named('ZF').length > 0 ? 'zisofs' : named('SF').length > 0 ? 'sparse' : undefined,
  };
}

function ofLength({ signature, bytes, position }: SystemUseEntry, atLeast: number): Buffer {
  if (bytes.length >= atLeast) return bytes;
  throw invalid(position, `the ${signature} entry is ${bytes.length} bytes long, but ${atLeast} are needed`);
}

/** PX (RRIP 4.1.1): the file mode of POSIX, of which the type matters here. */
function decodeType(entries: readonly SystemUseEntry[]): PosixType | undefined {
  const [entry] = entries;
  if (entry === undefined) return undefined;
  const mode = both32(ofLength(entry, 12), 4, entry.position, 'the file mode in PX');
  switch (mode & 0o170000) {
    case 0o100000:
      return 'file';
    case 0o040000:
      return 'directory';
    case 0o120000:
      return 'symlink';
    case 0:
      return undefined;
    default:
      return 'special';
  }
}

/**
 * NM (RRIP 4.1.4): flags, then a piece of the name. Readers disagree on what a second piece means when the first one
 * did not announce it, so such a name is refused.
 */
function decodeName(entries: readonly SystemUseEntry[]): Buffer | undefined {
  const pieces: Buffer[] = [];
  let more = entries.length > 0;
  for (const entry of entries) {
    const flags = ofLength(entry, 5).readUInt8(4);
    if (!more) throw invalid(entry.position, 'a file has two Rock Ridge names');
    if ((flags & ~CONTINUE) !== 0) {
      throw invalid(entry.position, `a Rock Ridge name has the flags ${flags}: it is no name (".", ".." or unknown)`);
    }
    more = (flags & CONTINUE) !== 0;
    pieces.push(entry.bytes.subarray(5));
  }
  const last = entries.at(-1);
  if (last === undefined) return undefined;
  if (more) throw invalid(last.position, 'a Rock Ridge name announces another piece, and there is none');
  return Buffer.concat(pieces);
}

/**
 * SL (RRIP 4.1.3): components, each with flags and length; a component or the list of them may go on in the next entry.
 * The target is put together as a link on disk would say it.
 */
function decodeTarget(entries: readonly SystemUseEntry[]): Buffer | undefined {
  const [first] = entries;
  if (first === undefined) return undefined;
  const pieces: string[] = [];
  let length = 0;
  let separator = '';
  for (const entry of entries) {
    for (const { flags, content, position } of components(entry)) {
      const piece = componentText(flags, content, position);
      pieces.push(separator, piece);
      length += separator.length + piece.length;
      if (length > limits.iso.symlinkBytes) {
        throw beyondLimit(entry.position, `a symbolic link of more than ${length} bytes`, limits.iso.symlinkBytes);
      }
      separator = (flags & CONTINUE) !== 0 || (flags & 0x08) !== 0 ? '' : '/';
    }
  }
  const last = entries.at(-1) ?? first;
  if ((last.bytes.readUInt8(4) & CONTINUE) !== 0) {
    throw invalid(last.position, 'a symbolic link announces another piece, and there is none');
  }
  return Buffer.from(pieces.join(''), 'latin1');
}

interface Component {
  readonly flags: number;
  readonly content: Buffer;
  readonly position: number;
}

function* components(entry: SystemUseEntry): Generator<Component> {
  const bytes = ofLength(entry, 5);
  for (let offset = 5; offset < bytes.length; ) {
    const position = entry.position + offset;
    const length = offset + 2 <= bytes.length ? bytes.readUInt8(offset + 1) : Number.POSITIVE_INFINITY;
    if (offset + 2 + length > bytes.length) {
      throw invalid(position, 'a component of a symbolic link is longer than its SL entry');
    }
    yield { flags: bytes.readUInt8(offset), content: bytes.subarray(offset + 2, offset + 2 + length), position };
    offset += 2 + length;
  }
}

function componentText(flags: number, content: Buffer, position: number): string {
  switch (flags & ~CONTINUE) {
    case 0:
      return content.toString('latin1');
    case 0x02:
      return '.';
    case 0x04:
      return '..';
    case 0x08:
      return '/';
    default:
      throw invalid(position, `a component of a symbolic link has the flags ${flags}, which have no meaning`);
  }
}

/** TF (RRIP 4.1.6): a stamp for each flag set, in the order of the flags: creation, modification, … */
function decodeModified(entries: readonly SystemUseEntry[]): Date | undefined {
  for (const entry of entries) {
    const flags = ofLength(entry, 5).readUInt8(4);
    if ((flags & 0x02) === 0) continue;
    const isLong = (flags & 0x80) !== 0;
    const size = isLong ? 17 : 7;
    const start = 5 + ((flags & 0x01) !== 0 ? size : 0);
    const stamp = ofLength(entry, start + size).subarray(start, start + size);
    return isLong ? descriptorDate(stamp) : recordDate(stamp);
  }
  return undefined;
}
