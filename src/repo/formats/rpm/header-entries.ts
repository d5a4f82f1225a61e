import { invalid } from './rpm-fault.ts';
import { TYPE } from './tags.ts';

const ENTRY_BYTES = 16;
/** Below are regions and other internals, which have no place among a package's tags; above, numbers are negative to rpm. */
const FIRST_TAG = 100;
const LAST_TAG = 0x7fff_ffff;

/** Bytes of one value, which is also what it is aligned to; strings and bytes lie anywhere. */
const WIDTH: Record<number, number> = { [TYPE.int16]: 2, [TYPE.int32]: 4, [TYPE.int64]: 8 };

/** The two halves of a header behind its intro. */
export interface HeaderParts {
  /** 16 bytes for each entry. */
  readonly index: Buffer;
  readonly data: Buffer;
  /** Byte of the file where the index starts; the data follows it. */
  readonly position: number;
}

/** Where a tag's data lies. Verified: all of it is there. */
export interface Entry {
  readonly type: number;
  readonly count: number;
  /** From the start of the header's data. */
  readonly offset: number;
  readonly length: number;
}

interface Verified {
  /** By tag; of a repeated tag the first. */
  readonly entries: ReadonlyMap<number, Entry>;
  readonly repeated: ReadonlySet<number>;
  readonly hasRegion: boolean;
}

interface Raw {
  readonly tag: number;
  readonly type: number;
  readonly offset: number;
  readonly count: number;
}

/**
 * Verifies the index of a header as strictly as rpm does for packages: the region is all of the header; types and tags
 * are known ones; data is aligned, ends within the header, does not overlap, and leaves no bytes over that no tag owns.
 * @throws rpm.invalid
 */
export function verifyEntries(what: string, parts: HeaderParts, region: number): Verified {
  const { index, data, position } = parts;
  const hasRegion = rawEntry(index, 0).tag === region;
  const dataEnd = hasRegion ? verifyRegion(what, parts, region) : data.length;
  const owned = data.subarray(0, dataEnd);
  const entries = new Map<number, Entry>();
  const repeated = new Set<number>();
  let end = 0;
  for (let at = hasRegion ? ENTRY_BYTES : 0; at < index.length; at += ENTRY_BYTES) {
    const raw = rawEntry(index, at);
    const length = dataLength(raw, owned);
    const width = WIDTH[raw.type] ?? 1;
    const isTag = raw.tag >= FIRST_TAG && raw.tag <= LAST_TAG;
    if (!isTag || length === undefined || raw.offset !== Math.ceil(end / width) * width) {
      throw badEntry(what, position + at, raw);
    }
    end = raw.offset + length;
    if (entries.has(raw.tag)) repeated.add(raw.tag);
    else entries.set(raw.tag, { type: raw.type, count: raw.count, offset: raw.offset, length });
  }
  if (end === dataEnd) return { entries, repeated, hasRegion };
  throw invalid(position + index.length + end, `${what} has ${dataEnd - end} bytes that belong to no tag`);
}

/**
 * The first entry of a region points to its trailer, the last 16 bytes of the header, which say how many entries it has.
 * @returns where data ends and the trailer starts
 */
function verifyRegion(what: string, { index, data, position }: HeaderParts, region: number): number {
  const first = rawEntry(index, 0);
  if (first.type !== TYPE.bin || first.count !== ENTRY_BYTES || first.offset + ENTRY_BYTES > data.length) {
    throw badEntry(what, position, first);
  }
  if (first.offset + ENTRY_BYTES !== data.length) {
    throw invalid(position + 8, `${what} has data behind its immutable region, which no digest covers`);
  }
  const trailer = rawEntry(data, first.offset);
  const where = position + index.length + first.offset;
  if (trailer.tag !== region || trailer.type !== TYPE.bin || trailer.count !== ENTRY_BYTES) {
    throw invalid(where, `the immutable region of ${what} does not end as it should`);
  }
  // Recorded negative: the way back from the trailer to the index, as if there were no data between.
  const regionBytes = 0x1_0000_0000 - trailer.offset;
  if (regionBytes === index.length) return first.offset;
  const entries = index.length / ENTRY_BYTES;
  throw invalid(where, `the immutable region of ${what} does not hold all of its ${entries} entries`);
}

function rawEntry(bytes: Buffer, at: number): Raw {
  return {
    tag: bytes.readUInt32BE(at),
    type: bytes.readUInt32BE(at + 4),
    offset: bytes.readUInt32BE(at + 8),
    count: bytes.readUInt32BE(at + 12),
  };
}

/** @returns bytes of an entry's data, undefined if it is empty, not all there, or of no known type */
function dataLength({ type, offset, count }: Raw, data: Buffer): number | undefined {
  if (type < TYPE.char || type > TYPE.i18nString || count === 0) return undefined;
  if (type === TYPE.string && count !== 1) return undefined;
  const isText = type === TYPE.string || type === TYPE.stringArray || type === TYPE.i18nString;
  const length = isText ? stringsLength(data, offset, count) : count * (WIDTH[type] ?? 1);
  return length === undefined || offset + length > data.length ? undefined : length;
}

/** Bytes of `count` strings with their NULs; undefined where there are fewer. A plain loop: strings may be many and empty. */
function stringsLength(data: Buffer, offset: number, count: number): number | undefined {
  if (count > data.length - offset) return undefined;
  let left = count;
  for (let at = offset; at < data.length; at += 1) {
    if (data[at] !== 0) continue;
    left -= 1;
    if (left === 0) return at + 1 - offset;
  }
  return undefined;
}

function badEntry(what: string, position: number, { tag, type, offset, count }: Raw): Error {
  const said = `tag ${tag}, type ${type}, offset ${offset}, count ${count}`;
  return invalid(position, `an entry of ${what} is wrong (${said})`);
}
