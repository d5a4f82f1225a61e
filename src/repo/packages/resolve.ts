/**
 * Whether what packages require is there: in their repository, among those that come with them, or on the base system.
 */
import { limits } from '../../limits.ts';
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Provide } from '../catalog/packages.ts';
import { isPrimaryFile } from '../formats/repodata/package-fragments.ts';
import { xmlText } from '../formats/repodata/xml-text.ts';
import type { Dependency } from '../formats/rpm/dependencies.ts';
import { nevra, parseEvr, rangesOverlap, type VersionRange } from '../formats/rpm/evr.ts';
import type { RpmFacts } from '../formats/rpm/facts.ts';
import { SENSE } from '../formats/rpm/tags.ts';
import { linesOf, notAList, PLATFORM } from './platform.ts';
import { recordMissing } from './record-again.ts';
import { isSatisfied, parseRich, type Rich, type Term, termsOf } from './rich-dependency.ts';

/** A package that comes in, with what it needs. */
export interface Incoming {
  readonly facts: RpmFacts;
  readonly digest: Digest;
  readonly provides: readonly Provide[];
  readonly requires: readonly Dependency[];
}

export interface Unresolved {
  /** `name-version-release.arch` */
  readonly package: string;
  /** As rpm writes it: `libfoo >= 1.2`. */
  readonly requirement: string;
}

export interface Resolution {
  readonly unresolved: readonly Unresolved[];
  /** Whether the base system is known: only then is something missing that nobody provides. */
  readonly knowsPlatform: boolean;
}

/** @throws what the catalog and the store throw */
export async function resolve(
  { blobs, catalog }: { blobs: BlobStore; catalog: Catalog },
  repository: string,
  incoming: readonly Incoming[],
): Promise<Resolution> {
  await recordMissing({ blobs, catalog }, repository);
  const needs = incoming.flatMap((each) => each.requires.map((dependency) => ({ each, ...needOf(dependency) })));
  const known = new Capabilities(needs.flatMap(({ ranges }) => ranges.map(({ name }) => name)));
  for (const each of incoming) known.addAll(each.provides);
  for (const name of known.wanted) for (const provide of await catalog.provides(repository, name)) known.add(provide);
  const platform = await addPlatform(blobs, catalog, known);
  await addFiles(catalog, repository, incoming, known, unmet(needs, known));
  const unresolved = unmet(needs, known).map(({ each, text }) => ({ package: nevra(each.facts), requirement: text }));
  const hasLibc = (await catalog.provides(repository, 'glibc')).length > 0;
  return { unresolved, knowsPlatform: platform || hasLibc };
}

/** A requirement, taken apart. */
interface Need {
  readonly text: string;
  /** All that it names. */
  readonly ranges: readonly VersionRange[];
  /** Undefined for a plain one. */
  readonly rich: Rich | undefined;
}

function needOf(dependency: Dependency): Need {
  const rich = dependency.name.startsWith('(') ? parseRich(dependency.name) : undefined;
  const ranges = rich === undefined ? [dependency] : termsOf(rich).map(rangeOfTerm);
  return { text: textOf(dependency), ranges, rich };
}

const SIGNS = { LT: '<', LE: '<=', EQ: '=', GE: '>=', GT: '>' } as const;

function textOf({ name, comparison, evr }: Dependency): string {
  if (comparison === null || evr === null) return name;
  const version = `${evr.epoch === null ? '' : `${evr.epoch}:`}${evr.version}${evr.release === null ? '' : `-${evr.release}`}`;
  return `${name} ${SIGNS[comparison]} ${version}`;
}

/** What a term of a rich dependency asks for. */
export function rangeOfTerm({ name, operator, version }: Term): VersionRange {
  let flags = 0;
  if (operator?.includes('<')) flags |= SENSE.less;
  if (operator?.includes('>')) flags |= SENSE.greater;
  if (operator?.includes('=')) flags |= SENSE.equal;
  return { name, flags, evr: version === null ? null : parseEvr(version) };
}

