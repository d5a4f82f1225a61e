import { limits } from '../../../limits.ts';
import type { ByteRange } from '../../blobs/blob-store.ts';
import { quote } from '../quote.ts';
import type { Nevra } from './evr.ts';
import type { RpmHeader } from './header.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';
import { decodeText } from './rpm-text.ts';
import { SIGTAG, TAG, TYPE } from './tags.ts';

/** What a package says of itself, lists apart (dependencies.ts, files.ts, changelogs.ts). An absent fact is null. */
export interface RpmFacts extends Nevra {
  /** `src` for a source package, as repositories name it; what it was built on does not count. */
  readonly arch: string;
  readonly isSource: boolean;
  /** A source package that does not carry all of its sources: its file is named `.nosrc.rpm`. */
  readonly isNoSource: boolean;
  readonly summary: string | null;
  readonly description: string | null;
  readonly url: string | null;
  readonly license: string | null;
  readonly vendor: string | null;
  readonly group: string | null;
  readonly packager: string | null;
  readonly buildHost: string | null;
  /** File name of the source package; null for a source package. */
  readonly sourceRpm: string | null;
  /** Seconds since 1970. */
  readonly buildTime: number | null;
  /** Bytes of all files when installed. */
  readonly installedSize: number | null;
  /** Bytes of the unpacked payload. Mostly from the signature header, which nobody vouches for. */
  readonly archiveSize: number | null;
  /** Where the header lies in the file: what repodata calls `header-range`. */
  readonly headerRange: ByteRange;
  readonly payload: PayloadFacts;
}

export interface PayloadFacts {
  readonly range: ByteRange;
  /** `cpio`, null if it is not said. */
  readonly format: string | null;
  /** `gzip`, `xz`, `zstd` …; rpm takes gzip if nothing is said. */
  readonly compressor: string;
  /** The compressor's level and options. */
  readonly flags: string | null;
}

// What rpmbuild allows, less strict where older versions were. No slashes and no spaces: these become parts of URLs.
const NAME = /^[A-Za-z0-9_%{][\x21-\x2e\x30-\x7e]*$/;
const VERSION = /^[\x21-\x2c\x2e\x30-\x7e]+$/;
const ARCH = /^[A-Za-z0-9_]+$/;

/**
 * The facts, from the header only: the signature header, which anybody may rewrite, gives but `archiveSize`.
 * @throws rpm.invalid if the package has no proper name, version, release or architecture, or a tag has another type than
 *   it should; rpm.limit if one of them is longer than `limits.rpm.identityPart`
 */
export function rpmFacts({ header, signature, payload }: RpmFile): RpmFacts {
  const isSource = isSourcePackage(header);
  const arch = identityPart(header, TAG.arch, 'architecture', ARCH);
  return {
    name: identityPart(header, TAG.name, 'name', NAME),
    epoch: header.number(TAG.epoch) ?? 0,
    version: identityPart(header, TAG.version, 'version', VERSION),
    release: identityPart(header, TAG.release, 'release', VERSION),
    arch: isSource ? 'src' : arch,
    isSource,
    isNoSource: isSource && (header.has(TAG.noSource) || header.has(TAG.noPatch)),
    summary: header.text(TAG.summary),
    description: header.text(TAG.description),
    url: header.text(TAG.url),
    license: header.text(TAG.license),
    vendor: header.text(TAG.vendor),
    group: header.text(TAG.group),
    packager: header.text(TAG.packager),
    buildHost: header.text(TAG.buildHost),
    sourceRpm: header.text(TAG.sourceRpm),
    buildTime: header.number(TAG.buildTime),
    installedSize: header.number(TAG.longSize, TYPE.int64) ?? header.number(TAG.size),
    archiveSize: archiveSize(header, signature),
    headerRange: header.range,
    payload: {
      range: payload,
      format: header.text(TAG.payloadFormat),
      compressor: header.text(TAG.payloadCompressor) ?? 'gzip',
      flags: header.text(TAG.payloadFlags),
    },
  };
}

/**
 * Binary packages name the source package that they were built from; rpm takes those that do not for sources. Repository
 * tools go by another tag, so a package in which the two disagree would be one thing here and another there.
 * @throws rpm.invalid for a package that is both
 */
export function isSourcePackage(header: RpmHeader): boolean {
  const isSource = !header.has(TAG.sourceRpm);
  if (isSource || !header.number(TAG.sourcePackage)) return isSource;
  throw invalid(
    header.positionOf(TAG.sourcePackage),
    'the package says that it is a source package, and names its own',
  );
}

function archiveSize(header: RpmHeader, signature: RpmHeader): number | null {
  return (
    header.number(TAG.payloadSizeAlt, TYPE.int64) ??
    header.number(TAG.longArchiveSize, TYPE.int64) ??
    header.number(TAG.archiveSize) ??
    signature.number(SIGTAG.longArchiveSize, TYPE.int64) ??
    signature.number(SIGTAG.payloadSize)
  );
}

function identityPart(header: RpmHeader, tag: number, what: string, pattern: RegExp): string {
  const bytes = header.textBytes(tag);
  if (bytes === null) throw invalid(header.range.start, `the package has no ${what}`);
  const most = limits.rpm.identityPart;
  if (bytes.length > most)
    throw beyondLimit(header.positionOf(tag), `the package's ${what} is ${bytes.length} bytes long`, most);
  const text = bytes.toString('latin1');
  if (pattern.test(text)) return text;
  throw invalid(header.positionOf(tag), `${quote(decodeText(bytes))} cannot be the ${what} of a package`);
}
