/** Which of the packages that a repository lists a rule means. */
import { type ForeignPackage, unpackRanges } from '../../../repo/formats/repodata/read-primary.ts';
import { nevra, rangesOverlap, type VersionRange, versionKey } from '../../../repo/formats/rpm/evr.ts';
import { rangeOfTerm } from '../../../repo/packages/resolve.ts';
import { isSatisfied, parseRich, type Term, termsOf } from '../../../repo/packages/rich-dependency.ts';
import type { RpmRule } from '../rpm.ts';
import { unusable } from './metadata.ts';

/** Whether a rule leaves packages out. Then the vendor's metadata cannot be passed on as it is. */
export function isFiltering({ include, exclude, newest }: RpmRule): boolean {
  return include.length > 0 || exclude.length > 0 || newest !== undefined;
}

/**
 * Those that the rule includes and does not exclude, the newest of each name and architecture, and what these require, as
 * far as it is listed and not excluded: the newest that will do.
 * @param all with their dependencies, if the rule leaves anything out
 * @throws repodata.invalid if two of them say to be one package, or lie in one place, and are not the same
 */
export function choosePackages(all: readonly ForeignPackage[], rule: RpmRule): ForeignPackage[] {
  if (!isFiltering(rule)) return unambiguous(all);
  const isExcluded = matcher(rule.exclude);
  const isIncluded = rule.include.length === 0 ? () => true : matcher(rule.include);
  const possible = unambiguous(all.filter(({ name }) => !isExcluded(name)));
  const chosen = newestOfEach(
    possible.filter(({ name }) => isIncluded(name)),
    rule.newest,
  );
  return withRequired(chosen, possible);
}

function unambiguous(packages: readonly ForeignPackage[]): ForeignPackage[] {
  const known = new Map<string, string>();
  for (const each of packages) {
    for (const key of [nevra(each), `/${each.place.path}`]) {
      const other = known.get(key);
      if (other !== undefined && other !== each.checksum.value) {
        throw unusable(
          `it lists ${key} with two checksums (${other} and ${each.checksum.value}). One can be left out by "exclude" if the other is not needed either`,
        );
      }
      known.set(key, each.checksum.value);
    }
  }
  return [...packages];
}

/** `*` stands for any characters, `?` for one. */
function matcher(patterns: readonly string[]): (name: string) => boolean {
  const parts = patterns.map((pattern) =>
    pattern
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replace(/\*+/g, '.*')
      .replaceAll('?', '.'),
  );
  if (parts.length === 0) return () => false;
  const whole = new RegExp(`^(?:${parts.join('|')})$`, 's');
  return (name) => whole.test(name);
}

/** Orders as rpm does, for names that are equal. */
function evrKey({ epoch, version, release }: ForeignPackage): string {
  return [String(epoch), version, release].map(versionKey).join(' ');
}

function newestFirst(packages: readonly ForeignPackage[]): ForeignPackage[] {
  const keyed = packages.map((each) => ({ each, key: evrKey(each) }));
  return keyed.sort((a, b) => (a.key < b.key ? 1 : a.key > b.key ? -1 : 0)).map(({ each }) => each);
}

function newestOfEach(packages: readonly ForeignPackage[], count: number | undefined): ForeignPackage[] {
  if (count === undefined) return [...packages];
  const groups = Map.groupBy(packages, ({ name, arch }) => `${name}.${arch}`);
  return [...groups.values()].flatMap((group) => {
    const wanted = new Set(
      newestFirst(group)
        .map(evrKey)
        .filter((key, index, keys) => key !== keys[index - 1])
        .slice(0, count),
    );
    return group.filter((each) => wanted.has(evrKey(each)));
  });
}

/** Who provides what, among the chosen and among all. */
class Providers {
  readonly #byName = new Map<string, { readonly range: VersionRange; readonly by: ForeignPackage }[]>();

  constructor(packages: readonly ForeignPackage[], wanted: ReadonlySet<string>) {
    for (const by of packages) {
      for (const range of unpackRanges(by.provides)) {
        if (!wanted.has(range.name)) continue;
        const known = this.#byName.get(range.name);
        if (known === undefined) this.#byName.set(range.name, [{ range, by }]);
        else known.push({ range, by });
      }
    }
  }

  of(range: VersionRange): ForeignPackage[] {
    return (this.#byName.get(range.name) ?? []).filter((each) => rangesOverlap(each.range, range)).map(({ by }) => by);
  }
}

/** Round by round, until nothing more is required. Names of nobody here are for the base system to provide. */
function withRequired(chosen: readonly ForeignPackage[], possible: readonly ForeignPackage[]): ForeignPackage[] {
  const providers = new Providers(possible, requiredNames(possible));
  const result = new Set(chosen);
  const has = (range: VersionRange) => providers.of(range).some((each) => result.has(each));
  for (let added = [...chosen]; added.length > 0; ) {
    const more: ForeignPackage[] = [];
    for (const each of added) {
      for (const range of unmet(each, has)) {
        const [best] = newestFirst(providers.of(range));
        if (best === undefined || result.has(best)) continue;
        result.add(best);
        more.push(best);
      }
    }
    added = more;
  }
  return possible.filter((each) => result.has(each));
}

function requiredNames(packages: readonly ForeignPackage[]): Set<string> {
  const names = new Set<string>();
  for (const { requires } of packages) {
    for (const range of unpackRanges(requires)) for (const { name } of termsIn(range)) names.add(name);
  }
  return names;
}

function termsIn(range: VersionRange): VersionRange[] {
  const rich = range.name.startsWith('(') ? parseRich(range.name) : undefined;
  return rich === undefined ? [range] : termsOf(rich).map(rangeOfTerm);
}

/** What a package requires and is not there; of a rich requirement, all that it names. */
function* unmet({ requires }: ForeignPackage, has: (range: VersionRange) => boolean): Generator<VersionRange> {
  for (const range of unpackRanges(requires)) {
    const rich = range.name.startsWith('(') ? parseRich(range.name) : undefined;
    if (rich === undefined) {
      if (!has(range)) yield range;
    } else if (!isSatisfied(rich, (term: Term) => has(rangeOfTerm(term)))) {
      for (const term of termsOf(rich)) if (!has(rangeOfTerm(term))) yield rangeOfTerm(term);
    }
  }
}
