import { DEPENDENCY_KINDS, type Dependency, type DependencyKind, dependenciesOf } from '../rpm/dependencies.ts';
import type { Evr } from '../rpm/evr.ts';
import { rpmvercmp } from '../rpm/evr.ts';
import type { RpmFile } from '../rpm/rpm-file.ts';

/** A requirement that need not be met (RPMSENSE_MISSINGOK): how weak dependencies were written before rpm had them. */
const MISSING_OK = 1 << 19;
const LIBC = 'libc.so.6';

export type ListedDependencies = Readonly<Record<DependencyKind, readonly Dependency[]>>;

/**
 * The dependencies as repodata lists them, which is not all that a package says. Of the requirements, as createrepo_c has
 * it, these are left out: `rpmlib(…)`, which no package provides; the package's own files, if they are `primaryFiles`; what
 * it provides itself in the same words; repetitions; and all symbol versions of libc but the highest, which comes last.
 * @param primaryFiles paths of the package's own files that stand in primary.xml
 * @throws as `dependenciesOf`
 */
export function listedDependencies(rpm: RpmFile, primaryFiles: ReadonlySet<string>): ListedDependencies {
  const lists: Record<DependencyKind, Dependency[]> = {
    ...{ provides: [], requires: [], conflicts: [], obsoletes: [] },
    ...{ recommends: [], suggests: [], supplements: [], enhances: [] },
  };
  for (const kind of DEPENDENCY_KINDS) {
    if (kind !== 'requires') for (const dependency of dependenciesOf(rpm, kind)) lists[kind].push(dependency);
  }
  const { requires, recommends } = listedRequirements(rpm, lists.provides, primaryFiles);
  return { ...lists, requires, recommends: [...recommends, ...lists.recommends] };
}

function listedRequirements(rpm: RpmFile, provides: readonly Dependency[], primaryFiles: ReadonlySet<string>) {
  const provided = new Set(provides.map(wording));
  const seen = new Map<string, string>();
  const [requires, recommends]: [Dependency[], Dependency[]] = [[], []];
  let libc: Dependency | undefined;
  for (const dependency of dependenciesOf(rpm, 'requires')) {
    const { name } = dependency;
    if (dependency.isRpmlib || primaryFiles.has(name) || provided.has(wording(dependency))) continue;
    const words = `${wording(dependency)} ${dependency.pre}`;
    // Only the one before of the same name counts.
    if (seen.get(name) === words) continue;
    if ((dependency.flags & MISSING_OK) !== 0) recommends.push(dependency);
    else if (name.startsWith(LIBC)) libc = higherSymbolVersion(libc, dependency);
    else {
      requires.push(dependency);
      seen.set(name, words);
    }
  }
  return { requires: libc === undefined ? requires : [...requires, libc], recommends };
}

/** What makes two dependencies the same: how they are written, so `1.0` and `0:1.0` are not. */
function wording({ name, comparison, evr }: Dependency): string {
  return `${name} ${comparison} ${evr === null ? '' : evrText(evr)}`;
}

function evrText({ epoch, version, release }: Evr): string {
  return `${epoch === null ? '' : `${epoch}:`}${version}${release === null ? '' : `-${release}`}`;
}

function higherSymbolVersion(former: Dependency | undefined, next: Dependency): Dependency {
  if (former === undefined) return next;
  const [a, b] = [symbolVersion(former.name), symbolVersion(next.name)];
  if (a.rank !== b.rank) return b.rank > a.rank ? next : former;
  return rpmvercmp(a.version, b.version) < 0 ? next : former;
}

/** `libc.so.6(GLIBC_2.34)(64bit)` → 2.34. Names without a version, in whatever way, rank below those with one. */
function symbolVersion(name: string): { rank: number; version: string } {
  const open = name.indexOf('(');
  const close = name.indexOf(')', open);
  const none = { version: '' };
  if (open === -1) return { ...none, rank: 0 };
  if (close === -1) return { ...none, rank: 1 };
  if (close === open + 1) return { ...none, rank: 2 };
  const version = /\d.*$/s.exec(name.slice(open + 1, close))?.[0];
  return version === undefined ? { ...none, rank: 3 } : { version, rank: 4 };
}
