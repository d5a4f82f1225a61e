/**
 * What a conductor tells its HA twin of a repository: the published revision, path by path, with the revision since which
 * each path holds what it holds.
 */
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact, Place, RepositoryKind } from '../catalog/artifact.ts';
import type { Catalog, Entry } from '../catalog/catalog.ts';
import { splitPath } from '../catalog/names.ts';
import { isVerbatim, REPOMD_SIGNATURE, VENDOR_KEY_PREFIX } from '../packages/prepare-change.ts';
import {
  atOneMoment,
  isMerged,
  marksOf,
  nodeOf,
  type RefusedPath,
  type ReplicaMarks,
  type RevisionMark,
  revisionMark,
} from './replica-marks.ts';

/** What the twin asks. */
export interface ListingQuestion {
  /** The last revision that it has seen. */
  readonly from: RevisionMark;
  /** What came after this revision is told with its artifacts: `from`, or earlier. */
  readonly artifacts: number;
  /** Its name: what is only here because it had it is told without artifacts. */
  readonly node: string | undefined;
}

/** The first line. */
export interface ListingHead extends RevisionMark {
  readonly format: 1;
  readonly node: string;
  readonly kind: RepositoryKind;
  /** Of packages: the metadata is a vendor's, and is told as it is; else each node writes its own. */
  readonly isVerbatim: boolean;
  /** False if `from` is no revision of this repository: one of the two catalogs was restored or made anew. */
  readonly isCommon: boolean;
  /** How far this node has seen somebody else's repository of this name, and what of it was refused. */
  readonly seen: (RevisionMark & { readonly peer: string }) | null;
  readonly refused: readonly RefusedPath[];
}

export type ListingLine =
  | {
      readonly path: string;
      readonly digest: Digest;
      readonly since: number;
      /** False where it is only here because the node in `seen` had it. */
      readonly isOwn: boolean;
      /** With `within`: where its bytes lie, if they are a slice of another blob. */
      readonly artifact?: Artifact;
      readonly within?: Place | null;
    }
  /** A path of `from` that holds nothing any more. */
  | { readonly gone: string; readonly isWithdrawn: boolean }
  /** The last line: how many there were between it and the first. */
  | { readonly end: number };

/** A repository as the twin gets it. */
export interface Listing {
  readonly head: ListingHead;
  /** Ascending (`comparePaths`), read in pages. */
  readonly lines: AsyncIterable<ListingLine>;
}

/** @returns undefined if there is no such repository, or nothing was published in it */
export async function listingOf(
  catalog: Catalog,
  repository: string,
  question: ListingQuestion,
): Promise<Listing | undefined> {
  const read = await atOneMoment(catalog, async () => ({
    node: await nodeOf(catalog),
    known: await catalog.repository(repository),
    mark: await revisionMark(catalog, repository),
    from: await revisionMark(catalog, repository, question.from.revision),
    marks: await marksOf(catalog, repository),
    isVendors: await isVerbatim(catalog, repository),
  }));
  const { node, known, mark, from, marks, isVendors } = read;
  if (known === undefined || mark === undefined) return undefined;
  const isCommon = from?.at === question.from.at;
  const head: ListingHead = {
    format: 1,
    node,
    kind: known.kind,
    isVerbatim: isVendors,
    ...mark,
    isCommon,
    seen: marks === undefined ? null : { peer: marks.peer, ...marks.seen },
    refused: marks?.refused ?? [],
  };
  const former = isCommon && question.from.revision > 0 ? catalog.entries(repository, question.from.revision) : none();
  return { head, lines: listLines(catalog, { head, marks, former, repository, question }) };
}

interface ListingParts {
  readonly head: ListingHead;
  readonly marks: ReplicaMarks | undefined;
  readonly former: AsyncIterable<Entry>;
  readonly repository: string;
  readonly question: ListingQuestion;
}

async function* listLines(
  catalog: Catalog,
  { head, marks, former, repository, question }: ListingParts,
): AsyncGenerator<ListingLine> {
  const isTold = (entry: Entry) => isReplicated(head, entry);
  let count = 0;
  for await (const [old, entry] of sideBySide(former, catalog.entries(repository, head.revision))) {
    if (entry !== undefined && isTold(entry)) {
      yield await lineOf(catalog, entry, { marks, question });
      count += 1;
    } else if (entry === undefined && old !== undefined && isTold(old)) {
      const isWithdrawn = (await catalog.former(repository, old.path, new Date(0))) === undefined;
      yield { gone: old.path, isWithdrawn };
      count += 1;
    }
  }
  yield { end: count };
}

async function lineOf(
  catalog: Catalog,
  { path, since, artifact }: Entry,
  { marks, question }: Pick<ListingParts, 'marks' | 'question'>,
): Promise<ListingLine> {
  const isOwn = !isMerged(marks, since);
  const line = { path, digest: artifact.digest, since, isOwn };
  const isNew = since > question.artifacts && (isOwn || marks?.peer !== question.node);
  if (!isNew && path !== REPOMD_SIGNATURE) return line;
  return { ...line, artifact, within: (await catalog.blob(artifact.digest))?.within ?? null };
}

/** True for what a twin takes over; metadata of packages it writes itself, where it is no vendor's. */
export function isReplicated(
  { kind, isVerbatim }: Pick<ListingHead, 'kind' | 'isVerbatim'>,
  { path, artifact }: Pick<Entry, 'path' | 'artifact'>,
): boolean {
  if (kind !== 'rpm' || isVerbatim || artifact.kind === 'rpm' || typeof artifact.facts.carried === 'string')
    return true;
  return path.startsWith(VENDOR_KEY_PREFIX) || path === REPOMD_SIGNATURE;
}

/** The order of `Catalog.entries`: by folder and then by name, as bytes. */
export function comparePaths(a: string, b: string): number {
  const [first, second] = [splitPath(a), splitPath(b)];
  return compareBytes(first.folder, second.folder) || compareBytes(first.name, second.name);
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Two lists in the order of `comparePaths`, what has the same path together. */
export async function* sideBySide<A extends { readonly path: string }, B extends { readonly path: string }>(
  first: AsyncIterable<A>,
  second: AsyncIterable<B>,
): AsyncGenerator<[A | undefined, B | undefined]> {
  const [a, b] = [first[Symbol.asyncIterator](), second[Symbol.asyncIterator]()];
  const next = async <T>(from: AsyncIterator<T>) => {
    const step = await from.next();
    return step.done === true ? undefined : step.value;
  };
  try {
    let [left, right] = [await next(a), await next(b)];
    while (left !== undefined || right !== undefined) {
      const order = left === undefined ? 1 : right === undefined ? -1 : comparePaths(left.path, right.path);
      yield [order <= 0 ? left : undefined, order >= 0 ? right : undefined];
      if (order <= 0) left = await next(a);
      if (order >= 0) right = await next(b);
    }
  } finally {
    await Promise.all([a.return?.(), b.return?.()]);
  }
}

async function* none(): AsyncGenerator<never> {}
