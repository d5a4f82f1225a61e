import { parseAviatrix } from './aviatrix.ts';
import type { AviatrixRelease, ParsedRelease, SsrRelease } from './facts.ts';
import { compareReleases, lineOf, orderKey } from './order.ts';
import { trainOf } from './release.ts';
import { parseSsr } from './ssr.ts';

/**
 * Whether two names can mean one release: `SSR-7.1.0-50` of the command line and `SSR-7.1.0-50.r1.el9.x86_64.ibu-v1.iso`.
 * What one of the two leaves out (build, milestone) fits anything; distribution, architecture, product and file format
 * do not count. Reflexive and symmetric but not transitive, so never an order: `6.3.0` fits both `6.3.0-107` and `6.3.0-110`.
 * A build without a number (`3.0.1-snapshot1`) is not the numbered `3.0.1-1`. Names of different vendors, RPMs or
 * families are never one release. Source: vendor.md C1.
 */
export function sameRelease(a: ParsedRelease, b: ParsedRelease): boolean {
  if (lineOf(a) !== lineOf(b)) return false;
  if (a.scheme === 'ssr' && b.scheme === 'ssr') return sameSsr(a, b);
  if (a.scheme === 'aviatrix' && b.scheme === 'aviatrix') return sameAviatrix(a, b);
  return orderKey(a) === orderKey(b);
}

function sameSsr(a: SsrRelease, b: SsrRelease): boolean {
  if (a.major !== b.major || a.minor !== b.minor || a.patch !== b.patch) return false;
  const numbered = a.build !== null && b.build !== null;
  if (numbered && (a.build !== b.build || a.timestamp !== b.timestamp)) return false;
  if (a.milestone !== null && b.milestone !== null) return a.milestone === b.milestone;
  return numbered || isOpen(a) || isOpen(b);
}

/** Names no more than X.Y.Z. */
function isOpen({ build, milestone }: SsrRelease): boolean {
  return build === null && milestone === null;
}

function sameAviatrix(a: AviatrixRelease, b: AviatrixRelease): boolean {
  if (a.numbering !== 'number' || b.numbering !== 'number') return orderKey(a) === orderKey(b);
  if (a.major !== b.major || a.minor !== b.minor) return false;
  const [whole, other] = [a, b].map(({ build, letter }) => `${letter ?? ''}${build ?? ''}`);
  return whole === '' || other === '' || whole === other;
}

/**
 * What a person's spelling means among catalogued releases: a version in any spelling, `X.Y.Z`, a train `X.Y`, `latest`,
 * or a file name. One item per distinct release that fits, in ascending order, each with all its candidates (the image
 * and the package of a release, its architectures) in the order given. So: empty, there is none; one, that is it;
 * more, the caller shows the list and asks for more of the name.
 *
 * What the spelling itself says of distribution, architecture and kind narrows: a file name means that artifact.
 * Candidates that the spelling fits exactly come alone, even if others could be meant too.
 * @param parsedOf gives a candidate's own name as read by parseRelease; candidates without one never fit.
 */
export function matchVersion<Candidate>(
  spelling: string,
  candidates: readonly Candidate[],
  parsedOf: (candidate: Candidate) => ParsedRelease | undefined,
): Candidate[][] {
  const said = readings(spelling);
  const catalogued = candidates.flatMap((candidate) => {
    const release = parsedOf(candidate);
    return release === undefined ? [] : [{ candidate, release }];
  });
  const fitting = catalogued.filter(({ release }) => fits(spelling, said, release));
  const exact = fitting.filter(({ release }) => isExact(said, release));
  const groups = groupByRelease(exact.length > 0 ? exact : fitting);
  return (spelling === LATEST ? newestOfEachLine(groups) : groups).map((group) =>
    group.map(({ candidate }) => candidate),
  );
}

const LATEST = 'latest';

interface Catalogued<Candidate> {
  readonly candidate: Candidate;
  readonly release: ParsedRelease;
}

/** A bare X.Y.Z may be either vendor's, so each candidate is compared with its own vendor's reading. */
function readings(spelling: string): ParsedRelease[] {
  return [parseSsr(spelling), parseAviatrix(spelling)].filter((release) => release !== undefined);
}

function fits(spelling: string, said: readonly ParsedRelease[], release: ParsedRelease): boolean {
  const train = trainOf(release);
  if (train !== null && (spelling === LATEST || spelling === train)) return true;
  return said.some((reading) => sameRelease(reading, release) && narrows(reading, release));
}

function narrows(said: ParsedRelease, release: ParsedRelease): boolean {
  return (['dist', 'arch', 'kind'] as const).every(
    (fact) => said[fact] === null || release[fact] === null || said[fact] === release[fact],
  );
}

function isExact(said: readonly ParsedRelease[], release: ParsedRelease): boolean {
  return said.some((reading) => sameRelease(reading, release) && compareReleases(reading, release) === 0);
}

function groupByRelease<Candidate>(catalogued: Catalogued<Candidate>[]): Catalogued<Candidate>[][] {
  const groups: Catalogued<Candidate>[][] = [];
  // The order puts names of one release together, but for those that leave something out.
  const sorted = catalogued.toSorted((a, b) => compareReleases(a.release, b.release));
  for (const item of sorted) {
    const group = groups.find((members) => members.every(({ release }) => sameRelease(release, item.release)));
    if (group === undefined) groups.push([item]);
    else group.push(item);
  }
  const place = new Map(catalogued.map((item, index) => [item, index]));
  for (const group of groups) group.sort((a, b) => (place.get(a) ?? 0) - (place.get(b) ?? 0));
  return groups;
}

function newestOfEachLine<Candidate>(groups: Catalogued<Candidate>[][]): Catalogued<Candidate>[][] {
  const newest = new Map<string, Catalogued<Candidate>[]>();
  for (const group of groups) if (group[0] !== undefined) newest.set(lineOf(group[0].release), group);
  return [...newest.values()];
}
