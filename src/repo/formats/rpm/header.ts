import { isAscii } from 'node:buffer';
import { limits } from '../../../limits.ts';
import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import { type Entry, type HeaderParts, verifyEntries } from './header-entries.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import { readExactly } from './rpm-reader.ts';
import { decodeLatin1, decodeText } from './rpm-text.ts';
import { REGION, TYPE } from './tags.ts';

const MAGIC = Buffer.from('8eade80100000000', 'hex');
const INTRO = 16;
const INDEX_ENTRY = 16;

export type HeaderKind = keyof typeof REGION;

const NAMES: Record<HeaderKind, string> = { signature: 'the signature header', main: 'the header' };

/**
 * Reads a header (rpm's docs/manual/format_header.md) and verifies all of it: counts against the bytes that are there
 * before any memory is taken, then the region, then every entry. Afterwards no access can leave the data.
 *
 * Like rpm, takes a package's header only if its region is all of the header: tags behind the region, which no digest
 * covers, are refused. Headers of version 3 packages have no region.
 * @param position byte of the file where its magic stands
 * @throws rpm.invalid, rpm.truncated, rpm.limit; what the source throws
 */
export async function readHeader(source: ByteSource, position: number, kind: HeaderKind): Promise<RpmHeader> {
  const what = NAMES[kind];
  const intro = await readExactly(source, position, INTRO, what);
  if (!intro.subarray(0, 8).equals(MAGIC)) throw invalid(position, `${what} does not start as headers do`);
  const [count, length] = [intro.readUInt32BE(8), intro.readUInt32BE(12)];
  const most = limits.rpm[kind];
  if (count === 0) throw invalid(position + 8, `${what} is empty`);
  if (count > most.tags) throw beyondLimit(position + 8, `${what} counts ${count} tags`, most.tags);
  if (length > most.bytes) throw beyondLimit(position + 12, `${what} counts ${length} bytes`, most.bytes);

  const bytes = await readExactly(source, position + INTRO, count * INDEX_ENTRY + length, what);
  const dataStart = count * INDEX_ENTRY;
  const parts = { index: bytes.subarray(0, dataStart), data: bytes.subarray(dataStart), position: position + INTRO };
  return new RpmHeader(what, { start: position, end: position + INTRO + bytes.length }, parts, REGION[kind]);
}

/**
 * A verified header: tags and what they hold. Reading a tag that is not there gives null or nothing; reading one that
 * holds another type than asked for, or that comes twice, is rpm.invalid. Lists are read on the way, never held.
 */
export class RpmHeader {
  /** Where it lies in the file, magic included: the bytes that header digests and signatures cover. */
  readonly range: ByteRange;
  /** False for a version 3 package. */
  readonly hasRegion: boolean;

  readonly #what: string;
  readonly #data: Buffer;
  readonly #dataPosition: number;
  readonly #entries: ReadonlyMap<number, Entry>;
  readonly #repeated: ReadonlySet<number>;

  /** Use `readHeader`. @throws rpm.invalid */
  constructor(what: string, range: ByteRange, parts: HeaderParts, region: number) {
    const { entries, repeated, hasRegion } = verifyEntries(what, parts, region);
    this.range = range;
    this.hasRegion = hasRegion;
    this.#what = what;
    this.#data = parts.data;
    this.#dataPosition = parts.position + parts.index.length;
    this.#entries = entries;
    this.#repeated = repeated;
  }

  has(tag: number): boolean {
    return this.#entries.has(tag);
  }

  /** How many values a tag holds: strings, numbers or bytes. 0 if it is not there. */
  count(tag: number): number {
    return this.#entries.get(tag)?.count ?? 0;
  }

  /** Byte of the file where a tag's data lies, for messages; the header's start if it is not there. */
  positionOf(tag: number): number {
    const entry = this.#entries.get(tag);
    return entry === undefined ? this.range.start : this.#dataPosition + entry.offset;
  }

  /** A string, or the only one of an array; of a translated one the first, untranslated text. */
  text(tag: number): string | null {
    const bytes = this.textBytes(tag);
    return bytes === null ? null : decodeText(bytes);
  }

  /** The bytes of `text`, whatever their encoding. A view: not to be changed. */
  textBytes(tag: number): Buffer | null {
    const entry = this.#entry(tag, 'a string', TYPE.string, TYPE.i18nString, TYPE.stringArray);
    if (entry?.type === TYPE.stringArray && entry.count > 1) throw this.#notOne(tag, entry);
    return entry === undefined ? null : this.#stringAt(entry.offset);
  }

