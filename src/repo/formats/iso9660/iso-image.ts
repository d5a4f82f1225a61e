import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import { type Allowance, newAllowance, spendContent, spendEntry } from './allowance.ts';
import type { DirectoryRecord } from './directory-record.ts';
import { directoryRecords, readSelfRecord } from './directory-records.ts';
import { type EntryFacts, readEntryFacts } from './entry-facts.ts';
import type { NameSource } from './entry-names.ts';
import { joinRanges, readExactly } from './image-reader.ts';
import { beyondLimit, invalid, quoted, truncated } from './iso-fault.ts';
import { NameSet } from './name-set.ts';
import { chooseNameTree, type NameTree } from './name-tree.ts';
import type { RockRidge } from './rock-ridge.ts';
import { SystemUseReader } from './system-use.ts';
import { readVolumeDescriptors, type VolumeDescriptors } from './volume-descriptors.ts';

/** One file of an image. All names are data: nobody here opens, joins or follows them. */
export interface IsoEntry {
  /** Names from the root on, joined by `/`, without a leading one; empty for the root. */
  readonly path: string;
  readonly name: string;
  /** `special` is a device, FIFO or socket: it has no content. */
  readonly type: 'file' | 'directory' | 'symlink' | 'special';
  /** Bytes of a file's content, 0 for a link or special file; a directory's own records. */
  readonly size: number;
  readonly mtime?: Date;
  /** What a symbolic link says. */
  readonly target?: string;
}

interface Directory {
  readonly path: string;
  readonly extent: ByteRange;
  readonly depth: number;
  readonly parent: Directory | undefined;
}

/** What the image keeps of an entry that it gave out. */
interface Inside {
  readonly extents: readonly ByteRange[];
  readonly directory: Directory | undefined;
  readonly encoding: RockRidge['encoding'];
}

/** A file whose sections are being collected: facts of its first record, extents of all of them. */
interface OpenFile {
  readonly position: number;
  readonly identifier: string;
  readonly facts: EntryFacts;
  readonly extents: ByteRange[];
  sections: number;
  size: number;
}

/**
 * Opens an image: reads its volume descriptors and the start of its root directory, nothing more.
 * The source stays the caller's: it must live as long as the image is used, and the caller closes it.
 * @param options.names reads this tree instead of the best one
 * @throws iso.invalid if it is no readable ISO 9660 image; iso.truncated if the source is shorter than its volume;
 *   iso.limit
 */
export async function openIso(source: ByteSource, options: { readonly names?: NameSource } = {}): Promise<IsoImage> {
  const descriptors = await readVolumeDescriptors(source);
  const { tree, hasRockRidge } = await chooseNameTree(source, descriptors, options.names);
  return new IsoImage(source, descriptors, tree, hasRockRidge);
}

/**
 * A read-only ISO 9660 image (ECMA-119) with Joliet and Rock Ridge names, read in place: no mount, no copy.
 *
 * Trusts nothing in the image. Every method throws iso.invalid (damaged or contradictory), iso.truncated (refers to
 * bytes that are not there) or iso.limit (more than `limits.iso`), naming the byte, or what the source throws.
 * Nothing wrong is skipped silently; what is left out on purpose: associated files (resource forks), and the places that
 * relocated directories were moved to.
 * Memory is bounded by `limits.iso`; one chunk is held for each directory level of a walk. Methods may run concurrently.
 */
export class IsoImage {
  readonly volumeId: string;
  readonly systemId: string;
  readonly publisherId: string;
  readonly createdAt: Date | undefined;
  readonly hasJoliet: boolean;
  readonly hasRockRidge: boolean;
  /** There is an El Torito boot record: the image can boot. */
  readonly hasElTorito: boolean;
  /** Where the names of this reading come from. */
  readonly names: NameSource;
  /** Bytes of the volume; the source may be longer. */
  readonly sizeInBytes: number;
  readonly root: IsoEntry;

  readonly #source: ByteSource;
  readonly #tree: NameTree;
  readonly #systemUse: SystemUseReader;
  readonly #inside = new WeakMap<IsoEntry, Inside>();

  /** Use `openIso`. */
  constructor(source: ByteSource, descriptors: VolumeDescriptors, tree: NameTree, hasRockRidge: boolean) {
    const { primary, joliet, hasElTorito } = descriptors;
    this.volumeId = primary.volumeId;
    this.systemId = primary.systemId;
    this.publisherId = primary.publisherId;
    this.createdAt = primary.createdAt;
    this.hasJoliet = joliet !== undefined;
    this.hasRockRidge = hasRockRidge;
    this.hasElTorito = hasElTorito;
    this.names = tree.names;
    this.sizeInBytes = primary.sizeInBytes;
    this.#source = source;
    this.#tree = tree;
    this.#systemUse = new SystemUseReader(source, tree.volume.blockSize);
    const { root } = tree.volume;
    this.root = this.#directoryEntry('', '', root.date, this.#directory(root, '', undefined));
  }

