/**
 * Writes small ISO 9660 images for tests: good ones, and through hooks and patches every kind of bad one.
 *
 *     const { image, layout } = buildIso(
 *       { 'README.txt': 'hello', Packages: { 'a.rpm': bytes }, latest: symlink('Packages/a.rpm') },
 *       { volumeId: 'TEST', joliet: true },
 *     );
 *
 * `image` is the whole image as one Buffer: keep trees small. Names are recorded as they are given, possible or not:
 * `{ 'a/b': 'x' }` makes an image whose Rock Ridge (and Joliet) name is `a/b`. Content is laid out in the order of the
 * tree, records in the order of their identifiers, as ECMA-119 demands. The same input gives the same bytes.
 *
 * Bad images come about in two ways:
 * - hooks, called for every directory record while it is made: `systemUse` replaces the list of System Use entries
 *   (test/media/system-use.ts makes entries), `record` changes the finished record. They are called twice, first to learn
 *   the sizes (all locations 0), then for good, and must give the same sizes both times;
 * - patches: `layout` tells where everything lies, and a test writes into `image` there.
 *
 * Relocated directories (CL, PL, RE) are made with the `systemUse` hook and `at.blockOf(path)`.
 */

import { both16, both32, ER, links, CE as makeCE, names, PX, SP, shortDate, TF } from './system-use.ts';

const SECTOR = 2048;

/** A file's content, a directory, or a symbolic link. */
type IsoNode = string | Uint8Array | Symlink | IsoTree;
export interface IsoTree {
  readonly [name: string]: IsoNode;
}

export class Symlink {
  readonly target: string;
  constructor(target: string) {
    this.target = target;
  }
}

export function symlink(target: string): Symlink {
  return new Symlink(target);
}

type TreeName = 'primary' | 'joliet';

/** The place of a directory record that a hook is called for. */
export interface RecordPlace {
  readonly tree: TreeName;
  /** Names joined by `/`; of the directory itself for its records `self` and `parent`. */
  readonly path: string;
  readonly role: 'self' | 'parent' | 'child';
  /** Which section of a file in several, from 0. */
  readonly section: number;
  /** Block where a file or directory of this tree starts; 0 the first time round. */
  blockOf(path: string): number;
  /** Block of the first continuation area of this record's directory; 0 the first time round. */
  readonly continuationBlock: number;
}

export interface IsoOptions {
  readonly volumeId?: string;
  /** Default true. */
  readonly rockRidge?: boolean;
  /** Default false. */
  readonly joliet?: boolean;
  /** A boot image. Default: none, so no boot record. */
  readonly elTorito?: Uint8Array;
  /** 512, 1024 or 2048 (default). */
  readonly blockSize?: number;
  /** Longest section of a file, a multiple of 2048; longer files get several records. Default: no file is that long. */
  readonly sectionLimit?: number;
  /** Of everything. Default 2024-09-09T16:18:14Z. */
  readonly date?: Date;
  /** Bytes before each System Use area but the first, announced by SP. Default 0. */
  readonly skip?: number;
  /** Zero sectors at the end, counted into the volume. Default 0. */
  readonly padSectors?: number;
  readonly systemUse?: (entries: Buffer[], at: RecordPlace) => Buffer[];
  /** May change the record in place, or return another one. */
  readonly record?: (record: Buffer, at: RecordPlace) => Buffer | undefined;
}

/** Bytes of the image. */
interface Placed {
  readonly offset: number;
  readonly length: number;
}

interface PlacedRecord extends Placed {
  readonly at: RecordPlace;
  /** Where the System Use area starts; it ends with the record. */
  readonly systemUse: number;
  readonly continuations: readonly Placed[];
}

interface IsoLayout {
  readonly blockSize: number;
  readonly descriptors: {
    readonly primary: number;
    readonly boot: number | undefined;
    readonly joliet: number | undefined;
    readonly terminator: number;
  };
  readonly records: readonly PlacedRecord[];
  /** The record of a file or directory in its parent. Throws if there is none. */
  record(path: string, tree?: TreeName, section?: number): PlacedRecord;
  /** The records of a directory. Throws if there is none. */
  directory(path: string, tree?: TreeName): Placed;
  /** A file's content. Throws if there is none. */
  file(path: string): Placed;
}

