/**
 * Writes small RPM packages for tests: good ones of format 3, 4 and 6, and every kind of bad one. No other tool is needed.
 *
 *     const { file, layout } = buildRpm({ name: 'salt', version: '1.0', tags: [strings(TAG.provideName, 'salt')] });
 *
 * `file` is the whole package. It carries the digests that rpm of its format writes, all of them right, and the payload
 * is a cpio archive with nothing in it. The same input gives the same bytes.
 *
 * Bad packages come about in three ways:
 * - `tags` and `signatureTags` add entries, replace those of the same tag, or with `without` leave them out;
 * - hooks change what is written: `header` the bytes of the header before digests are made of it, `signature` those of
 *   the signature header, `entries` the index before it is written (types, offsets and counts that are not true);
 * - patches: `layout` tells where everything lies, and a test writes into `file` there.
 */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { REGION, SIGTAG, TAG, TYPE } from '../../src/repo/formats/rpm/tags.ts';

/** A tag and its data. `count` and `type` may lie. */
export interface RpmTag {
  readonly tag: number;
  readonly type: number;
  readonly count: number;
  readonly data: Buffer;
}

type Text = string | Uint8Array;

export function string(tag: number, text: Text): RpmTag {
  return { tag, type: TYPE.string, count: 1, data: nulEnded([text]) };
}

export function strings(tag: number, ...texts: Text[]): RpmTag {
  return { tag, type: TYPE.stringArray, count: texts.length, data: nulEnded(texts) };
}

/** One text for each of the header's languages. */
export function i18n(tag: number, ...texts: Text[]): RpmTag {
  return { tag, type: TYPE.i18nString, count: texts.length, data: nulEnded(texts) };
}

export function bin(tag: number, bytes: Uint8Array): RpmTag {
  return { tag, type: TYPE.bin, count: bytes.length, data: Buffer.from(bytes) };
}

export function int8(tag: number, ...numbers: number[]): RpmTag {
  return { tag, type: TYPE.int8, count: numbers.length, data: Buffer.from(numbers) };
}

export function int16(tag: number, ...numbers: number[]): RpmTag {
  const data = Buffer.alloc(2 * numbers.length);
  for (const [index, number] of numbers.entries()) data.writeUInt16BE(number, 2 * index);
  return { tag, type: TYPE.int16, count: numbers.length, data };
}

export function int32(tag: number, ...numbers: number[]): RpmTag {
  const data = Buffer.alloc(4 * numbers.length);
  for (const [index, number] of numbers.entries()) data.writeUInt32BE(number >>> 0, 4 * index);
  return { tag, type: TYPE.int32, count: numbers.length, data };
}

export function int64(tag: number, ...numbers: (number | bigint)[]): RpmTag {
  const data = Buffer.alloc(8 * numbers.length);
  for (const [index, number] of numbers.entries()) data.writeBigUInt64BE(BigInt(number), 8 * index);
  return { tag, type: TYPE.int64, count: numbers.length, data };
}

function nulEnded(texts: readonly Text[]): Buffer {
  return Buffer.concat(texts.flatMap((text) => [Buffer.from(text as string), Buffer.alloc(1)]));
}

/** One entry of an index as it will be written, region included. */
export interface IndexEntry {
  tag: number;
  type: number;
  offset: number;
  count: number;
}

export interface RpmOptions {
  readonly name?: Text;
  readonly epoch?: number;
  readonly version?: Text;
  readonly release?: Text;
  readonly arch?: Text;
  /** Default 4. */
  readonly format?: 3 | 4 | 6;
  /** Default false. */
  readonly source?: boolean;
  /** `[path, mode, flags]`. */
  readonly files?: readonly (readonly [path: string, mode?: number, flags?: number])[];
  /** Added to the header, or put in the place of the same tag. */
  readonly tags?: readonly RpmTag[];
  /** Added to the signature header, or put in the place of the same tag: 62 puts off the region. */
  readonly signatureTags?: readonly RpmTag[];
  /** Tags that are left out of the header, or (as `signature`) of the signature header. */
  readonly without?: readonly number[];
  readonly withoutSignature?: readonly number[];
  /** What the payload is made of before it is compressed. Default: an archive of nothing. */
  readonly archive?: Uint8Array;
  /** Default `gzip`. */
  readonly compressor?: 'gzip' | 'none';
  /** Zeros kept in the signature header for signatures to come. Default 32. */
  readonly reserved?: number;
  readonly headerEntries?: (entries: IndexEntry[]) => void;
  readonly signatureEntries?: (entries: IndexEntry[]) => void;
  /** May change the finished header in place, or return another one. */
  readonly header?: (header: Buffer) => Buffer | undefined;
  readonly signature?: (signature: Buffer) => Buffer | undefined;
  readonly lead?: (lead: Buffer) => void;
}

/** Bytes of the file. */
interface PlacedHeader {
  /** Where the magic stands. */
  readonly start: number;
  readonly index: number;
  readonly data: number;
  /** Without padding. */
  readonly end: number;
  /** Where a tag's index entry stands. Throws if there is none. */
  entry(tag: number): number;
  /** Where a tag's data lies. Throws if there is none. */
  dataOf(tag: number): number;
}