  /**
   * Looks a path up, reading only the directories on the way. A leading `/` is allowed; links are not followed.
   * @returns undefined if there is no such path
   */
  async stat(path: string): Promise<IsoEntry | undefined> {
    const relative = path.replace(/^\//, '');
    let entry: IsoEntry | undefined = this.root;
    for (const name of relative === '' ? [] : relative.split('/')) {
      entry = entry.type === 'directory' ? await this.#find(entry, name) : undefined;
      if (entry === undefined) return undefined;
    }
    return entry;
  }

  async #find(directory: IsoEntry, name: string): Promise<IsoEntry | undefined> {
    for await (const entry of this.list(directory)) {
      if (entry.name === name) return entry;
    }
    return undefined;
  }

  /** The entries of one directory, in the order recorded, each as soon as it is read. */
  list(directory: IsoEntry = this.root): AsyncIterable<IsoEntry> {
    return this.#list(directory, newAllowance(this.#source.size));
  }

  /**
   * All entries below a directory, in the order recorded, a directory before its content.
   * A directory that is reached twice, by a cycle or from two parents, is iso.invalid.
   */
  async *walk(directory: IsoEntry = this.root): AsyncGenerator<IsoEntry> {
    const allowance = newAllowance(this.#source.size);
    const visited = new Set([this.#insideOf(directory).directory?.extent.start]);
    const levels = [this.#list(directory, allowance)];
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const { value: entry, done } = await level.next();
      if (done === true) {
        levels.pop();
        continue;
      }
      yield entry;
      const start = this.#inside.get(entry)?.directory?.extent.start;
      if (start === undefined) continue;
      if (visited.has(start)) throw invalid(start, `the directory ${quoted(entry.path)} is reached from two places`);
      visited.add(start);
      levels.push(this.#list(entry, allowance));
    }
  }

  /**
   * Where a file's bytes lie in the image: ascending in the file, contiguous ones merged, empty for an empty file.
   * @throws iso.invalid if the entry is no file, or its bytes are recorded compressed (zisofs) or sparse
   */
  extents(entry: IsoEntry): readonly ByteRange[] {
    const { extents, encoding } = this.#insideOf(entry);
    if (entry.type === 'file' && encoding === undefined) return extents;
    const what = encoding === undefined ? `a ${entry.type}, not a file` : `recorded as ${encoding}`;
    throw new AirlockError(
      'iso.invalid',
      `${quoted(entry.path)} in the ISO image is ${what}: its content cannot be read.`,
    );
  }

  /**
   * The whole content of a small file.
   * @throws iso.limit if it is longer than `maxBytes`; as `extents`
   */
  async readFile(entry: IsoEntry, maxBytes: number): Promise<Uint8Array> {
    const extents = this.extents(entry);
    if (entry.size > maxBytes) {
      throw beyondLimit(extents[0]?.start ?? 0, `${quoted(entry.path)} has ${entry.size} bytes`, maxBytes);
    }
    return readExactly(joinRanges(this.#source, extents, quoted(entry.path)), 0, entry.size, quoted(entry.path));
  }

  /** Positional reads of a file. Nothing to close; it lives as long as the image's source. @throws as `extents` */
  source(entry: IsoEntry): ByteSource {
    return joinRanges(this.#source, this.extents(entry), quoted(entry.path));
  }

  #insideOf(entry: IsoEntry): Inside {
    const inside = this.#inside.get(entry);
    if (inside === undefined) throw new AirlockError('internal', `${quoted(entry.path)} is an entry of another image`);
    return inside;
  }

  async *#list(entry: IsoEntry, allowance: Allowance): AsyncGenerator<IsoEntry, undefined> {
    const { directory } = this.#insideOf(entry);
    if (directory === undefined) {
      throw new AirlockError(
        'iso.invalid',
        `${quoted(entry.path)} in the ISO image is a ${entry.type}, not a directory.`,
      );
    }
    const names = new NameSet();
    let open: OpenFile | undefined;
    for await (const record of directoryRecords(this.#source, directory.extent)) {
      spendEntry(allowance, record.position);
      if (record.isAssociated) continue;
      if (open === undefined) {
        const facts = await readEntryFacts(record, this.#tree, this.#systemUse, allowance);
        if (facts === undefined) continue;
        if (!names.add(facts.name)) {
          throw invalid(
            record.position,
            `the name ${quoted(facts.name)} comes twice in ${quoted(`/${directory.path}`)}`,
          );
        }
        if (facts.type === 'directory') {
          yield await this.#subdirectory(record, facts, directory);
          continue;
        }
        open = newOpenFile(record, facts);
      }
      this.#addSection(open, record, allowance);
      if (record.hasMore) continue;
      yield this.#finish(open, directory);
      open = undefined;
    }
    if (open !== undefined) throw invalid(open.position, `${quoted(open.facts.name)} lacks its last section`);
    return undefined;
  }

  /** Adds what one record says of a file's content (ECMA-119 6.5.1: a file's sections follow one another). */
  #addSection(file: OpenFile, record: DirectoryRecord, allowance: Allowance): void {
    if (record.isDirectory || record.identifier.toString('latin1') !== file.identifier) {
      throw invalid(record.position, `${quoted(file.facts.name)} lacks its last section`);
    }
    file.sections += 1;
    if (file.sections > limits.iso.extents) {
      throw beyondLimit(
        record.position,
        `${quoted(file.facts.name)} has ${file.sections} sections`,
        limits.iso.extents,
      );
    }
    // Writers give files without content any location.
    if (record.size === 0 || file.facts.type !== 'file') return;
    const { start, end } = this.#range(record, quoted(file.facts.name));
    spendContent(allowance, record.size, record.position);
    const last = file.extents.at(-1);
    if (last?.end === start) file.extents[file.extents.length - 1] = { start: last.start, end };
    else file.extents.push({ start, end });
    file.size += record.size;
  }

  #finish({ facts, extents, size }: OpenFile, directory: Directory): IsoEntry {
    const { name, type, mtime, target, encoding } = facts;
    const entry: IsoEntry = {
      path: childPath(directory, name),
      name,
      type,
      size,
      ...(mtime === undefined ? {} : { mtime }),
      ...(target === undefined ? {} : { target }),
    };
    this.#inside.set(entry, { extents, directory: undefined, encoding });
    return entry;
  }

  async #subdirectory(record: DirectoryRecord, facts: EntryFacts, parent: Directory): Promise<IsoEntry> {
    const path = childPath(parent, facts.name);
    let place = record;
    if (facts.childBlock !== undefined) {
      place = await readSelfRecord(this.#source, facts.childBlock * this.#tree.volume.blockSize);
      if (place.block !== facts.childBlock)
        throw invalid(place.position, 'a moved directory says that it lies elsewhere');
    }
    return this.#directoryEntry(path, facts.name, facts.mtime, this.#directory(place, path, parent));
  }

  #directoryEntry(path: string, name: string, mtime: Date | undefined, directory: Directory): IsoEntry {
    const { extent } = directory;
    const size = extent.end - extent.start;
    const entry: IsoEntry = { path, name, type: 'directory', size, ...(mtime === undefined ? {} : { mtime }) };
    this.#inside.set(entry, { extents: [extent], directory, encoding: undefined });
    return entry;
  }

  #directory(record: DirectoryRecord, path: string, parent: Directory | undefined): Directory {
    const { position, size, hasMore } = record;
    const what = `the directory ${quoted(`/${path}`)}`;
    if (size === 0 || hasMore)
      throw invalid(position, `${what} ${hasMore ? 'has several sections' : 'has no content'}`);
    if (size > limits.iso.directoryBytes)
      throw beyondLimit(position, `${what} has ${size} bytes`, limits.iso.directoryBytes);
    const depth = parent === undefined ? 0 : parent.depth + 1;
    if (depth > limits.iso.directoryDepth)
      throw beyondLimit(position, `${what} lies ${depth} deep`, limits.iso.directoryDepth);
    const extent = this.#range(record, what);
    for (let above = parent; above !== undefined; above = above.parent) {
      if (above.extent.start === extent.start) throw invalid(position, `${what} is one of its own parents: a cycle`);
    }
    return { path, extent, depth, parent };
  }

  #range({ block, size, volume, position }: DirectoryRecord, what: string): ByteRange {
    const { blockSize, sequence } = this.#tree.volume;
    if (volume !== 0 && volume !== (sequence || 1)) {
      throw invalid(position, `${what} lies on volume ${volume} of a set, and this is volume ${sequence}`);
    }
    const start = block * blockSize;
    const end = start + size;
    if (end > this.#source.size) throw truncated(`${what} (from byte ${start})`, end, this.#source.size);
    return { start, end };
  }
}

function newOpenFile(record: DirectoryRecord, facts: EntryFacts): OpenFile {
  const { position, identifier } = record;
  return { position, identifier: identifier.toString('latin1'), facts, extents: [], sections: 0, size: 0 };
}

function childPath(directory: Directory, name: string): string {
  return directory.path === '' ? name : `${directory.path}/${name}`;
}