export interface BuiltIso {
  readonly image: Buffer;
  readonly layout: IsoLayout;
}

/** See the top of this file. */
export function buildIso(tree: IsoTree, options: IsoOptions = {}): BuiltIso {
  return new Builder(tree, options).build();
}

/** A file or directory on its way into the image. */
interface Node {
  readonly path: string;
  readonly name: string;
  readonly parent: Node | undefined;
  readonly content: Buffer | undefined;
  readonly target: string | undefined;
  readonly children: Node[];
  readonly isDirectory: boolean;
}

interface Extent {
  block: number;
  size: number;
  continuationBlock: number;
  continuationSize: number;
}

class Builder {
  readonly #options: IsoOptions;
  readonly #root: Node;
  readonly #nodes: readonly Node[];
  readonly #blockSize: number;
  readonly #date: Date;
  readonly #sectionLimit: number;
  readonly #trees: readonly TreeName[];
  /** By tree and path; files share one for both trees. */
  readonly #extents = new Map<string, Extent>();
  #records: PlacedRecord[] = [];
  #next = 0;

  constructor(tree: IsoTree, options: IsoOptions) {
    this.#options = options;
    this.#root = toNode('', tree, undefined);
    this.#nodes = [...flatten(this.#root)];
    this.#blockSize = options.blockSize ?? SECTOR;
    this.#date = options.date ?? new Date('2024-09-09T16:18:14Z');
    this.#sectionLimit = options.sectionLimit ?? 0xfffff800;
    this.#trees = options.joliet === true ? ['primary', 'joliet'] : ['primary'];
    for (const node of this.#nodes) {
      for (const name of this.#trees) {
        const empty = { block: 0, size: node.content?.length ?? 0, continuationBlock: 0, continuationSize: 0 };
        if (node.isDirectory || name === 'primary') this.#extents.set(`${name}:${node.path}`, empty);
      }
    }
  }

  build(): BuiltIso {
    const directories = this.#nodes.filter((node) => node.isDirectory);
    const { elTorito, joliet, padSectors = 0 } = this.#options;
    let sector = 16;
    const descriptors = {
      primary: sector++ * SECTOR,
      boot: elTorito === undefined ? undefined : sector++ * SECTOR,
      joliet: joliet === true ? sector++ * SECTOR : undefined,
      terminator: sector++ * SECTOR,
    };
    this.#next = sector * SECTOR;
    const catalog = elTorito === undefined ? undefined : this.#take(SECTOR);
    const bootImage = elTorito === undefined ? undefined : this.#take(elTorito.length);
    const pathTables = this.#trees.map((tree) => {
      const size = this.#pathTable(tree, directories, 'L').length;
      return { tree, size, little: this.#take(size), big: this.#take(size) };
    });
    for (const tree of this.#trees) {
      for (const node of directories) this.#placeDirectory(tree, node);
    }
    for (const node of this.#nodes) {
      if (node.content !== undefined)
        this.#extent('primary', node).block = this.#toBlock(this.#take(node.content.length));
    }
    const image = Buffer.alloc(this.#next + padSectors * SECTOR);

    this.#records = [];
    for (const tree of this.#trees) {
      for (const node of directories) this.#writeDirectory(image, tree, node);
    }
    for (const { path, content } of this.#nodes) {
      if (content !== undefined) content.copy(image, this.#fromBlock(this.#extents.get(`primary:${path}`)?.block ?? 0));
    }
    for (const { tree, size, little, big } of pathTables) {
      this.#pathTable(tree, directories, 'L').copy(image, little);
      this.#pathTable(tree, directories, 'M').copy(image, big);
      const at = tree === 'primary' ? descriptors.primary : (descriptors.joliet ?? 0);
      this.#descriptor(tree, image.length, size, this.#toBlock(little), this.#toBlock(big)).copy(image, at);
    }
    if (elTorito !== undefined && catalog !== undefined && bootImage !== undefined && descriptors.boot !== undefined) {
      bootRecord(catalog / SECTOR).copy(image, descriptors.boot);
      bootCatalog(bootImage / SECTOR).copy(image, catalog);
      image.set(elTorito, bootImage);
    }
    Buffer.from('\xffCD001\x01', 'latin1').copy(image, descriptors.terminator);
    return { image, layout: this.#layout(descriptors) };
  }

  #layout(descriptors: IsoLayout['descriptors']): IsoLayout {
    const records = this.#records;
    const placed = (key: string): Placed => {
      const extent = this.#extents.get(key);
      if (extent === undefined) throw new Error(`the image has no ${key}`);
      return { offset: this.#fromBlock(extent.block), length: extent.size };
    };
    return {
      blockSize: this.#blockSize,
      descriptors,
      records,
      record(path, tree = 'primary', section = 0) {
        const found = records.find(
          ({ at }) => at.role === 'child' && at.path === path && at.tree === tree && at.section === section,
        );
        if (found === undefined) throw new Error(`the image has no record of ${path}`);
        return found;
      },
      directory: (path, tree = 'primary') => placed(`${tree}:${path}`),
      file: (path) => placed(`primary:${path}`),
    };
  }

  /** @returns where `length` bytes lie, from the next free sector on */
  #take(length: number): number {
    const offset = this.#next;
    this.#next += Math.ceil(length / SECTOR) * SECTOR;
    return offset;
  }

  #toBlock(offset: number): number {
    return offset / this.#blockSize;
  }

