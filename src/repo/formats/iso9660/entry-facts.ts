import type { Allowance } from './allowance.ts';
import type { DirectoryRecord } from './directory-record.ts';
import { jolietName, linkTarget, plainName, rockRidgeName } from './entry-names.ts';
import { invalid } from './iso-fault.ts';
import type { NameTree } from './name-tree.ts';
import { decodeRockRidge, type PosixType, type RockRidge } from './rock-ridge.ts';
import type { SystemUseReader } from './system-use.ts';

/** What a directory record means, whichever tree it stands in. */
export interface EntryFacts {
  readonly name: string;
  readonly type: PosixType;
  readonly mtime: Date | undefined;
  readonly target: string | undefined;
  /** Block of the directory that stands here in truth (see RockRidge). */
  readonly childBlock: number | undefined;
  readonly encoding: RockRidge['encoding'];
}

/**
 * Reads the facts of a record; with Rock Ridge that may take further reads of the image.
 * @returns undefined for a directory that was moved here from elsewhere: it is found there
 * @throws iso.invalid, iso.truncated, iso.limit
 */
export async function readEntryFacts(
  record: DirectoryRecord,
  tree: NameTree,
  systemUse: SystemUseReader,
  allowance: Allowance,
): Promise<EntryFacts | undefined> {
  const { identifier, isDirectory, position } = record;
  if (tree.names !== 'rock-ridge') {
    const decode = tree.names === 'joliet' ? jolietName : plainName;
    const type = isDirectory ? 'directory' : 'file';
    const none = { target: undefined, childBlock: undefined, encoding: undefined };
    return { name: decode(identifier, isDirectory, position), type, mtime: record.date, ...none };
  }
  const area = record.systemUse.subarray(tree.skip);
  const entries = await systemUse.read(area, record.systemUsePosition + tree.skip, allowance);
  const rockRidge = decodeRockRidge(entries);
  if (rockRidge.isRelocated) return undefined;
  return {
    name: rockRidge.name ? rockRidgeName(rockRidge.name, position) : plainName(identifier, isDirectory, position),
    type: agreedType(record, rockRidge),
    mtime: rockRidge.modified ?? record.date,
    target: rockRidge.target && linkTarget(rockRidge.target, position),
    childBlock: rockRidge.childBlock,
    encoding: rockRidge.encoding,
  };
}

/** Readers differ in whom they believe when the record and Rock Ridge contradict each other; so such a file is refused. */
function agreedType({ isDirectory, position }: DirectoryRecord, { type, target, childBlock }: RockRidge): PosixType {
  if (childBlock !== undefined) return 'directory';
  const agreed = type ?? (isDirectory ? 'directory' : target === undefined ? 'file' : 'symlink');
  if ((agreed === 'directory') !== isDirectory) {
    throw invalid(position, `Rock Ridge calls it a ${agreed}, ISO 9660 a ${isDirectory ? 'directory' : 'file'}`);
  }
  if ((agreed === 'symlink') !== (target !== undefined)) {
    throw invalid(position, `Rock Ridge calls it a ${agreed}, ${target ? 'but gives a' : 'but gives no'} link target`);
  }
  return agreed;
}
