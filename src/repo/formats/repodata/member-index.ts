import { limits } from '../../../limits.ts';
import type { ByteSource } from '../../blobs/blob-store.ts';
import type { CompressedPiece, CompressionFormat } from './compression.ts';

/** Hexadecimal digits: what a group of packages is told by. */
export type GroupKey = string;

/** A piece of a metadata file that is compressed by itself. */
export interface Member extends CompressedPiece {
  /** Of the packages in it; null for head and foot. Members in a row with the same key are one group. */
  readonly key: GroupKey | null;
}

/** Where a member lies in the file. */
export interface PlacedMember extends Member {
  readonly position: number;
}

export const KEY_BYTES = 16;
const ENTRY_BYTES = KEY_BYTES + 12;

/** The index of a metadata file: for each of its members the key (zeros for none), length, open length and CRC. */
export function encodeIndex(members: readonly Member[]): Buffer {
  const index = Buffer.alloc(members.length * ENTRY_BYTES);
  for (const [number, { key, length, openLength, openCrc }] of members.entries()) {
    const at = number * ENTRY_BYTES;
    if (key !== null) index.write(key, at, KEY_BYTES, 'hex');
    index.writeUInt32LE(length, at + KEY_BYTES);
    index.writeUInt32LE(openLength, at + KEY_BYTES + 4);
    index.writeUInt32LE(openCrc, at + KEY_BYTES + 8);
  }
  return index;
}

/**
 * Reads the index of a metadata file, and its end only.
 * @returns the groups by key; empty if the file was not written here, or is not whole
 * @throws what the source throws
 */
export async function readIndex(source: ByteSource, format: CompressionFormat): Promise<Map<GroupKey, PlacedMember[]>> {
  const found = await format.hiddenIn((length) => readFromEnd(source, length));
  if (found === undefined || found.hidden.length % ENTRY_BYTES !== 0) return new Map();
  const members = decodeIndex(found.hidden, format.opening.length);
  const last = members.at(-1);
  const end = last === undefined ? 0 : last.position + last.length;
  return end === source.size - found.length ? groups(members) : new Map();
}

async function readFromEnd(source: ByteSource, length: number): Promise<Buffer | undefined> {
  if (length > source.size || length > limits.repodata.index) return undefined;
  const bytes = Buffer.alloc(length);
  return (await source.readAt(bytes, source.size - length)) === length ? bytes : undefined;
}

function decodeIndex(index: Buffer, start: number): PlacedMember[] {
  const members: PlacedMember[] = [];
  let position = start;
  for (let at = 0; at < index.length; at += ENTRY_BYTES) {
    const key = index.toString('hex', at, at + KEY_BYTES);
    const length = index.readUInt32LE(at + KEY_BYTES);
    const [openLength, openCrc] = [index.readUInt32LE(at + KEY_BYTES + 4), index.readUInt32LE(at + KEY_BYTES + 8)];
    members.push({ key: /^0*$/.test(key) ? null : key, length, openLength, openCrc, position });
    position += length;
  }
  return members;
}

function groups(members: readonly PlacedMember[]): Map<GroupKey, PlacedMember[]> {
  const found = new Map<GroupKey, PlacedMember[]>();
  for (const member of members) {
    const { key } = member;
    if (key === null) continue;
    const group = found.get(key);
    if (group === undefined) found.set(key, [member]);
    else group.push(member);
  }
  return found;
}