export interface BuiltRpm {
  readonly file: Buffer;
  readonly layout: { readonly signature: PlacedHeader; readonly header: PlacedHeader; readonly payload: number };
}

const CPIO_TRAILER = Buffer.from(
  `070701${'0'.repeat(8)}${'0'.repeat(8 * 3)}00000001${'0'.repeat(8 * 6)}0000000b${'0'.repeat(8)}TRAILER!!!\0\0\0\0`,
);

/** See the top of this file. */
export function buildRpm(options: RpmOptions = {}): BuiltRpm {
  const format = options.format ?? 4;
  const archive = Buffer.from(options.archive ?? CPIO_TRAILER);
  const payload = options.compressor === 'none' ? archive : gzipSync(archive);
  const region = format === 3 ? undefined : REGION.main;
  const tags = replaceTags(mainTags(options, payload, archive), options.tags ?? [], options.without ?? []);
  const plain = packHeader(tags, region, options.headerEntries);
  const header = options.header?.(plain) ?? plain;

  const signatureTags = replaceTags(
    signatureTagsOf(format, header, payload, archive, options.reserved ?? 32),
    options.signatureTags ?? [],
    options.withoutSignature ?? [],
  );
  const plainSignature = packHeader(
    signatureTags,
    format === 3 ? undefined : REGION.signature,
    options.signatureEntries,
  );
  const signature = options.signature?.(plainSignature) ?? plainSignature;
  const lead = leadOf(options);
  options.lead?.(lead);
  const padding = Buffer.alloc((8 - (signature.length % 8)) % 8);
  const headerStart = lead.length + signature.length + padding.length;
  return {
    file: Buffer.concat([lead, signature, padding, header, payload]),
    layout: {
      signature: placed(signature, lead.length),
      header: placed(header, headerStart),
      payload: headerStart + header.length,
    },
  };
}

function replaceTags(tags: RpmTag[], replacements: readonly RpmTag[], without: readonly number[]): RpmTag[] {
  const replaced = new Set([...replacements.map(({ tag }) => tag), ...without]);
  // Stable, so that repeated tags keep their order.
  return [...tags.filter(({ tag }) => !replaced.has(tag)), ...replacements].sort((a, b) => a.tag - b.tag);
}

function mainTags(options: RpmOptions, payload: Buffer, archive: Buffer): RpmTag[] {
  const { name = 'tiny', version = '1.0', release = '1', arch = 'noarch', format = 4, epoch, source = false } = options;
  const latin1 = (text: Text) => Buffer.from(text as string).toString('latin1');
  const nvr = [name, version, release].map(latin1).join('-');
  const evr = `${epoch === undefined ? '' : `${epoch}:`}${latin1(version)}-${latin1(release)}`;
  return [
    strings(100, 'C'),
    string(TAG.name, name),
    string(TAG.version, version),
    string(TAG.release, release),
    ...(epoch === undefined ? [] : [int32(TAG.epoch, epoch)]),
    i18n(TAG.summary, 'A tiny package'),
    i18n(TAG.description, 'It holds nothing.\nSee <above> & "below".'),
    int32(TAG.buildTime, 1725898694),
    string(TAG.buildHost, 'build.example'),
    int32(TAG.size, 0),
    string(TAG.license, 'Apache-2.0'),
    i18n(TAG.group, 'Unspecified'),
    string(1021, 'linux'),
    string(TAG.arch, arch),
    ...(source ? [int32(TAG.sourcePackage, 1)] : [string(TAG.sourceRpm, Buffer.from(`${nvr}.src.rpm`, 'latin1'))]),
    ...(source || format === 3
      ? []
      : [
          strings(TAG.provideName, name),
          int32(TAG.provideFlags, 8),
          strings(TAG.provideVersion, Buffer.from(evr, 'latin1')),
        ]),
    ...fileTags(options.files ?? [], format),
    string(TAG.payloadFormat, 'cpio'),
    ...(options.compressor === 'none' ? [] : [string(TAG.payloadCompressor, 'gzip'), string(TAG.payloadFlags, '9')]),
    ...payloadDigests(format, payload, archive),
  ];
}

function payloadDigests(format: number, payload: Buffer, archive: Buffer): RpmTag[] {
  if (format === 3) return [];
  const sha256 = [
    strings(TAG.payloadDigest, hex('sha256', payload)),
    int32(TAG.payloadDigestAlgorithm, 8),
    strings(TAG.payloadDigestAlt, hex('sha256', archive)),
  ];
  if (format === 4) return sha256;
  return [
    ...sha256,
    int64(TAG.payloadSize, payload.length),
    int64(TAG.payloadSizeAlt, archive.length),
    int32(TAG.rpmFormat, 6),
    string(TAG.payloadSha512, hex('sha512', payload)),
    string(TAG.payloadSha512Alt, hex('sha512', archive)),
    string(TAG.payloadSha3, hex('sha3-256', payload)),
    string(TAG.payloadSha3Alt, hex('sha3-256', archive)),
  ];
}