function unmet<T extends Need>(needs: readonly T[], known: Capabilities): T[] {
  return needs.filter(({ rich, ranges }) =>
    rich === undefined
      ? !ranges.every((range) => known.has(range))
      : !isSatisfied(rich, (term) => known.has(rangeOfTerm(term))),
  );
}

/** What is provided under the names that are asked for; nothing else is kept. */
class Capabilities {
  readonly #provides: Map<string, VersionRange[]>;

  constructor(wanted: Iterable<string>) {
    this.#provides = new Map([...wanted].map((name) => [name, []]));
  }

  get wanted(): Iterable<string> {
    return this.#provides.keys();
  }

  add({ name, flags, evr }: Provide): void {
    this.#provides.get(name)?.push({ name, flags, evr: evr === null ? null : parseEvr(evr) });
  }

  addAll(provides: Iterable<Provide>): void {
    for (const provide of provides) this.add(provide);
  }

  has(range: VersionRange): boolean {
    return (this.#provides.get(range.name) ?? []).some((provide) => rangesOverlap(provide, range));
  }
}

/** @returns whether any list of a base system was imported */
async function addPlatform(blobs: BlobStore, catalog: Catalog, known: Capabilities): Promise<boolean> {
  const published = (await catalog.repository(PLATFORM))?.published ?? 0;
  let isThere = false;
  for await (const { artifact } of catalog.entries(PLATFORM, published)) {
    isThere = true;
    const { name } = artifact;
    const reader = await blobs.open(artifact.digest);
    try {
      for await (const line of linesOf(reader, (number) => notAList(name, number))) {
        const provide = parseProvide(line);
        if (provide !== undefined) known.add(provide);
      }
    } finally {
      await reader.close();
    }
  }
  return isThere;
}

/**
 * A line of `rpm -qa --provides`: `name`, or `name = [epoch:]version[-release]`. There are blanks in names, too: an
 * imported key provides `gpg(Example Vendor <release@vendor.example>) = 4:1f5b-5c`.
 */
export function parseProvide(line: string): Provide | undefined {
  const [, name, sign, evr] = /^\s*(\S+?|[^\s(]+\(.*\))(?:\s+(<=|>=|=|<|>)\s+(\S+))?\s*$/.exec(line) ?? [];
  if (name === undefined) return undefined;
  const { flags } = rangeOfTerm({ name, operator: (sign ?? null) as Term['operator'], version: null });
  return { name, flags, evr: evr ?? null };
}

/**
 * Any file may be required by its path, though few are: those that are not found yet are looked for in all file lists.
 * Files of primary.xml are not: they are among what packages provide.
 */
async function addFiles(
  catalog: Catalog,
  repository: string,
  incoming: readonly Incoming[],
  known: Capabilities,
  unmetNeeds: readonly Need[],
): Promise<void> {
  const paths = new Map(
    unmetNeeds
      .flatMap(({ ranges }) => ranges.map(({ name }) => name))
      .filter((name) => name.startsWith('/') && !isPrimaryFile(name))
      .map((name) => [name, Buffer.from(`>${xmlText(name)}</file>`)]),
  );
  if (paths.size === 0) return;
  const look = (text: Buffer): void => {
    for (const [name, element] of paths) {
      if (!text.includes(element)) continue;
      known.add({ name, flags: 0, evr: null });
      paths.delete(name);
    }
  };
  for await (const page of packagePages(catalog, repository, incoming)) {
    if (paths.size === 0) return;
    for (const text of (await catalog.packageTexts('filelists', page)).values()) look(text);
  }
}

/** Those that come in, then those that are published. */
async function* packagePages(
  catalog: Catalog,
  repository: string,
  incoming: readonly Incoming[],
): AsyncIterable<Digest[]> {
  for (let at = 0; at < incoming.length; at += limits.catalog.page)
    yield incoming.slice(at, at + limits.catalog.page).map(({ digest }) => digest);
  const published = (await catalog.repository(repository))?.published ?? 0;
  let page: Digest[] = [];
  for await (const { artifact } of catalog.entries(repository, published)) {
    if (artifact.kind !== 'rpm') continue;
    page.push(artifact.digest);
    if (page.length < limits.catalog.page) continue;
    yield page;
    page = [];
  }
  yield page;
}
