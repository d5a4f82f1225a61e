/**
 * What the next bundle for a site must carry: what is published, without what the site has proven to hold. What was
 * merely sent counts for nothing: the content of a lost stick is in the next bundle by itself.
 */
import { AirlockError } from '../../errors.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import type { Catalog, Repository } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { VENDOR_KEY_PREFIX } from '../../repo/packages/prepare-change.ts';
import type { Item } from './layout.ts';
import type { ManifestBlob, ManifestRepository } from './manifest.ts';

/** What the newest accepted receipt of a site proves. */
export interface Holdings {
  readonly sequence: number;
  /** Number of the receipt. */
  readonly receipt: number;
  readonly digests: ReadonlySet<Digest>;
}

export interface Plan {
  readonly repositories: readonly ManifestRepository[];
  /** Blobs that go into volumes, in this order. */
  readonly items: readonly Item[];
  /** Those that do not: slices of others, and what the site has. */
  readonly others: readonly ManifestBlob[];
  readonly base: { readonly sequence: number; readonly receipt: number } | null;
  /** Bytes that go into volumes, and bytes that the site has or that are slices. */
  readonly bytes: { readonly whole: number; readonly held: number; readonly slices: number };
}

export interface PlanOptions {
  /** Undefined: the site is taken to have nothing. */
  readonly holdings: Holdings | undefined;
  /** Default: all. */
  readonly repositories?: readonly string[];
}

/** @throws repository.not-found, blob.missing if something that is published is not stored */
export async function planBundle(catalog: Catalog, { holdings, repositories: names }: PlanOptions): Promise<Plan> {
  const repositories: ManifestRepository[] = [];
  for (const repository of await chosen(catalog, names)) repositories.push(await content(catalog, repository));
  const wanted = new Map<Digest, string>();
  for (const { name, entries } of repositories) {
    for (const { path, artifact } of entries) wanted.set(artifact.digest, `${name}/${path}`);
  }
  const items: Item[] = [];
  const others = new Map<Digest, ManifestBlob>();
  const bytes = { whole: 0, held: 0, slices: 0 };
  for (const [digest, path] of wanted) {
    const record = await catalog.blob(digest);
    if (record === undefined) throw missing(path, digest);
    const { size, within } = record;
    if (holdings?.digests.has(digest) === true) {
      others.set(digest, { in: 'site', digest, size, since: holdings.sequence });
      bytes.held += size;
    } else if (within !== null && (wanted.has(within.container) || holdings?.digests.has(within.container) === true)) {
      others.set(digest, { in: 'blob', digest, size, of: within.container, start: within.start });
      bytes.slices += size;
      await addHeldContainer(catalog, within.container, { wanted, others, holdings });
    } else {
      items.push({ digest, size });
      bytes.whole += size;
    }
  }
  const base = holdings === undefined ? null : { sequence: holdings.sequence, receipt: holdings.receipt };
  return { repositories, items, others: [...others.values()], base, bytes };
}

/** The container of a slice is always listed, also if none of the chosen repositories has it. */
async function addHeldContainer(
  catalog: Catalog,
  digest: Digest,
  known: {
    wanted: ReadonlyMap<Digest, string>;
    others: Map<Digest, ManifestBlob>;
    holdings: Holdings | undefined;
  },
): Promise<void> {
  if (known.wanted.has(digest) || known.others.has(digest)) return;
  const size = (await catalog.blob(digest))?.size;
  if (size === undefined) throw missing('an image', digest);
  known.others.set(digest, { in: 'site', digest, size, since: known.holdings?.sequence ?? 0 });
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

async function content(catalog: Catalog, { name, kind, published }: Repository): Promise<ManifestRepository> {
  const entries: { path: string; artifact: Artifact }[] = [];
  for await (const { path, artifact } of catalog.entries(name, published)) {
    if (kind === 'rpm' && !travels(path, artifact)) continue;
    entries.push({ path, artifact });
  }
  return { name, kind, revision: published, entries };
}

/** A site writes and signs the metadata of its package repositories itself; the vendors' keys are for its routers. */
function travels(path: string, { kind, facts }: Artifact): boolean {
  return kind === 'rpm' || typeof facts.carried === 'string' || path.startsWith(VENDOR_KEY_PREFIX);
}

function missing(path: string, digest: Digest): AirlockError {
  return new AirlockError(
    'blob.missing',
    `${quoteUnsafe(path)} is published, but its bytes (${digest}) are not stored. Import it again, or take it out with "airlock verify --repair"; then export.`,
    { details: { digest } },
  );
}