function fileTags(files: NonNullable<RpmOptions['files']>, format: number): RpmTag[] {
  if (files.length === 0) return [];
  const described = [
    int16(TAG.fileModes, ...files.map(([, mode = 0o100644]) => mode)),
    int32(TAG.fileFlags, ...files.map(([, , flags = 0]) => flags)),
    // What rpm itself needs to make sense of files.
    int32(1028, ...files.map(() => 0)),
    int32(1034, ...files.map(() => 1725898694)),
    strings(1035, ...files.map(() => '')),
    strings(1036, ...files.map(() => '')),
    strings(1039, ...files.map(() => 'root')),
    strings(1040, ...files.map(() => 'root')),
  ];
  if (format === 3) return [strings(TAG.oldFileNames, ...files.map(([path]) => path)), ...described];
  const split = files.map(([path]) => path.lastIndexOf('/') + 1);
  const directories = [...new Set(files.map(([path], index) => path.slice(0, split[index])))];
  return [
    ...described,
    int32(TAG.dirIndexes, ...files.map(([path], index) => directories.indexOf(path.slice(0, split[index])))),
    strings(TAG.baseNames, ...files.map(([path], index) => path.slice(split[index]))),
    strings(TAG.dirNames, ...directories),
  ];
}

function signatureTagsOf(format: number, header: Buffer, payload: Buffer, archive: Buffer, reserved: number): RpmTag[] {
  const both = Buffer.concat([header, payload]);
  const md5 = createHash('md5').update(both).digest();
  const legacy = [int32(SIGTAG.size, both.length), bin(SIGTAG.md5, md5), int32(SIGTAG.payloadSize, archive.length)];
  if (format === 3) return legacy;
  const digests = [string(SIGTAG.sha256, hex('sha256', header))];
  if (format === 6) return [...digests, string(SIGTAG.sha3, hex('sha3-256', header)), bin(999, Buffer.alloc(reserved))];
  return [string(SIGTAG.sha1, hex('sha1', header)), ...digests, ...legacy, bin(1008, Buffer.alloc(reserved))];
}

function hex(algorithm: string, bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest('hex');
}

function packHeader(
  tags: readonly RpmTag[],
  region: number | undefined,
  change?: (entries: IndexEntry[]) => void,
): Buffer {
  const entries: IndexEntry[] = [];
  const data: Buffer[] = [];
  let length = 0;
  const append = ({ tag, type, count, data: bytes }: RpmTag) => {
    const width = { [TYPE.int16]: 2, [TYPE.int32]: 4, [TYPE.int64]: 8 }[type] ?? 1;
    const padding = (width - (length % width)) % width;
    entries.push({ tag, type, offset: length + padding, count });
    data.push(Buffer.alloc(padding), bytes);
    length += padding + bytes.length;
  };
  for (const tag of tags) append(tag);
  if (region !== undefined) {
    const trailer = packEntries([{ tag: region, type: TYPE.bin, offset: -16 * (entries.length + 1), count: 16 }]);
    entries.unshift({ tag: region, type: TYPE.bin, offset: length, count: 16 });
    data.push(trailer);
    length += trailer.length;
  }
  change?.(entries);
  const intro = Buffer.from('8eade8010000000000000000deadbeef', 'hex');
  intro.writeUInt32BE(entries.length, 8);
  intro.writeUInt32BE(length, 12);
  return Buffer.concat([intro, packEntries(entries), ...data]);
}

function packEntries(entries: readonly IndexEntry[]): Buffer {
  const index = Buffer.alloc(16 * entries.length);
  for (const [at, { tag, type, offset, count }] of entries.entries()) {
    for (const [column, number] of [tag, type, offset, count].entries()) {
      index.writeUInt32BE(number >>> 0, 16 * at + 4 * column);
    }
  }
  return index;
}

function leadOf({ name = 'tiny', version = '1.0', release = '1', format = 4, source = false }: RpmOptions): Buffer {
  const lead = Buffer.alloc(96);
  lead.writeUInt32BE(0xedabeedb, 0);
  lead.writeUInt8(format === 6 ? 4 : 3, 4);
  lead.writeUInt16BE(source ? 1 : 0, 6);
  const nvr = Buffer.concat([name, '-', version, '-', release].map((part) => Buffer.from(part as string)));
  nvr.copy(lead, 10, 0, 65);
  if (format !== 6) lead.writeUInt16BE(1, 76);
  lead.writeUInt16BE(5, 78);
  return lead;
}

function placed(header: Buffer, start: number): PlacedHeader {
  const index = start + 16;
  const count = header.readUInt32BE(8);
  const entry = (tag: number): number => {
    for (let at = 16; at < 16 + 16 * count; at += 16) if (header.readUInt32BE(at) === tag) return start + at;
    throw new Error(`the header has no tag ${tag}`);
  };
  const data = index + 16 * count;
  const dataOf = (tag: number) => data + header.readUInt32BE(entry(tag) - start + 8);
  return { start, index, data, end: start + header.length, entry, dataOf };
}
