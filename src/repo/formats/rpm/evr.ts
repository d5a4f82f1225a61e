import { SENSE } from './tags.ts';

/**
 * `[epoch:]version[-release]`, as packages and dependencies are numbered (rpm-version(7)). Parts are kept as they are
 * written; an absent part is null, which is not the same as an empty one.
 */
export interface Evr {
  /** Digits; may be longer than any number. Absent counts as 0. */
  readonly epoch: string | null;
  readonly version: string;
  readonly release: string | null;
}

/** Splits at the first `:` behind leading digits and at the last `-`, as rpm does. Never throws. */
export function parseEvr(text: string): Evr {
  const [, digits] = /^(\d*):/.exec(text) ?? [];
  const rest = digits === undefined ? text : text.slice(digits.length + 1);
  const dash = rest.lastIndexOf('-');
  return {
    epoch: digits === undefined ? null : digits || '0',
    version: dash === -1 ? rest : rest.slice(0, dash),
    release: dash === -1 ? null : rest.slice(dash + 1),
  };
}

/**
 * Below zero if `a` is older, above if newer, 0 if neither. A missing epoch is 0; a missing release is older than every
 * release. To match a dependency, ask rangesOverlap: there a missing release fits all.
 */
export function compareEvr(a: Evr, b: Evr): -1 | 0 | 1 {
  return (
    rpmvercmp(a.epoch ?? '0', b.epoch ?? '0') ||
    rpmvercmp(a.version, b.version) ||
    compareReleases(a.release, b.release)
  );
}

function compareReleases(a: string | null, b: string | null): -1 | 0 | 1 {
  if (a === null || b === null) return a === b ? 0 : a === null ? -1 : 1;
  return rpmvercmp(a, b);
}

/** Compares two versions, two releases or two epochs as rpm does. Total and transitive over all strings. */
export function rpmvercmp(a: string, b: string): -1 | 0 | 1 {
  if (a === b) return 0;
  const [first, second] = [versionKey(a), versionKey(b)];
  if (first === second) return 0;
  return first < second ? -1 : 1;
}

/**
 * Text of printable ASCII whose byte order is the order of rpmvercmp: for indexes and for sorting many. No key is the
 * start of another one, so keys can be joined.
 *
 * A version falls into runs of digits and runs of letters; other characters only part them. Ranks: `~` is below the end,
 * the end below `^`, that below letters, these below digits. Numbers are compared by length, then by digits.
 */
export function versionKey(text: string): string {
  const parts = text.match(/\d+|[A-Za-z]+|[~^]/g) ?? [];
  return `${parts.map(partKey).join('')}1`;
}

function partKey(part: string): string {
  if (part === '~') return '0';
  if (part === '^') return '2';
  if (/^[A-Za-z]/.test(part)) return `3${part} `;
  const digits = part.replace(/^0+/, '');
  return `4${lengthKey(digits.length)}${digits}`;
}

/** Three digits do for every name that a file may have; what a header says may be longer. */
function lengthKey(length: number): string {
  return length < 999 ? String(length).padStart(3, '0') : `999${String(length).padStart(9, '0')}`;
}

/** What tells packages apart. */
export interface Nevra {
  readonly name: string;
  /** 0 where the package has none: rpm makes no difference. */
  readonly epoch: number;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
}

/** `name-version-release.arch`, with `epoch:` before the version if it is not 0. */
export function nevra({ name, epoch, version, release, arch }: Nevra): string {
  return `${name}-${epoch === 0 ? '' : `${epoch}:`}${version}-${release}.${arch}`;
}

/** A set of versions under a name: what is provided, or what is required, conflicted with, obsoleted. */
export interface VersionRange {
  readonly name: string;
  /** SENSE bits; others are ignored. Without any of `less`, `greater`, `equal`: all versions. */
  readonly flags: number;
  /** null: all versions. */
  readonly evr: Evr | null;
}

/**
 * True if some version lies in both, as rpm decides whether a provide satisfies a requirement (rpmdsCompare): names are
 * equal, and the ranges meet. A range without release meets every release of its version if it includes that version. An
 * epoch that only one side names counts if it is above 0. Symmetric.
 */
export function rangesOverlap(a: VersionRange, b: VersionRange): boolean {
  if (a.name !== b.name) return false;
  if ((a.flags & SENSE.mask) === 0 || (b.flags & SENSE.mask) === 0) return true;
  if (a.evr === null || b.evr === null) return true;
  const { release: first } = a.evr;
  const { release: second } = b.evr;
  let order = rpmvercmp(a.evr.epoch ?? '0', b.evr.epoch ?? '0') || rpmvercmp(a.evr.version, b.evr.version);
  if (order === 0) {
    if (first && second) order = rpmvercmp(first, second);
    else if ((first && (b.flags & SENSE.equal) !== 0) || (second && (a.flags & SENSE.equal) !== 0)) return true;
  }
  if (order < 0) return (a.flags & SENSE.greater) !== 0 || (b.flags & SENSE.less) !== 0;
  if (order > 0) return (a.flags & SENSE.less) !== 0 || (b.flags & SENSE.greater) !== 0;
  return (a.flags & b.flags & (SENSE.less | SENSE.greater | SENSE.equal)) !== 0;
}
