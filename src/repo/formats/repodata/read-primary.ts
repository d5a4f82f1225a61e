/**
 * Reads a primary.xml that somebody else wrote, a package at a time.
 */
import { limits } from '../../../limits.ts';
import { quote } from '../quote.ts';
import type { Nevra, VersionRange } from '../rpm/evr.ts';
import { SENSE } from '../rpm/tags.ts';
import { type ForeignPath, foreignPath } from './foreign-path.ts';
import { invalidXml, readForeignXml } from './foreign-xml.ts';
import type { Checksum } from './read-repomd.ts';

/** A package, as its repository describes it. */
export interface ForeignPackage extends Nevra {
  readonly place: ForeignPath;
  readonly checksum: Checksum;
  /** Bytes of its file. */
  readonly size: number;
  /** Empty unless they were asked for. Files that others may require are provided, too. */
  readonly provides: PackedRanges;
  readonly requires: PackedRanges;
}

/** Dependencies in one text: there may be a million of them. `unpackRanges` reads it. */
export type PackedRanges = string;

export interface ReadPrimaryOptions {
  readonly withDependencies: boolean;
}

type Draft = {
  -readonly [Key in keyof Nevra]?: Nevra[Key];
} & {
  place?: ForeignPath;
  checksum?: Checksum;
  size?: number;
  /** Lines of packed ranges. */
  readonly provides: string[];
  readonly requires: string[];
};

const FLAGS: Readonly<Record<string, number>> = {
  LT: SENSE.less,
  LE: SENSE.less | SENSE.equal,
  EQ: SENSE.equal,
  GE: SENSE.greater | SENSE.equal,
  GT: SENSE.greater,
};

/**
 * @param pieces decompressed
 * @param take told of each package, in order
 * @throws repodata.invalid for what `readForeignXml` refuses, packages that lack something or lie outside of the
 *   repository, more packages than limits.repodata.packages; what `pieces` and `take` throw
 */
export async function readPrimary(
  pieces: AsyncIterable<Uint8Array>,
  take: (each: ForeignPackage) => void,
  { withDependencies }: ReadPrimaryOptions,
): Promise<void> {
  let draft: Draft = newDraft();
  let checksumType = '';
  let list: string[] | undefined;
  let count = 0;

  const openField = (name: string, attributes: Readonly<Record<string, string>>): void => {
    if (name === 'version') Object.assign(draft, versionOf(attributes));
    else if (name === 'checksum') checksumType = attributes.type ?? '';
    else if (name === 'size') draft.size = numberOf(attributes.package ?? '');
    else if (name === 'location') draft.place = foreignPath(attributes.href ?? '', attributes['xml:base']);
  };
  const openDependency = (name: string, attributes: Readonly<Record<string, string>>, depth: number): void => {
    if (depth === 4)
      list = name === 'rpm:provides' ? draft.provides : name === 'rpm:requires' ? draft.requires : undefined;
    else if (depth === 5 && name === 'rpm:entry') list?.push(packedRange(attributes));
  };
  await readForeignXml(
    pieces,
    { what: 'primary', root: 'metadata' },
    {
      open(name, attributes, depth) {
        if (attributes['xml:base'] !== undefined && depth < 3) foreignPath('', attributes['xml:base']);
        if (depth === 2 && name === 'package') draft = newDraft();
        else if (depth === 3) openField(name, attributes);
        else if (withDependencies) openDependency(name, attributes, depth);
      },
      close(name, text, depth) {
        if (depth === 3) {
          if (name === 'name' || name === 'arch') draft[name] = word(text, name);
          else if (name === 'checksum') draft.checksum = checksumOf(checksumType, text ?? '');
        } else if (depth === 4 && name === 'file' && withDependencies && text !== null) {
          draft.provides.push(packedRange({ name: text }));
        } else if (depth === 2 && name === 'package') {
          count += 1;
          if (count > limits.repodata.packages)
            throw invalid(`it lists more than ${limits.repodata.packages} packages`);
          take(finished(draft));
        }
      },
    },
  );
}

function newDraft(): Draft {
  return { provides: [], requires: [] };
}

function finished({ name, epoch, version, release, arch, place, checksum, size, provides, requires }: Draft) {
  if (name === undefined || arch === undefined || version === undefined || release === undefined) {
    throw invalid('a package lacks its name, version or architecture');
  }
  if (place === undefined || checksum === undefined || size === undefined) {
    throw invalid(`the package ${quote(name)} lacks its place, its checksum or its size`);
  }
  const known = { name: own(name), epoch: epoch ?? 0, version: own(version), release: own(release), arch: own(arch) };
  const packed = { provides: own(provides.join('\n')), requires: own(requires.join('\n')) };
  return { ...known, place: { path: own(place.path), url: own(place.url) }, checksum, size, ...packed };
}

function versionOf({ epoch = '0', ver = '', rel = '' }: Readonly<Record<string, string>>): Partial<Nevra> {
  return { epoch: numberOf(epoch || '0'), version: word(ver, 'version'), release: word(rel, 'release') };
}

function word(text: string | null, what: string): string {
  if (text !== null && text !== '' && text.length <= limits.rpm.identityPart) return text;
  throw invalid(`the ${what} of a package is empty or too long`);
}

function checksumOf(type: string, text: string): Checksum {
  const value = text.toLowerCase();
  if (/^[0-9a-f]{32,128}$/.test(value)) return { type: own(type), value: own(value) };
  throw invalid(`${quote(text)} is no checksum`);
}

function numberOf(text: string): number {
  const value = Number(text);
  if (/^\d{1,15}$/.test(text)) return value;
  throw invalid(`${quote(text)} is no number`);
}

/** A text of its own: what a parser gives is often a view of all that it was given. */
function own(text: string): string {
  return Buffer.from(text).toString();
}

function packedRange({ name = '', flags = '', epoch = '', ver, rel = '' }: Readonly<Record<string, string>>): string {
  const bits = FLAGS[flags] ?? 0;
  const plain = name.replace(/[\t\n]/g, ' ');
  return bits === 0 || ver === undefined ? plain : [plain, bits, epoch, ver, rel].join('\t');
}

/** @returns the dependencies in order */
export function unpackRanges(packed: PackedRanges): VersionRange[] {
  if (packed === '') return [];
  return packed.split('\n').map((line) => {
    const [name = '', flags, epoch, version, release] = line.split('\t');
    if (flags === undefined || version === undefined) return { name, flags: 0, evr: null };
    return { name, flags: Number(flags), evr: { epoch: epoch || null, version, release: release || null } };
  });
}

function invalid(why: string) {
  return invalidXml('primary', why);
}