  #fromBlock(block: number): number {
    return block * this.#blockSize;
  }

  #extent(tree: TreeName, node: Node): Extent {
    const extent = this.#extents.get(`${node.isDirectory ? tree : 'primary'}:${node.path}`);
    if (extent === undefined) throw new Error(`no extent for ${node.path}`);
    return extent;
  }

  #placeDirectory(tree: TreeName, node: Node): void {
    const extent = this.#extent(tree, node);
    const { records, continuation } = this.#directory(tree, node);
    extent.size = Math.ceil(endOf(records) / SECTOR) * SECTOR;
    extent.continuationSize = continuation.length;
    extent.block = this.#toBlock(this.#take(extent.size));
    extent.continuationBlock = this.#toBlock(this.#take(continuation.length));
  }

  #writeDirectory(image: Buffer, tree: TreeName, node: Node): void {
    const extent = this.#extent(tree, node);
    const { records, continuation } = this.#directory(tree, node);
    if (
      Math.ceil(endOf(records) / SECTOR) * SECTOR !== extent.size ||
      continuation.length !== extent.continuationSize
    ) {
      throw new Error(`a hook gave other sizes for ${node.path} the second time`);
    }
    const base = this.#fromBlock(extent.block);
    const continuationBase = this.#fromBlock(extent.continuationBlock);
    continuation.copy(image, continuationBase);
    for (const { offset, bytes, at, systemUse, continuations } of records) {
      bytes.copy(image, base + offset);
      this.#records.push({
        at,
        offset: base + offset,
        length: bytes.length,
        systemUse: base + offset + systemUse,
        continuations: continuations.map((area) => ({ ...area, offset: continuationBase + area.offset })),
      });
    }
  }

  /** All records of a directory with their places in it, and its continuation areas. */
  #directory(tree: TreeName, node: Node): { records: MadeRecord[]; continuation: Buffer } {
    const continuation = new ContinuationAreas(this.#blockSize, this.#extent(tree, node).continuationBlock);
    const parent = node.parent ?? node;
    const made = [
      this.#record(tree, node, node, Buffer.from([0]), 'self', continuation),
      this.#record(tree, parent, node, Buffer.from([1]), 'parent', continuation),
    ];
    const identifiers = identify(node.children, tree);
    const sorted = [...node.children].sort((a, b) =>
      Buffer.compare(identifiers.get(a) ?? Buffer.alloc(0), identifiers.get(b) ?? Buffer.alloc(0)),
    );
    for (const child of sorted) {
      const identifier = identifiers.get(child) ?? Buffer.alloc(0);
      const sections = Math.max(1, Math.ceil((child.content?.length ?? 0) / this.#sectionLimit));
      for (let section = 0; section < sections; section += 1) {
        made.push(this.#record(tree, child, child, identifier, 'child', continuation, section, sections));
      }
    }
    let end = 0;
    const records = made.map((record) => {
      const room = SECTOR - (end % SECTOR);
      const offset = record.bytes.length > room ? end + room : end;
      end = offset + record.bytes.length;
      return { ...record, offset };
    });
    return { records, continuation: continuation.bytes() };
  }

  /** The record that points to `node`; it stands for `owner` in hooks. */
  #record(
    tree: TreeName,
    node: Node,
    owner: Node,
    identifier: Buffer,
    role: RecordPlace['role'],
    continuation: ContinuationAreas,
    section = 0,
    sections = 1,
  ): Omit<MadeRecord, 'offset'> {
    const extent = this.#extent(tree, node);
    const at: RecordPlace = {
      tree,
      path: owner.path,
      role,
      section,
      blockOf: (path) =>
        this.#extents.get(`${tree}:${path}`)?.block ?? this.#extents.get(`primary:${path}`)?.block ?? 0,
      continuationBlock: continuation.firstBlock,
    };
    const skipped = section * this.#sectionLimit;
    const size = node.isDirectory ? extent.size : Math.min(this.#sectionLimit, extent.size - skipped);
    const head = recordHead({
      block: extent.block + skipped / this.#blockSize,
      size: node.isDirectory ? size : Math.max(0, size),
      date: this.#date,
      flags: (node.isDirectory ? 2 : 0) | (section < sections - 1 ? 0x80 : 0),
      identifier,
    });
    const entries = this.#systemUse(tree, node, at);
    const skip = Buffer.alloc(at.path === '' && role === 'self' ? 0 : (this.#options.skip ?? 0));
    const fitted = continuation.fit(entries, 254 - head.length - skip.length);
    const body = Buffer.concat([head, ...(entries.length > 0 ? [skip] : []), ...fitted.entries]);
    const even = Buffer.concat([body, Buffer.alloc(body.length % 2)]);
    even.writeUInt8(even.length, 0);
    const bytes = this.#options.record?.(even, at) ?? even;
    return { bytes, at, systemUse: head.length + skip.length, continuations: fitted.continuations };
  }

  #systemUse(tree: TreeName, node: Node, at: RecordPlace): Buffer[] {
    const { rockRidge = true, skip, systemUse } = this.#options;
    const entries: Buffer[] = [];
    if (rockRidge && tree === 'primary') {
      const isRootSelf = at.path === '' && at.role === 'self';
      if (isRootSelf) entries.push(SP(skip));
      if (at.role === 'child') entries.push(...names(node.name));
      entries.push(PX(node.isDirectory ? 0o040755 : node.target === undefined ? 0o100644 : 0o120777));
      entries.push(TF(this.#date));
      if (node.target !== undefined) entries.push(...links(node.target));
      if (isRootSelf) entries.push(ER());
    }
    return systemUse?.(entries, at) ?? entries;
  }

  #descriptor(tree: TreeName, imageSize: number, pathTableSize: number, little: number, big: number): Buffer {
    const bytes = Buffer.alloc(SECTOR);
    const isJoliet = tree === 'joliet';
    const text = (value: string, start: number, end: number) => {
      const encoded = isJoliet
        ? Buffer.from(value.padEnd(end - start), 'utf16le').swap16()
        : Buffer.from(value.padEnd(end - start));
      encoded.copy(bytes, start, 0, end - start);
    };
    bytes.write(isJoliet ? '\x02CD001\x01' : '\x01CD001\x01', 0, 'latin1');
    text('AIRLOCK', 8, 40);
    text(this.#options.volumeId ?? 'TEST', 40, 72);
    both32(imageSize / this.#blockSize).copy(bytes, 80);
    if (isJoliet) bytes.write('%/E', 88, 'latin1');
    both16(1).copy(bytes, 120);
    both16(1).copy(bytes, 124);
    both16(this.#blockSize).copy(bytes, 128);
    both32(pathTableSize).copy(bytes, 132);
    bytes.writeUInt32LE(little, 140);
    bytes.writeUInt32BE(big, 148);
    const { block, size } = this.#extent(tree, this.#root);
    const root = recordHead({ block, size, date: this.#date, flags: 2, identifier: Buffer.from([0]) });
    root.writeUInt8(34, 0);
    root.copy(bytes, 156);
    for (const [start, end] of [
      [190, 318],
      [318, 446],
      [446, 574],
      [574, 702],
      [702, 739],
      [739, 776],
      [776, 813],
    ] as const) {
      text(start === 318 ? 'AIRLOCK TESTS' : '', start, end);
    }
    const stamp = `${this.#date.toISOString().replace(/\D/g, '').slice(0, 14)}00\0`;
    for (const start of [813, 830]) bytes.write(stamp, start, 'latin1');
    for (const start of [847, 864]) bytes.write('0000000000000000\0', start, 'latin1');
    bytes.writeUInt8(1, 881);
    return bytes;
  }

  /** Path table (ECMA-119 9.4), little-endian (L) or big-endian (M). Airlock does not read it, other readers may. */
  #pathTable(tree: TreeName, directories: readonly Node[], order: 'L' | 'M'): Buffer {
    const numbers = new Map(directories.map((node, index) => [node, index + 1]));
    const rows = directories.map((node) => {
      const siblings = node.parent === undefined ? new Map() : identify(node.parent.children, tree);
      const identifier: Buffer = siblings.get(node) ?? Buffer.from([0]);
      const row = Buffer.alloc(8 + identifier.length + (identifier.length % 2));
      const parent = numbers.get(node.parent ?? node) ?? 1;
      row.writeUInt8(identifier.length, 0);
      if (order === 'L') row.writeUInt32LE(this.#extent(tree, node).block, 2);
      else row.writeUInt32BE(this.#extent(tree, node).block, 2);
      if (order === 'L') row.writeUInt16LE(parent, 6);
      else row.writeUInt16BE(parent, 6);
      identifier.copy(row, 8);
      return row;
    });
    return Buffer.concat(rows);
  }
}

interface MadeRecord {
  readonly offset: number;
  readonly bytes: Buffer;
  readonly at: RecordPlace;
  /** Where the System Use area starts in `bytes`. */
  readonly systemUse: number;
  /** Offsets in the directory's continuation areas. */
  readonly continuations: readonly Placed[];
}

/** The continuation areas of one directory, one after another, none across the end of a block. */
class ContinuationAreas {
  readonly firstBlock: number;
  readonly #blockSize: number;
  readonly #pieces: { readonly offset: number; readonly bytes: Buffer }[] = [];
  #end = 0;

  constructor(blockSize: number, firstBlock: number) {
    this.#blockSize = blockSize;
    this.firstBlock = firstBlock;
  }

  /** Puts what does not fit into `room` into continuation areas. @returns what stays in the record, CE included */
  fit(entries: readonly Buffer[], room: number): { entries: Buffer[]; continuations: Placed[] } {
    const { kept, rest } = split(entries, room);
    if (rest.length === 0) return { entries: kept, continuations: [] };
    const { ce, continuations } = this.#continue(rest);
    return { entries: [...kept, ce], continuations };
  }

  #continue(entries: readonly Buffer[]): { ce: Buffer; continuations: Placed[] } {
    const { kept, rest } = split(entries, this.#blockSize);
    const length = total(kept) + (rest.length > 0 ? 28 : 0);
    if ((this.#end % this.#blockSize) + length > this.#blockSize) {
      this.#end = Math.ceil(this.#end / this.#blockSize) * this.#blockSize;
    }
    const offset = this.#end;
    this.#end += length;
    const next = rest.length > 0 ? this.#continue(rest) : undefined;
    this.#pieces.push({ offset, bytes: Buffer.concat([...kept, ...(next === undefined ? [] : [next.ce])]) });
    const ce = makeCE(this.firstBlock + Math.floor(offset / this.#blockSize), offset % this.#blockSize, length);
    return { ce, continuations: [{ offset, length }, ...(next?.continuations ?? [])] };
  }

  bytes(): Buffer {
    const all = Buffer.alloc(this.#end);
    for (const { offset, bytes } of this.#pieces) bytes.copy(all, offset);
    return all;
  }
}

function total(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, { length }) => sum + length, 0);
}

/** Cuts a list of entries so that the first part, with a CE if there is a second part, fits into `room`. */
function split(entries: readonly Buffer[], room: number): { kept: Buffer[]; rest: Buffer[] } {
  if (total(entries) <= room) return { kept: [...entries], rest: [] };
  let count = 0;
  while (total(entries.slice(0, count + 1)) <= room - 28) count += 1;
  return { kept: entries.slice(0, count), rest: entries.slice(count) };
}

function endOf(records: readonly MadeRecord[]): number {
  const last = records.at(-1);
  return last === undefined ? 0 : last.offset + last.bytes.length;
}

function recordHead(facts: { block: number; size: number; date: Date; flags: number; identifier: Buffer }): Buffer {
  const { block, size, date, flags, identifier } = facts;
  return Buffer.concat([
    Buffer.from([0, 0]),
    both32(block),
    both32(size),
    shortDate(date),
    Buffer.from([flags, 0, 0]),
    both16(1),
    Buffer.from([identifier.length]),
    identifier,
    Buffer.alloc((identifier.length + 1) % 2),
  ]);
}

/** El Torito: boot record (volume descriptor 0) and the catalog with one default entry. */
function bootRecord(catalogSector: number): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  bytes.write('\x00CD001\x01EL TORITO SPECIFICATION', 0, 'latin1');
  bytes.writeUInt32LE(catalogSector, 71);
  return bytes;
}

function bootCatalog(imageSector: number): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  bytes.set([1, 0, 0, 0], 0);
  bytes.set([0x55, 0xaa], 30);
  bytes.writeUInt16LE(0x10000 - 0xaa55 - 1, 28);
  bytes.set([0x88, 0, 0, 0, 0, 0, 4, 0], 32);
  bytes.writeUInt32LE(imageSector, 40);
  return bytes;
}

function toNode(name: string, spec: IsoNode, parent: Node | undefined): Node {
  const path = parent === undefined || parent.path === '' ? name : `${parent.path}/${name}`;
  const node = { path, name, parent, children: [], content: undefined, target: undefined, isDirectory: false };
  if (typeof spec === 'string') return { ...node, content: Buffer.from(spec) };
  if (spec instanceof Uint8Array) return { ...node, content: Buffer.from(spec) };
  if (spec instanceof Symlink) return { ...node, target: spec.target };
  const directory: Node = { ...node, isDirectory: true, children: [] };
  for (const [child, childSpec] of Object.entries(spec)) directory.children.push(toNode(child, childSpec, directory));
  return directory;
}

function* flatten(node: Node): Generator<Node> {
  yield node;
  for (const child of node.children) yield* flatten(child);
}

/** Identifiers, unique in their directory: for Joliet the name, at most 100 characters of it, else its letters in upper case with a number if needed. */
function identify(nodes: readonly Node[], tree: TreeName): Map<Node, Buffer> {
  const identifiers = new Map<Node, Buffer>();
  const taken = new Set<string>();
  for (const node of nodes) {
    const version = node.isDirectory ? '' : ';1';
    if (tree === 'joliet') {
      let name = node.name.slice(0, 100);
      for (let n = 1; taken.has(name); n += 1) name = `${node.name.slice(0, 95)}_${n}`;
      taken.add(name);
      identifiers.set(node, Buffer.from(`${name}${version}`, 'utf16le').swap16());
      continue;
    }
    const clean = node.name.toUpperCase().replace(/[^A-Z0-9_.]/g, '_');
    const dot = node.isDirectory ? -1 : clean.lastIndexOf('.');
    const stem = (dot > 0 ? clean.slice(0, dot) : clean).replaceAll('.', '_').slice(0, 20) || '_';
    const extension = dot > 0 ? clean.slice(dot + 1, dot + 5) : '';
    const full = (text: string) => (node.isDirectory ? text : `${text}.${extension}${version}`);
    let identifier = full(stem);
    for (let n = 1; taken.has(identifier); n += 1) identifier = full(`${stem}_${n}`);
    taken.add(identifier);
    identifiers.set(node, Buffer.from(identifier, 'latin1'));
  }
  return identifiers;
}
