import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import type { Catalog, Entry } from '../../repo/catalog/catalog.ts';
import { untilSettled } from '../../repo/catalog/until-settled.ts';
import {
  isVerbatim,
  type PackageEdit,
  type PackagesContext,
  type PreparedChange,
  prepareChange,
} from '../../repo/packages/prepare-change.ts';
import { withoutImages } from '../../repo/packages/without-images.ts';
import { abandon, endLeases, Leases } from '../../repo/staging.ts';

export interface Withdrawn {
  readonly repository: string;
  readonly path: string;
  readonly digest: Digest;
}

/**
 * Takes content out of everything that is published, and out of older revisions: packages, and those in images, too.
 * All repositories at once.
 * @returns what was published of it
 */
export async function withdrawContent(
  context: PackagesContext,
  digests: ReadonlySet<Digest>,
  reason: string,
): Promise<Withdrawn[]> {
  if (digests.size === 0) return [];
  return await untilSettled(async () => {
    const leases = new Leases();
    try {
      return await withdrawOnce(context, digests, { reason, leases });
    } catch (error) {
      await abandon(context, leases);
      throw error;
    }
  });
}

async function withdrawOnce(
  context: PackagesContext,
  digests: ReadonlySet<Digest>,
  { reason, leases }: { reason: string; leases: Leases },
): Promise<Withdrawn[]> {
  const { catalog } = context;
  const inImages = withoutImages(digests);
  const keep: NonNullable<PackageEdit['keep']> = (entry) =>
    digests.has(entry.artifact.digest) ? 'withdrawn' : inImages(entry);
  const withdrawn: Withdrawn[] = [];
  const packages: PreparedChange[] = [];
  const files: { name: string; base: number; paths: string[] }[] = [];
  for (const { name, kind, published } of await catalog.repositories()) {
    const hit: Entry[] = [];
    for await (const entry of catalog.entries(name, published)) {
      const goes = kind === 'rpm' ? keep(entry) === 'withdrawn' : digests.has(entry.artifact.digest);
      if (goes) hit.push(entry);
    }
    if (hit.length === 0) continue;
    withdrawn.push(...hit.map(({ path, artifact }) => ({ repository: name, path, digest: artifact.digest })));
    if (kind === 'rpm' && !(await isVerbatim(catalog, name)))
      packages.push(await prepareChange(context, { repository: name, reason, keep }, leases));
    else files.push({ name, base: published, paths: hit.map(({ path }) => path) });
  }
  const former = [...digests, ...(await packagesOf(catalog, digests))];
  await catalog.transaction(async (tx) => {
    for (const { name, base, paths } of files) await tx.publish(name, { reason, base, withdraw: paths });
    for (const change of packages) await change.publish(tx);
    await tx.withdrawFormer(former, reason);
    await endLeases(tx, leases);
  });
  return withdrawn;
}

/** Packages that, whichever revision one asks, came out of nothing but these images. */
async function packagesOf(catalog: Catalog, images: ReadonlySet<Digest>): Promise<Digest[]> {
  const found: Digest[] = [];
  const isOnlyInThem = ({ origins = [] }: Artifact) =>
    origins.length > 0 && origins.every(({ within }) => within !== null && images.has(within.container));
  const limit = limits.catalog.page;
  for (const container of images) {
    let page = await catalog.slicesOf(container, { limit });
    while (page.length > 0) {
      for (const { digest } of page) if ((await catalog.artifactsOf(digest)).every(isOnlyInThem)) found.push(digest);
      const after = page.at(-1)?.digest;
      page = after === undefined ? [] : await catalog.slicesOf(container, { after, limit });
    }
  }
  return found;
}
