/**
 * What a conductor remembers of its HA twin: how far it has seen the twin's repositories. It says so to the twin, too,
 * because only that tells a deletion there from something that the twin never had (sync/replica/decide.ts).
 *
 * Kept in the catalog's `meta`. It is lost when the catalog is made anew; then the two hold the union of what both have.
 */
import { randomBytes } from 'node:crypto';
import type { Catalog } from '../catalog/catalog.ts';

/** One revision of a repository. The time tells it from another one of this number, before a catalog was restored. */
export interface RevisionMark {
  readonly revision: number;
  /** When it was made, milliseconds since 1970; 0 for revision 0. */
  readonly at: number;
}

/** A path of the twin that was not taken because other bytes are here. */
export interface RefusedPath {
  readonly path: string;
  /** The twin's revision that put it there. */
  readonly since: number;
}

/** Of one repository. */
export interface ReplicaMarks {
  /** The twin's node (`nodeOf`). With another one there is no common past. */
  readonly peer: string;
  /** The twin's revision that was merged here last; revision 0: none. */
  readonly seen: RevisionMark;
  /** Own revisions that hold nothing but what the twin had: ranges, both ends included, ascending. */
  readonly merged: readonly (readonly [number, number])[];
  /** Seen, and not taken. */
  readonly refused: readonly RefusedPath[];
}

const NODE = 'replica.node';

/** Names this catalog to its twin. Made at the first use. */
export async function nodeOf(catalog: Catalog): Promise<string> {
  return (await catalog.meta(NODE)) ?? (await renewNode(catalog));
}

/** For a copy of the twin's data directory, which still has the twin's name. */
export async function renewNode(catalog: Catalog): Promise<string> {
  const node = randomBytes(16).toString('hex');
  await catalog.setMeta(NODE, node);
  return node;
}

/** Where the marks of a repository stand in `meta`. */
export function marksKey(repository: string): string {
  return `replica.seen:${repository}`;
}

export async function marksOf(catalog: Catalog, repository: string): Promise<ReplicaMarks | undefined> {
  const text = await catalog.meta(marksKey(repository));
  return text === undefined ? undefined : (JSON.parse(text) as ReplicaMarks);
}

/** Whether an own revision holds nothing but what the twin had. */
export function isMerged(marks: Pick<ReplicaMarks, 'merged'> | undefined, revision: number): boolean {
  return marks?.merged.some(([first, last]) => first <= revision && revision <= last) ?? false;
}

/** @returns the mark of a repository's newest revision, or of the one with this number; undefined if there is none */
export async function revisionMark(
  catalog: Catalog,
  repository: string,
  number?: number,
): Promise<RevisionMark | undefined> {
  if (number === 0) return { revision: 0, at: 0 };
  const revisions = await catalog.revisions(repository);
  const found = number === undefined ? revisions[0] : revisions.find((each) => each.number === number);
  return found && { revision: found.number, at: found.createdAt.getTime() };
}

/** Reads several things of a catalog as they were at one moment. */
export async function atOneMoment<T>(catalog: Pick<Catalog, 'version'>, read: () => Promise<T>): Promise<T> {
  for (;;) {
    const version = catalog.version();
    const value = await read();
    if (catalog.version() === version) return value;
  }
}
