import { AirlockError } from '../../../errors.ts';
import { quote } from '../quote.ts';
import { aviatrixVersionOf, parseAviatrix } from './aviatrix.ts';
import type { NameFacts, ParsedRelease } from './facts.ts';
import { parseSsr, ssrVersionOf } from './ssr.ts';

export type { ParsedRelease } from './facts.ts';

/**
 * Reads one name of either vendor. Only a bare `X.Y.Z` fits both; it is taken for Session Smart here, and parseReleases
 * decides for a list. Never throws: undefined for what is no release name.
 */
export function parseRelease(name: string): ParsedRelease | undefined {
  return parseSsr(name) ?? parseAviatrix(name);
}

/**
 * Reads names that were given together, in their order. Bare `X.Y.Z` are Session Smart unless the other names
 * given, those that can be read and fit one vendor only, are all Aviatrix. Never throws.
 */
export function parseReleases(names: readonly string[]): (ParsedRelease | undefined)[] {
  const parsed = names.map(parseRelease);
  const clear = parsed.filter((release) => release !== undefined && !fitsBothVendors(release));
  if (clear.length === 0 || clear.some((release) => release?.vendor !== 'aviatrix')) return parsed;
  return parsed.map((release) =>
    release !== undefined && fitsBothVendors(release) ? parseAviatrix(release.input) : release,
  );
}

function fitsBothVendors(release: ParsedRelease): boolean {
  return release.scheme === 'ssr' && release.form === 'selector' && release.product === null;
}

/**
 * As parseReleases, for names that must all be readable.
 * @throws AirlockError `release.unparsable` naming those that are not (all of them in `details.names`).
 */
export function requireReleases(names: readonly string[]): ParsedRelease[] {
  const parsed = parseReleases(names);
  const unreadable = names.filter((_, index) => parsed[index] === undefined);
  if (unreadable.length > 0) throw unparsable(unreadable);
  return parsed.filter((release) => release !== undefined);
}

const NAMES_IN_MESSAGE = 10;

function unparsable(names: readonly string[]): AirlockError {
  const shown = names
    .slice(0, NAMES_IN_MESSAGE)
    .map((name) => quote(name))
    .join(', ');
  const more = names.length > NAMES_IN_MESSAGE ? ` and ${names.length - NAMES_IN_MESSAGE} more` : '';
  return new AirlockError(
    'release.unparsable',
    `No release is named ${shown}${more}. Write versions as the vendor does (6.3.0-107.r1.el7, SSR-7.1.0-50, ` +
      'UserConnect-6.6.123), or give the whole file name; upper and lower case matter.',
    { details: { names } },
  );
}

/** What `release parse --json` shows of a name: `ok` is false, and all facts null, for what is no release name. */
export type ReleaseDescription = { readonly [Fact in keyof Omit<NameFacts, 'input'>]: NameFacts[Fact] | null } & {
  readonly input: string;
  readonly ok: boolean;
};

/**
 * The JSON of one name. `parsed` is for names given together (parseReleases); without it the name is read alone.
 * The values are described in facts.ts.
 */
export function describeRelease(
  input: string,
  parsed: ParsedRelease | undefined = parseRelease(input),
): ReleaseDescription {
  return {
    input,
    ok: parsed !== undefined,
    vendor: parsed?.vendor ?? null,
    product: parsed?.product ?? null,
    major: parsed?.major ?? null,
    minor: parsed?.minor ?? null,
    patch: parsed?.patch ?? null,
    build: parsed?.build ?? null,
    milestone: parsed?.milestone ?? null,
    dist: parsed?.dist ?? null,
    arch: parsed?.arch ?? null,
    kind: parsed?.kind ?? null,
    form: parsed?.form ?? null,
    sidecar: parsed?.sidecar ?? null,
  };
}

/** `release parse --json` for names given together. */
export function describeReleases(names: readonly string[]): ReleaseDescription[] {
  const parsed = parseReleases(names);
  return names.map((name, index) => describeRelease(name, parsed[index]));
}

/**
 * The canonical spelling, the catalog's `version`: `6.3.0-107.r1.el7`, `3.101.0-302.el9` of an RPM, `6.6.123` of
 * Aviatrix, a gateway image's name without `.vhd`.
 */
export function versionOf(release: ParsedRelease): string {
  switch (release.scheme) {
    case 'ssr':
      return ssrVersionOf(release);
    case 'rpm':
      return `${release.epoch === 0 ? '' : `${release.epoch}:`}${release.rpmVersion}-${release.rpmRelease}`;
    case 'aviatrix':
      return aviatrixVersionOf(release);
    case 'gateway':
      return release.input.replace(/\.vhd$/, '');
  }
}

/**
 * `6.3`: the catalog's `release` and the folder `<Major>.<Minor>`. Null for what belongs to no train: plugins and
 * other RPMs, gateway images, date releases, `latest`.
 */
export function trainOf(release: ParsedRelease): string | null {
  if (release.scheme === 'rpm' || release.scheme === 'gateway' || release.major === null) return null;
  return `${release.major}.${release.minor}`;
}
