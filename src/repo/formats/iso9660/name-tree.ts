import type { ByteSource } from '../../blobs/blob-store.ts';
import { newAllowance } from './allowance.ts';
import { readSelfRecord } from './directory-records.ts';
import type { NameSource } from './entry-names.ts';
import { invalid } from './iso-fault.ts';
import { announcesRockRidge } from './rock-ridge.ts';
import { SystemUseReader } from './system-use.ts';
import type { Volume, VolumeDescriptors } from './volume-descriptors.ts';

/** The one directory tree of an image that is read, and where its names come from. */
export interface NameTree {
  readonly names: NameSource;
  readonly volume: Volume;
  /** Bytes to skip at the start of every System Use area (SP, SUSP 5.3). */
  readonly skip: number;
}

/** CD-ROM XA discs have 14 bytes of their own before the System Use entries (SUSP 5.3). */
const XA = 14;

/**
 * Chooses the tree: Rock Ridge's names if the image has them, else Joliet's, else the plain ones.
 * @param forced takes this one instead
 * @throws iso.invalid if the forced tree is not there; iso.invalid, iso.truncated, iso.limit for a damaged root directory
 */
export async function chooseNameTree(
  source: ByteSource,
  { primary, joliet }: VolumeDescriptors,
  forced: NameSource | undefined,
): Promise<{ readonly tree: NameTree; readonly hasRockRidge: boolean }> {
  const skip = await findRockRidge(source, primary);
  const hasRockRidge = skip !== undefined;
  const names = forced ?? (hasRockRidge ? 'rock-ridge' : joliet === undefined ? 'plain' : 'joliet');
  if (names === 'joliet' && joliet !== undefined) return { tree: { names, volume: joliet, skip: 0 }, hasRockRidge };
  if (names === 'joliet' || (names === 'rock-ridge' && !hasRockRidge)) {
    throw invalid(primary.position, `the image has no ${names} names`);
  }
  return { tree: { names, volume: primary, skip: skip ?? 0 }, hasRockRidge };
}

/** @returns how many bytes SP tells to skip, undefined if there is no Rock Ridge */
async function findRockRidge(source: ByteSource, volume: Volume): Promise<number | undefined> {
  const self = await readSelfRecord(source, volume.root.block * volume.blockSize);
  const start = [0, XA].find((offset) => self.systemUse.toString('latin1', offset, offset + 2) === 'SP');
  if (start === undefined) return undefined;
  const area = self.systemUse.subarray(start);
  if (area.length < 7 || area.readUInt8(2) !== 7 || area.readUInt16BE(4) !== 0xbeef) return undefined;
  const reader = new SystemUseReader(source, volume.blockSize);
  const entries = await reader.read(area, self.systemUsePosition + start, newAllowance(source.size));
  return announcesRockRidge(entries) ? area.readUInt8(6) : undefined;
}
