import Range from 'semver/classes/range.js'; // the whole library is three times as many files
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { quote } from '../quote.ts';
import { parseAviatrix } from './aviatrix.ts';
import type { AviatrixRelease, ParsedRelease, SsrRelease, Vendor } from './facts.ts';
import { compareReleases } from './order.ts';
import { sameRelease } from './same-release.ts';
import { parseSsr } from './ssr.ts';

/** A range of releases of one vendor. */
export interface ReleaseRange {
  readonly text: string;
  readonly vendor: Vendor;
  /** False for releases of the other vendor, for plugins and other RPMs, and for gateway images. */
  includes(release: ParsedRelease): boolean;
}

export interface RangeOptions {
  /** Admit alpha, beta, rc, snapshot and `0.<timestamp>` builds; a bound that is one of them admits them too. */
  readonly prereleases?: boolean;
}

type Numbered = SsrRelease | AviatrixRelease;
type Test = (release: Numbered) => boolean;

/**
 * Reads a range in the syntax of npm: `>=6.2 <6.3`, `~6.3.0`, `6.x`, `6.2 - 6.3`, `^6.2`, `*`, alternatives parted by
 * `||`. Bounds may also be versions as the vendor writes them: `>=6.3.0-107`, `<UserConnect-6.6.123`.
 *
 * Never does a vendor's build reach npm's semver, which would take it for a pre-release and drop or misplace it: plain
 * X.Y.Z of a release are matched by semver, bounds with a build by the order of releases. X.Y.Z without a build stands
 * for all its builds (`>6.3.0` has none of 6.3.0), a build without a milestone for all its milestones.
 * Of Aviatrix, major.minor.build are matched, and a caret is refused, for it would cross trains.
 * @throws AirlockError `usage.invalid` saying which word of the range is wrong.
 */
export function parseRange(text: string, vendor: Vendor, options: RangeOptions = {}): ReleaseRange {
  if (text.length > limits.releaseRange) throw invalid(text, `it is longer than ${limits.releaseRange} characters`);
  const bounds: Numbered[] = [];
  const alternatives = text.split('||').map((alternative) => {
    const words = wordsOf(alternative);
    if (words.length === 0) throw invalid(text, 'a part of it is empty; write * for every release');
    return words.map((word) => testOf(word, vendor, text, bounds));
  });
  const early = options.prereleases === true || bounds.some(isPrerelease);
  return {
    text,
    vendor,
    includes(release) {
      if (release.vendor !== vendor || !isNumbered(release) || (isPrerelease(release) && !early)) return false;
      return alternatives.some((tests) => tests.every((test) => test(release)));
    },
  };
}

/**
 * Those of `releases` that the range includes, in the order given. Each is judged by the range as its vendor reads it.
 * @throws AirlockError as parseRange.
 */
export function selectReleases<Release extends ParsedRelease>(
  text: string,
  releases: readonly Release[],
  options: RangeOptions = {},
): Release[] {
  const ranges = new Map<Vendor, ReleaseRange>();
  for (const { vendor } of releases) {
    if (!ranges.has(vendor)) ranges.set(vendor, parseRange(text, vendor, options));
  }
  return releases.filter((release) => ranges.get(release.vendor)?.includes(release));
}

/** An operator may stand apart from its version; `A - B` is `>=A <=B`. */
function wordsOf(alternative: string): string[] {
  const words: string[] = [];
  for (const word of alternative.split(/\s+/).filter((part) => part !== '')) {
    const last = words.at(-1);
    if (word === '-' && last !== undefined && /^\w/.test(last)) words.splice(-1, 1, `>=${last}`, '<=');
    else if (last !== undefined && /^[<>=~^]+$/.test(last)) words.splice(-1, 1, `${last}${word}`);
    else words.push(word);
  }
  return words;
}

const PLAIN = /^(?:\d+|[xX*])(?:\.(?:\d+|[xX*])){0,2}$/;

