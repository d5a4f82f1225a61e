import { type Dependency, type DependencyKind, dependenciesOf } from '../rpm/dependencies.ts';
import type { Evr } from '../rpm/evr.ts';
import { rpmvercmp } from '../rpm/evr.ts';
import type { RpmFile } from '../rpm/rpm-file.ts';
import { TAG } from '../rpm/tags.ts';

/** A requirement that need not be met (RPMSENSE_MISSINGOK): how weak dependencies were written before rpm had them. */
const MISSING_OK = 1 << 19;
const LIBC = 'libc.so.6';

/** What is needed for more than one kind. */
export interface KnownLists {
  /** All of them. */
  readonly provides: readonly Dependency[];
  /** Paths of the package's own files that stand in primary.xml. */
  readonly primaryFiles: ReadonlySet<string>;
}

/**
 * The dependencies of one kind as repodata lists them, one at a time, which is not all that a package says. Of the
 * requirements, as createrepo_c has it, these are left out: `rpmlib(…)`, which no package provides; the package's own files,
 * if they are among the `primaryFiles`; what it provides itself in the same words; repetitions; and all symbol versions of libc but
 * the highest, which comes last. Requirements that need not be met are recommendations.
 * @throws as `dependenciesOf`
 */
export function* listedDependencies(
  rpm: RpmFile,
  kind: DependencyKind,
  known: KnownLists,
): Generator<Dependency, void, undefined> {
  if (kind === 'requires') yield* withHighestLibc(listedRequirements(rpm, known));
  if (kind === 'recommends' && hasOptionalRequirements(rpm)) {
    for (const dependency of listedRequirements(rpm, known)) if (isOptional(dependency)) yield dependency;
  }
  if (kind === 'provides') yield* known.provides;
  else if (kind !== 'requires') yield* dependenciesOf(rpm, kind);
}

/** Requirements that are left, optional ones among them. */
function* listedRequirements(
  rpm: RpmFile,
  { provides, primaryFiles }: KnownLists,
): Generator<Dependency, void, undefined> {
  if (rpm.header.count(TAG.requireName) === 0) return;
  const isProvided = providedBy(provides);
  const seen = new Map<string, Dependency>();
  for (const dependency of dependenciesOf(rpm, 'requires')) {
    const { name } = dependency;
    if (dependency.isRpmlib || primaryFiles.has(name) || isProvided(dependency)) continue;
    // Only the one before of the same name counts.
    const before = seen.get(name);
    if (before?.pre === dependency.pre && wording(before) === wording(dependency)) continue;
    if (!isOptional(dependency) && !name.startsWith(LIBC)) seen.set(name, dependency);
    yield dependency;
  }
}

/** Whether one of them has the same wording. Few names are both provided and required, so few wordings are made. */
function providedBy(provides: readonly Dependency[]): (dependency: Dependency) => boolean {
  const named = Map.groupBy(provides, ({ name }) => name);
  const wordings = new Map<string, ReadonlySet<string>>();
  return (dependency) => {
    const { name } = dependency;
    const others = named.get(name);
    if (others === undefined) return false;
    const known = wordings.get(name) ?? new Set(others.map(wording));
    wordings.set(name, known);
    return known.has(wording(dependency));
  };
}

function* withHighestLibc(requirements: Iterable<Dependency>): Generator<Dependency, void, undefined> {
  let libc: Dependency | undefined;
  for (const dependency of requirements) {
    if (isOptional(dependency)) continue;
    if (dependency.name.startsWith(LIBC)) libc = higherSymbolVersion(libc, dependency);
    else yield dependency;
  }
  if (libc !== undefined) yield libc;
}

function isOptional({ flags }: Dependency): boolean {
  return (flags & MISSING_OK) !== 0;
}

function hasOptionalRequirements({ header }: RpmFile): boolean {
  const flags = header.numbers(TAG.requireFlags);
  for (let index = 0; index < flags.length; index += 1) if ((flags.at(index) & MISSING_OK) !== 0) return true;
  return false;
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
