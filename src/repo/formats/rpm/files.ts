import { limits } from '../../../limits.ts';
import type { RpmHeader } from './header.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';
import { FILE, TAG, TYPE } from './tags.ts';

/** A file of a package. Its path is data: nobody here opens it. */
export interface RpmFileEntry {
  /** As the package writes it: absolute, but for source packages. */
  readonly path: string;
  /** Unix type and permissions; 0 where the package does not say. */
  readonly mode: number;
  /** rpm's own bits: configuration, documentation, ghost … */
  readonly flags: number;
  /** As repodata tells them apart: a ghost belongs to the package but is not in its payload; links and devices are files. */
  readonly type: 'file' | 'dir' | 'ghost';
}

/**
 * The files in the order recorded, one at a time. Directory names are held, files are not.
 * @throws rpm.invalid if the lists that describe them do not fit each other; rpm.limit
 */
export function* filesOf({ header }: RpmFile): Generator<RpmFileEntry, void, undefined> {
  const [nameTag, paths] = header.has(TAG.baseNames)
    ? [TAG.baseNames, splitPaths(header)]
    : [TAG.oldFileNames, wholePaths(header)];
  const count = checkCount(header, nameTag);
  for (const tag of [TAG.fileModes, TAG.fileFlags]) if (header.has(tag)) requireCount(header, tag, count);
  const [modes, flags] = [header.numbers(TAG.fileModes, TYPE.int16), header.numbers(TAG.fileFlags)];
  const decode = header.decoderOf(nameTag, TAG.dirNames);
  let index = 0;
  let bytes = 0;
  for (const path of paths) {
    bytes += path.length;
    if (bytes > limits.rpm.pathsBytes) throw tooLong(header, nameTag, 'all paths together', limits.rpm.pathsBytes);
    const [mode, flag] = [modes.at(index), flags.at(index)];
    yield { path: decode(path), mode, flags: flag, type: typeOf(mode, flag) };
    index += 1;
  }
}

/** Since rpm 4 a path is a directory's name, from a list of them, and a base name. */
function* splitPaths(header: RpmHeader): Generator<string, void, undefined> {
  const count = header.count(TAG.baseNames);
  requireCount(header, TAG.dirIndexes, count);
  checkCount(header, TAG.dirNames);
  const directories = [...header.latin1Array(TAG.dirNames)];
  const indexes = header.numbers(TAG.dirIndexes);
  let index = 0;
  for (const name of header.latin1Array(TAG.baseNames)) {
    const directory = directories[indexes.at(index)];
    if (directory === undefined) {
      throw invalid(
        header.positionOf(TAG.dirIndexes),
        `file ${index} lies in a directory that the package does not name`,
      );
    }
    yield joinPath(header, directory, name);
    index += 1;
  }
}

/** Before rpm 4 a path was one string. */
function* wholePaths(header: RpmHeader): Generator<string, void, undefined> {
  for (const path of header.latin1Array(TAG.oldFileNames)) yield joinPath(header, '', path);
}

/** Lengths are checked before memory is taken: many files may share one long name. A character is a byte. */
function joinPath(header: RpmHeader, directory: string, name: string): string {
  const most = limits.rpm.pathBytes;
  if (directory.length + name.length <= most) return directory + name;
  throw tooLong(header, TAG.baseNames, 'a path', most);
}

function tooLong(header: RpmHeader, tag: number, what: string, most: number): Error {
  return beyondLimit(header.positionOf(tag), `${what} of more than ${most} bytes`, most);
}

function checkCount(header: RpmHeader, tag: number): number {
  const count = header.count(tag);
  if (count > limits.rpm.files)
    throw beyondLimit(header.positionOf(tag), `${count} files or directories`, limits.rpm.files);
  return count;
}

function requireCount(header: RpmHeader, tag: number, count: number): void {
  if (header.count(tag) === count) return;
  throw invalid(header.positionOf(tag), `the package has ${count} files but ${header.count(tag)} values in tag ${tag}`);
}

function typeOf(mode: number, flags: number): RpmFileEntry['type'] {
  if ((mode & FILE.typeMask) === FILE.directory) return 'dir';
  return (flags & FILE.ghost) !== 0 ? 'ghost' : 'file';
}