function testOf(word: string, vendor: Vendor, text: string, bounds: Numbered[]): Test {
  const [, operator = '', version = ''] = /^(>=|<=|>|<|=|~>?|\^|)(.*)$/s.exec(word) ?? [];
  if (vendor === 'aviatrix' && operator === '^') {
    throw invalid(
      text,
      `${quote(word)} would cross release trains, which Aviatrix upgrades must not; write ~6.6 or >=6.6 <6.8`,
    );
  }
  if (PLAIN.test(version)) return plainTest(operator, version, text);
  const bound = vendor === 'ssr' ? parseSsr(version) : parseAviatrix(version);
  if (bound === undefined || !isNumbered(bound) || (bound.scheme === 'aviatrix' && bound.letter !== null)) {
    throw invalid(text, `${quote(word)} is no release of ${vendor === 'ssr' ? 'Session Smart' : 'Aviatrix'}`);
  }
  bounds.push(bound);
  const numbers = numbersIfAll(bound);
  if (numbers !== undefined) return plainTest(operator, numbers, text);
  if (operator.startsWith('~') || operator === '^') {
    const reach = plainTest(operator, plain(bound), text, plain);
    return (release) => orderTo(bound, release) >= 0 && reach(release);
  }
  return boundTest(operator, bound);
}

/** npm's semver over numbers alone. */
function plainTest(
  operator: string,
  version: string,
  text: string,
  read: (release: Numbered) => string = mapped,
): Test {
  try {
    const range = new Range(`${operator}${version}`, { includePrerelease: true });
    return (release) => range.test(read(release));
  } catch {
    throw invalid(text, `${quote(operator + version)} is no range of versions`);
  }
}

function boundTest(operator: string, bound: Numbered): Test {
  switch (operator) {
    case '>=':
      return (release) => orderTo(bound, release) >= 0;
    case '<=':
      return (release) => orderTo(bound, release) <= 0;
    case '>':
      return (release) => orderTo(bound, release) > 0;
    case '<':
      return (release) => orderTo(bound, release) < 0;
    default:
      return (release) => orderTo(bound, release) === 0;
  }
}

/** Above zero if the release comes after the bound. A bound without a milestone stands for all milestones of its build. */
function orderTo(bound: Numbered, release: Numbered): number {
  return sameRelease(bound, release) ? 0 : compareReleases(release, bound);
}

/** The bound as a version of npm's, if it says no more than such a version can. */
function numbersIfAll(bound: Numbered): string | undefined {
  if (bound.scheme === 'ssr') return bound.form === 'selector' ? plain(bound) : undefined;
  if (bound.numbering !== 'number') return undefined;
  return bound.build === null ? `${bound.major}.${bound.minor}` : plain(bound);
}

/** A date release is below every number, so it becomes 0.0.YYYYMMDD. */
function plain(release: Numbered): string {
  if (release.scheme === 'ssr') return `${release.major}.${release.minor}.${release.patch}`;
  if (release.date !== null) return `0.0.${release.date.replaceAll('-', '')}`;
  return `${release.major}.${release.minor}.${release.build ?? 0}`;
}

/** Only what is below its own X.Y.Z becomes a pre-release of npm's. */
function mapped(release: Numbered): string {
  return isPrerelease(release) ? `${plain(release)}-0` : plain(release);
}

function isPrerelease(release: Numbered): boolean {
  if (release.scheme !== 'ssr') return false;
  return release.timestamp !== null || /^(?:alpha|beta|rc|snapshot)/.test(release.milestone ?? '');
}

function isNumbered(release: ParsedRelease): release is Numbered {
  return release.scheme === 'ssr' || (release.scheme === 'aviatrix' && release.numbering !== 'latest');
}

function invalid(text: string, why: string): AirlockError {
  return new AirlockError(
    'usage.invalid',
    `The range ${quote(text)} cannot be used: ${why}. Ranges look like ">=6.2 <6.3", "~6.3.0", "6.x" or ">=6.3.0-107".`,
  );
}
