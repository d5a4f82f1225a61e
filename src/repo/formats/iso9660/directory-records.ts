import { limits } from '../../../limits.ts';
import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import { type DirectoryRecord, decodeRecord, isParent, isSelf } from './directory-record.ts';
import { fill } from './image-reader.ts';
import { invalid } from './iso-fault.ts';
import { SECTOR } from './volume-descriptors.ts';

/**
 * The records of one directory in the order recorded, without those of itself and its parent. Streams: holds one
 * chunk, which is overwritten by the next, so a record must not be used after the following one was asked for.
 *
 * A directory must begin with the record of itself, and none of its sectors may be empty or have bytes behind its
 * last record (ECMA-119 6.8.1): other readers step over such places, and what had stood there is lost silently.
 * @throws iso.invalid, iso.truncated
 */
export async function* directoryRecords(source: ByteSource, extent: ByteRange): AsyncGenerator<DirectoryRecord> {
  const chunk = Buffer.alloc(Math.min(limits.iso.directoryChunk, extent.end - extent.start));
  let index = 0;
  for (let at = extent.start; at < extent.end; at += chunk.length) {
    const bytes = chunk.subarray(0, Math.min(chunk.length, extent.end - at));
    await fill(source, bytes, at, 'a directory');
    for (let sector = 0; sector < bytes.length; sector += SECTOR) {
      for (const record of sectorRecords(bytes.subarray(sector, sector + SECTOR), at + sector)) {
        if (!isDotRecord(record, index)) yield record;
        index += 1;
      }
    }
  }
}

function* sectorRecords(sector: Buffer, position: number): Generator<DirectoryRecord> {
  let offset = 0;
  while (offset < sector.length) {
    const length = sector.readUInt8(offset);
    if (length === 0) break;
    if (offset + length > sector.length) {
      throw invalid(position + offset, `a directory record of ${length} bytes crosses the end of its sector`);
    }
    yield decodeRecord(sector.subarray(offset, offset + length), position + offset);
    offset += length;
  }
  if (offset === 0) throw invalid(position, 'a sector of a directory is empty');
  const rest = sector.subarray(offset).findIndex((byte) => byte !== 0);
  if (rest !== -1) throw invalid(position + offset + rest, 'a directory has bytes behind its last record in a sector');
}

/** @returns true for "." and "..", which stand at the start of a directory and nowhere else (ECMA-119 6.8.2.2). */
function isDotRecord(record: DirectoryRecord, index: number): boolean {
  const self = isSelf(record);
  if (self !== (index === 0)) {
    throw invalid(record.position, self ? 'a directory holds itself twice' : 'a directory does not start with itself');
  }
  const parent = isParent(record);
  if (parent && index !== 1) throw invalid(record.position, 'a directory has its parent in the wrong place');
  return self || parent;
}

/**
 * The record of itself with which the directory at `position` starts; its buffers are not shared.
 * @throws iso.invalid if no directory starts there; iso.truncated
 */
export async function readSelfRecord(source: ByteSource, position: number): Promise<DirectoryRecord> {
  const bytes = Buffer.alloc(256);
  const available = Math.max(0, Math.min(bytes.length, source.size - position));
  await fill(source, bytes.subarray(0, Math.max(available, 34)), position, 'a directory');
  const length = bytes.readUInt8(0);
  const record = decodeRecord(bytes.subarray(0, length), position);
  if (!isSelf(record) || !record.isDirectory) throw invalid(position, 'no directory starts here');
  return record;
}
