import { limits } from '../../../limits.ts';
import type { ByteSource } from '../../blobs/blob-store.ts';
import type { CompressionFormat } from './compression.ts';

/** Hexadecimal digits: what a group of packages is told by. */
export type GroupKey = string;

/** A piece of a metadata file that is compressed by itself. */
export interface Member {
  /** Of the packages in it; null for head and foot. Members in a row with the same key are one group. */
  readonly key: GroupKey | null;
  /** Bytes in the file, and when decompressed. */
  readonly length: number;
  readonly openLength: number;
}

/** Where a member lies in the file. */
export interface PlacedMember extends Member {
  readonly position: number;
}

export const KEY_BYTES = 16;
const ENTRY_BYTES = KEY_BYTES + 8;
/** Length of the whole index, at the end of each of its comments. */
const TAIL_BYTES = 4;

/**
 * The index that ends a metadata file: for each of its members the key (zeros for none), length and open length. It lies
 * in comments of the compression format, so readers skip it; the last one is found from the end of the file.
 */
export function encodeIndex(members: readonly Member[], format: CompressionFormat): Buffer {
  const entries = Buffer.alloc(members.length * ENTRY_BYTES);
  for (const [index, { key, length, openLength }] of members.entries()) {
    const at = index * ENTRY_BYTES;
    if (key !== null) entries.write(key, at, KEY_BYTES, 'hex');
    entries.writeUInt32LE(length, at + KEY_BYTES);
    entries.writeUInt32LE(openLength, at + KEY_BYTES + 4);
  }
  const step = entriesEach(format) * ENTRY_BYTES;
  const starts = Array.from({ length: Math.max(1, Math.ceil(entries.length / step)) }, (_, index) => index * step);
  const around = format.comment(new Uint8Array(TAIL_BYTES)).length;
  const tail = Buffer.alloc(TAIL_BYTES);
  tail.writeUInt32LE(entries.length + starts.length * around);
  return Buffer.concat(
    starts.map((start) => format.comment(Buffer.concat([entries.subarray(start, start + step), tail]))),
  );
}

/**
 * Reads the index of a metadata file, and its end only.
 * @returns the groups by key; empty if the file was not written here, or not whole
 * @throws what the source throws
 */
export async function readIndex(source: ByteSource, format: CompressionFormat): Promise<Map<GroupKey, PlacedMember[]>> {
  const tail = await read(source, source.size - TAIL_BYTES - format.commentEnd, TAIL_BYTES);
  const length = tail?.readUInt32LE() ?? 0;
  if (length > limits.repodata.index) return new Map();
  const index = await read(source, source.size - length, length);
  const members = index === undefined ? undefined : decodeIndex(index, format);
  const end = members?.reduce((sum, member) => sum + member.length, 0);
  return members === undefined || end !== source.size - length ? new Map() : groups(members);
}

function decodeIndex(index: Buffer, format: CompressionFormat): Member[] | undefined {
  const around = format.comment(new Uint8Array(TAIL_BYTES)).length;
  const before = around - TAIL_BYTES - format.commentEnd;
  const most = entriesEach(format) * ENTRY_BYTES;
  const members: Member[] = [];
  for (let at = 0; at < index.length; ) {
    const length = Math.min(most, index.length - at - around);
    if (length < 0 || length % ENTRY_BYTES !== 0) return undefined;
    for (let entry = at + before; entry < at + before + length; entry += ENTRY_BYTES) {
      members.push(decodeEntry(index, entry));
    }
    at += around + length;
  }
  return encodeIndex(members, format).equals(index) ? members : undefined;
}

function decodeEntry(index: Buffer, at: number): Member {
  const key = index.toString('hex', at, at + KEY_BYTES);
  return {
    key: /^0*$/.test(key) ? null : key,
    length: index.readUInt32LE(at + KEY_BYTES),
    openLength: index.readUInt32LE(at + KEY_BYTES + 4),
  };
}

function groups(members: readonly Member[]): Map<GroupKey, PlacedMember[]> {
  const found = new Map<GroupKey, PlacedMember[]>();
  let position = 0;
  for (const member of members) {
    const { key } = member;
    if (key !== null) {
      const group = found.get(key);
      if (group === undefined) found.set(key, [{ ...member, position }]);
      else group.push({ ...member, position });
    }
    position += member.length;
  }
  return found;
}

function entriesEach(format: CompressionFormat): number {
  return Math.floor((format.commentLimit - TAIL_BYTES) / ENTRY_BYTES);
}

async function read(source: ByteSource, position: number, length: number): Promise<Buffer | undefined> {
  if (position < 0 || length === 0) return undefined;
  const bytes = Buffer.alloc(length);
  return (await source.readAt(bytes, position)) === length ? bytes : undefined;
}