  /** The strings of an array, as `textBytes`. */
  *textArray(tag: number): Generator<Buffer, void, undefined> {
    const entry = this.#entry(tag, 'strings', TYPE.stringArray, TYPE.string, TYPE.i18nString);
    let offset = entry?.offset ?? 0;
    for (let left = entry?.count ?? 0; left > 0; left -= 1) {
      const bytes = this.#stringAt(offset);
      yield bytes;
      offset += bytes.length + 1;
    }
  }

  /**
   * The strings of an array with a character for each byte, which `decoderOf` makes text of: many at a time, because
   * there are many and most are short.
   */
  *latin1Array(tag: number): Generator<string, void, undefined> {
    const entry = this.#entry(tag, 'strings', TYPE.stringArray, TYPE.string, TYPE.i18nString);
    if (entry === undefined) return;
    const end = entry.offset + entry.length;
    for (let start = entry.offset; start < end; ) {
      const cut = Math.min(end, start + limits.rpm.strings) - 1;
      const last = this.#data.lastIndexOf(0, cut);
      const nul = last >= start ? last : this.#data.indexOf(0, cut);
      yield* this.#data.toString('latin1', start, nul).split('\0');
      start = nul + 1;
    }
  }

  /** Makes text of what `latin1Array` gives of these tags. Mostly all of it is ASCII, which is quicker to ask once. */
  decoderOf(...tags: number[]): (latin1: string) => string {
    return tags.every((tag) => this.#isAsciiIn(tag)) ? (latin1) => latin1 : decodeLatin1;
  }

  /** A single number. 64-bit numbers beyond 2^53 are rpm.invalid: no size is that large. */
  number(tag: number, type: IntegerType = TYPE.int32): number | null {
    const entry = this.#entry(tag, 'a number', type);
    if (entry === undefined) return null;
    if (entry.count > 1) throw this.#notOne(tag, entry);
    return this.#numberAt(entry, 0);
  }

  /** The numbers of a tag, unsigned, read when they are asked for. */
  numbers(tag: number, type: IntegerType = TYPE.int32): RpmNumbers {
    const entry = this.#entry(tag, 'numbers', type);
    if (entry === undefined) return { length: 0, at: () => 0 };
    return { length: entry.count, at: (index) => (index < entry.count ? this.#numberAt(entry, index) : 0) };
  }

  /** Bytes of a tag, a view: not to be changed. */
  bytes(tag: number): Buffer | null {
    const entry = this.#entry(tag, 'bytes', TYPE.bin);
    return entry === undefined ? null : this.#data.subarray(entry.offset, entry.offset + entry.length);
  }

  #isAsciiIn(tag: number): boolean {
    const { offset, length } = this.#entries.get(tag) ?? { offset: 0, length: 0 };
    return isAscii(this.#data.subarray(offset, offset + length));
  }

  #stringAt(offset: number): Buffer {
    return this.#data.subarray(offset, this.#data.indexOf(0, offset));
  }

  #entry(tag: number, what: string, ...types: number[]): Entry | undefined {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return undefined;
    if (this.#repeated.has(tag)) throw invalid(this.range.start, `${this.#what} holds tag ${tag} twice`);
    if (types.includes(entry.type)) return entry;
    throw invalid(
      this.positionOf(tag),
      `tag ${tag} of ${this.#what} does not hold ${what} (its type is ${entry.type})`,
    );
  }

  #notOne(tag: number, { count }: Entry): Error {
    return invalid(this.positionOf(tag), `tag ${tag} of ${this.#what} holds ${count} values instead of one`);
  }

  #numberAt({ type, offset }: Entry, index: number): number {
    if (type === TYPE.int16) return this.#data.readUInt16BE(offset + 2 * index);
    if (type === TYPE.int32) return this.#data.readUInt32BE(offset + 4 * index);
    const number = Number(this.#data.readBigUInt64BE(offset + 8 * index));
    if (Number.isSafeInteger(number)) return number;
    throw invalid(this.#dataPosition + offset + 8 * index, `${this.#what} holds a number beyond all sizes`);
  }
}

type IntegerType = typeof TYPE.int16 | typeof TYPE.int32 | typeof TYPE.int64;

export interface RpmNumbers {
  readonly length: number;
  /** 0 beyond the last one. @throws as `RpmHeader.number` */
  at(index: number): number;
}
