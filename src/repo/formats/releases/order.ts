import { versionKey } from '../rpm/evr.ts';
import type { AviatrixRelease, GatewayImage, ParsedRelease, RpmPackage, SsrRelease } from './facts.ts';
import { requireReleases } from './release.ts';

/**
 * Text whose byte order is the order of releases, for sorting and for the catalog's index. ASCII, a few dozen
 * characters for a release and at most some 1,300 for an RPM's name. What it is made of may change between versions of
 * the on-disk format only; nobody takes it apart.
 *
 * Its first parts are the line (see lineOf), so names of different vendors, different RPMs and different families of
 * gateway images stand in groups: `aviatrix` before `ssr`, then by name. That order says nothing of their age.
 *
 * Within Session Smart (vendor.md C1): major, minor, patch, build, timestamp, milestone; a missing build is below
 * every build, a missing milestone above `r1`, `r2` and below `sts`, `lts` and `release`. Distribution, architecture,
 * product, rev and ibu do not count. Within Aviatrix (C3): dates, then numbers, then `latest`.
 */
export function orderKey(release: ParsedRelease): string {
  switch (release.scheme) {
    case 'ssr':
      return `${lineOf(release)} ${ssrKey(release)}`;
    case 'rpm':
      return `${lineOf(release)} ${rpmKey(release)}`;
    case 'aviatrix':
      return `${lineOf(release)} ${aviatrixKey(release)}`;
    case 'gateway':
      return `${lineOf(release)} ${gatewayKey(release)}`;
  }
}

/** Names of one line can be compared for age: `ssr release`, `aviatrix release`, `ssr rpm NAME`, `aviatrix gateway FAMILY`. */
export function lineOf(release: ParsedRelease): string {
  switch (release.scheme) {
    case 'rpm':
      return `ssr rpm ${release.product}`;
    case 'gateway':
      return `aviatrix gateway ${release.product}`;
    default:
      return `${release.vendor} release`;
  }
}

/**
 * Below zero if `a` comes before `b`, above if after, 0 if neither. Total and transitive over all names; says which is
 * newer only within one line. 0 does not mean the same release (`…-37.sts` and `…-37.lts`): ask sameRelease.
 */
export function compareReleases(a: ParsedRelease, b: ParsedRelease): number {
  return compareKeys(orderKey(a), orderKey(b));
}

/**
 * The names in ascending order, as given. Names that compare equal keep the order in which they were given.
 * @throws AirlockError `release.unparsable` naming those that are no release names.
 */
export function sortReleases(names: readonly string[]): string[] {
  return requireReleases(names)
    .map((release) => ({ name: release.input, key: orderKey(release) }))
    .sort((a, b) => compareKeys(a.key, b.key))
    .map(({ name }) => name);
}

/** Keys are ASCII, so the order of UTF-16 units is that of bytes. */
function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

// vendor.md C1. `r1`, `r2` … share a rank and are told apart by their number, as alpha1, beta2, rc3 are.
const MISSING = 5;
const RANKS: Record<string, number> = { snapshot: 0, alpha: 0, beta: 1, rc: 2, r: 3, sts: 8, lts: 8, release: 8 };

function ssrKey({ major, minor, patch, build, timestamp, milestone }: SsrRelease): string {
  const [, word, count] = /^([a-z]+)(\d*)$/.exec(milestone ?? '') ?? [];
  const rank = word === undefined ? MISSING : (RANKS[word] ?? MISSING);
  return [
    ...[major, minor, patch, build].map(sortable),
    // 12 digits are minutes, 14 are seconds: padded at the end they compare as times.
    (timestamp ?? '').padEnd(14, '0'),
    `${rank}${sortable(count ? Number(count) : null)}`,
  ].join(' ');
}

function aviatrixKey({ numbering, date, major, minor, build, letter }: AviatrixRelease): string {
  if (numbering === 'latest') return '2';
  if (numbering === 'date') return `0 ${date}`;
  return ['1', sortable(major), sortable(minor), sortable(build), letter ?? ''].join(' ');
}

function gatewayKey({ date, generation, variant, major, minor, build, patched }: GatewayImage): string {
  return [date ?? '', sortable(generation), variant ?? '', ...[major, minor, build, patched].map(sortable)].join(' ');
}

/** `3107` for 107: the number's length as one hexadecimal digit, then the number. `0`, below all, for an absent one. */
function sortable(number: number | null): string {
  if (number === null) return '0';
  const digits = String(number);
  return `${digits.length.toString(16)}${digits}`;
}

function rpmKey({ epoch, rpmVersion, rpmRelease }: RpmPackage): string {
  return [sortable(epoch), versionKey(rpmVersion), versionKey(rpmRelease)].join(' ');
}
