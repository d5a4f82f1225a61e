/**
 * What the next bundle for a site must carry: what is published, without what the site has proven to hold. What was
 * merely sent counts for nothing: the content of a lost stick is in the next bundle by itself.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import type { BlobRecord, Catalog, Repository } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { VENDOR_KEY_PREFIX } from '../../repo/packages/prepare-change.ts';
import type { Item } from './layout.ts';
import type { ManifestBlob, ManifestEntry, ManifestRepository } from './manifest.ts';
import { lineBytes } from './manifest-lines.ts';

/** What the newest accepted receipt of a site proves. */
export interface Holdings {
  readonly sequence: number;
  /** Number of the receipt. */
  readonly receipt: number;
  readonly digests: ReadonlySet<Digest>;
  /** Its program reads deltas. */
  readonly takesDeltas: boolean;
}

/** As far as a plan needs to know it of a blob. */
export interface KnownBlob {
  readonly size: number;
  /** The blob in which it lies, and where, if it is a slice. */
  readonly within: BlobRecord['within'];
  /** Its bytes are here. */
  readonly isStored: boolean;
}

export interface Plan {
  readonly repositories: readonly ManifestRepository[];
  /** Entries of one of them, read anew. */
  readonly entriesOf: (repository: string) => AsyncIterable<ManifestEntry>;
  /** Bytes that all entries take in a manifest. */
  readonly entriesBytes: number;
  /** Blobs that have to be carried, in this order. */
  readonly items: readonly Item[];
  /** Those that need not: slices of others, and what the site has. */
  readonly others: ReadonlyMap<Digest, ManifestBlob>;
  readonly base: { readonly sequence: number; readonly receipt: number } | null;
  /** Of the site's blobs, and of those above. */
  readonly known: ReadonlyMap<Digest, KnownBlob>;
}

export interface PlanOptions {
  /** Undefined: the site is taken to have nothing. */
  readonly holdings: Holdings | undefined;
  /** Default: all. */
  readonly repositories?: readonly string[];
}

/** @throws repository.not-found, blob.missing if something that is published is not stored */
export async function planBundle(catalog: Catalog, { holdings, repositories: names }: PlanOptions): Promise<Plan> {
  const from = new Map<string, Repository>();
  const repositories: ManifestRepository[] = [];
  const wanted = new Map<Digest, string>();
  let entriesBytes = 0;
  for (const repository of await chosen(catalog, names)) {
    const { name, kind, published: revision } = repository;
    let entries = 0;
    for await (const entry of content(catalog, repository)) {
      wanted.set(entry.artifact.digest, `${name}/${entry.path}`);
      const bytes = lineBytes(entry);
      if (bytes > limits.bundle.manifestLine) throw tooLong(name, entry);
      entriesBytes += bytes;
      entries += 1;
    }
    from.set(name, repository);
    repositories.push({ name, kind, revision, entries });
  }
  const known = await knownBlobs(catalog, (digest) => wanted.has(digest) || holdings?.digests.has(digest) === true);
  const base = holdings === undefined ? null : { sequence: holdings.sequence, receipt: holdings.receipt };
  const entriesOf = (name: string) => {
    const repository = from.get(name);
    return repository === undefined ? nothing() : content(catalog, repository);
  };
  return { repositories, entriesOf, entriesBytes, base, known, ...places(wanted, known, holdings) };
}

function places(
  wanted: ReadonlyMap<Digest, string>,
  known: ReadonlyMap<Digest, KnownBlob>,
  holdings: Holdings | undefined,
): Pick<Plan, 'items' | 'others'> {
  const items: Item[] = [];
  const others = new Map<Digest, ManifestBlob>();
  const isHeld = (digest: Digest) => holdings?.digests.has(digest) === true;
  const since = holdings?.sequence ?? 0;
  for (const [digest, path] of wanted) {
    const record = known.get(digest);
    if (record === undefined) throw missing(path, digest);
    const { size, within } = record;
    if (isHeld(digest)) {
      others.set(digest, { in: 'site', digest, size, since });
    } else if (within !== null && (wanted.has(within.container) || isHeld(within.container))) {
      const { container, start } = within;
      others.set(digest, { in: 'blob', digest, size, of: container, start });
      // The container of a slice is always listed, also if none of the chosen repositories has it.
      const whole = wanted.has(container) ? undefined : (known.get(container) ?? missingImage(container));
      if (whole !== undefined) others.set(container, { in: 'site', digest: container, size: whole.size, since });
    } else {
      items.push({ digest, size });
    }
  }
  return { items, others };
}

function tooLong(repository: string, { path }: ManifestEntry): AirlockError {
  return new AirlockError(
    'usage.invalid',
    `${quoteUnsafe(`${repository}/${path}`)} has more facts than a bundle carries. Export without its repository: --repository NAME.`,
  );
}

function missingImage(digest: Digest): never {
  throw missing('an image', digest);
}

async function knownBlobs(catalog: Catalog, isMeant: (digest: Digest) => boolean): Promise<Map<Digest, KnownBlob>> {
  const known = new Map<Digest, KnownBlob>();
  const limit = limits.catalog.page;
  for (let page = await catalog.blobs({ limit }); page.length > 0; ) {
    for (const { digest, size, within, stamp } of page) {
      if (isMeant(digest)) known.set(digest, { size, within, isStored: stamp !== null });
    }
    const after = page.at(-1)?.digest;
    if (after === undefined || page.length < limit) break;
    page = await catalog.blobs({ after, limit });
  }
  return known;
}

async function* nothing(): AsyncGenerator<ManifestEntry, void, undefined> {
  // a repository that is not in the plan
}

async function chosen(catalog: Catalog, names: readonly string[] | undefined): Promise<Repository[]> {
  const all = await catalog.repositories();
  if (names === undefined || names.length === 0) return all;
  return [...new Set(names)].map((name) => {
    const found = all.find((repository) => repository.name === name);
    if (found !== undefined) return found;
    throw new AirlockError(
      'repository.not-found',
      `There is no repository ${quoteUnsafe(name)}. "airlock repo list" shows those there are.`,
    );
  });
}

async function* content(
  catalog: Catalog,
  { name, kind, published }: Repository,
): AsyncGenerator<ManifestEntry, void, undefined> {
  for await (const { path, artifact } of catalog.entries(name, published)) {
    if (kind !== 'rpm' || travels(path, artifact)) yield { path, artifact };
  }
}

/**
 * A site writes and signs the metadata of its package repositories itself, but for a vendor's that is passed on as it is. The
 * vendors' keys are for its routers.
 */
function travels(path: string, { kind, facts }: Artifact): boolean {
  const isContent = kind === 'rpm' || typeof facts.carried === 'string' || facts.verbatim === true;
  return isContent || path.startsWith(VENDOR_KEY_PREFIX);
}

function missing(path: string, digest: Digest): AirlockError {
  return new AirlockError(
    'blob.missing',
    `${quoteUnsafe(path)} is published, but its bytes (${digest}) are not stored. Import it again, or take it out with "airlock verify --repair"; then export.`,
    { details: { digest } },
  );
}
