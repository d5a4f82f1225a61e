import { limits } from '../../../limits.ts';
import { type Evr, parseEvr, type VersionRange } from './evr.ts';
import { isSourcePackage } from './facts.ts';
import type { RpmHeader } from './header.ts';
import { beyondLimit, invalid } from './rpm-fault.ts';
import type { RpmFile } from './rpm-file.ts';
import { decodeLatin1 } from './rpm-text.ts';
import { SENSE, TAG } from './tags.ts';

const TAGS = {
  provides: [TAG.provideName, TAG.provideFlags, TAG.provideVersion],
  requires: [TAG.requireName, TAG.requireFlags, TAG.requireVersion],
  conflicts: [TAG.conflictName, TAG.conflictFlags, TAG.conflictVersion],
  obsoletes: [TAG.obsoleteName, TAG.obsoleteFlags, TAG.obsoleteVersion],
  recommends: [TAG.recommendName, TAG.recommendFlags, TAG.recommendVersion],
  suggests: [TAG.suggestName, TAG.suggestFlags, TAG.suggestVersion],
  supplements: [TAG.supplementName, TAG.supplementFlags, TAG.supplementVersion],
  enhances: [TAG.enhanceName, TAG.enhanceFlags, TAG.enhanceVersion],
} as const;

export type DependencyKind = keyof typeof TAGS;

export const DEPENDENCY_KINDS = Object.keys(TAGS) as readonly DependencyKind[];

/** How repodata spells the comparison. */
export type Comparison = 'LT' | 'LE' | 'EQ' | 'GE' | 'GT';

/** One provide, requirement, conflict … */
export interface Dependency extends VersionRange {
  /** May be a rich one, `(a if b)`, or a file's path, or `rpmlib(…)`. */
  readonly name: string;
  /** As recorded: SENSE bits and others. */
  readonly flags: number;
  /** null where there is no version, or the flags make no sense as a comparison. */
  readonly comparison: Comparison | null;
  readonly evr: Evr | null;
  /** Must be there before the package is installed: rpm's `PreReq`, `Requires(pre)`, `Requires(post)`. */
  readonly pre: boolean;
  /** What rpm itself must be able to do, not a package: `rpmlib(…)`. */
  readonly isRpmlib: boolean;
}

/**
 * The dependencies of one kind in the order recorded, one at a time. Packages of rpm 3 and older that do not provide
 * themselves do so last, as rpm has it.
 * @throws rpm.invalid if names, flags and versions differ in number; rpm.limit
 */
export function* dependenciesOf(rpm: RpmFile, kind: DependencyKind): Generator<Dependency, void, undefined> {
  const { header } = rpm;
  const [nameTag, flagsTag, versionTag] = TAGS[kind];
  const count = header.count(nameTag);
  if (count > limits.rpm.dependencies) {
    throw beyondLimit(header.positionOf(nameTag), `${count} ${kind}`, limits.rpm.dependencies);
  }
  // Before rpm 3.0.3 provides had neither flags nor versions.
  for (const tag of [flagsTag, versionTag]) {
    if (header.has(tag) && header.count(tag) !== count) {
      throw invalid(header.positionOf(tag), `the package has ${count} ${kind} but ${header.count(tag)} in tag ${tag}`);
    }
  }
  const self = kind === 'provides' && rpm.format === 3 && !isSourcePackage(header) ? selfProvide(header) : undefined;
  let missing = self !== undefined;
  const decode = header.decoderOf(nameTag, versionTag);
  const flags = header.numbers(flagsTag);
  const versions = header.latin1Array(versionTag);
  let index = 0;
  for (const name of header.latin1Array(nameTag)) {
    const version = versions.next().value ?? '';
    checkLength(header, nameTag, name, limits.rpm.dependencyName);
    checkLength(header, versionTag, version, limits.rpm.dependencyVersion);
    const dependency = newDependency(decode, name, flags.at(index), version);
    if (dependency.flags === self?.flags && dependency.name === self.name && isSame(dependency.evr, self.evr))
      missing = false;
    yield dependency;
    index += 1;
  }
  if (missing && self !== undefined) yield self;
}

function checkLength(header: RpmHeader, tag: number, text: string, most: number): void {
  if (text.length <= most) return;
  throw beyondLimit(header.positionOf(tag), `a dependency's name or version of ${text.length} bytes`, most);
}

type Decode = (latin1: string) => string;

/** @param rawName a character for each byte, as of `rawVersion` */
function newDependency(decode: Decode, rawName: string, flags: number, rawVersion: string): Dependency {
  const name = decode(rawName);
  return {
    name,
    flags,
    comparison: rawVersion === '' ? null : comparisonOf(flags),
    evr: rawVersion === '' ? null : decodedEvr(decode, parseEvr(rawVersion)),
    pre: (flags & (SENSE.prereq | SENSE.scriptPre | SENSE.scriptPost)) !== 0,
    isRpmlib: name.startsWith('rpmlib('),
  };
}

/** Parts of a version are split as bytes, and each is decoded by itself. */
function decodedEvr(decode: Decode, { epoch, version, release }: Evr): Evr {
  return { epoch, version: decode(version), release: release === null ? null : decode(release) };
}

function comparisonOf(flags: number): Comparison | null {
  switch (flags & SENSE.mask) {
    case SENSE.less:
      return 'LT';
    case SENSE.less | SENSE.equal:
      return 'LE';
    case SENSE.equal:
      return 'EQ';
    case SENSE.greater | SENSE.equal:
      return 'GE';
    case SENSE.greater:
      return 'GT';
    default:
      return null;
  }
}

function selfProvide(header: RpmHeader): Dependency | undefined {
  const parts = [TAG.name, TAG.version, TAG.release].map((tag) => header.textBytes(tag)?.toString('latin1'));
  const [name, version, release] = parts;
  if (name === undefined || version === undefined || release === undefined) return undefined;
  const epoch = header.number(TAG.epoch);
  return newDependency(decodeLatin1, name, SENSE.equal, `${epoch === null ? '' : `${epoch}:`}${version}-${release}`);
}

function isSame(a: Evr | null, b: Evr | null): boolean {
  return a?.epoch === b?.epoch && a?.version === b?.version && a?.release === b?.release;
}
