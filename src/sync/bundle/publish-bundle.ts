/**
 * The end of an import: one transaction publishes every repository of a bundle, and says that it has landed.
 *
 * A site's repository is the union of what was imported there and what bundles brought. A path that a local import filled
 * with other bytes is refused; what an earlier bundle brought may be replaced by a later one.
 */

import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Artifact } from '../../repo/catalog/artifact.ts';
import type { Catalog, Entry, Put } from '../../repo/catalog/catalog.ts';
import { untilSettled } from '../../repo/catalog/until-settled.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import {
  BUNDLE_SOURCE,
  type PackagesContext,
  type PreparedChange,
  prepareChange,
  VENDOR_KEY_PREFIX,
} from '../../repo/packages/prepare-change.ts';
import type { Leases } from '../../repo/staging.ts';
import type { Mark, SiteTrust } from '../trust/site-trust.ts';
import type { ManifestRepository } from './manifest.ts';
import { bundleName } from './names.ts';
import type { VerifiedBundle } from './verify-bundle.ts';

/** What becomes of a repository. */
export interface RepositoryChange {
  readonly repository: string;
  /** The published revision after it. */
  readonly revision: number;
  readonly added: readonly { readonly path: string; readonly digest: Digest; readonly size: number }[];
  readonly replaced: readonly { readonly path: string; readonly digest: Digest; readonly former: Digest }[];
  /** Paths that held these very bytes. */
  readonly unchanged: number;
}

interface RepositoryPlan extends Omit<RepositoryChange, 'revision'> {
  readonly kind: ManifestRepository['kind'];
  readonly base: number;
  readonly put: readonly Put[];
}

/** True for what a bundle brought, and no local import since. */
export function isFromBundle({ artifact }: Pick<Entry, 'artifact'>): boolean {
  return artifact.source.startsWith(BUNDLE_SOURCE);
}

/**
 * What the bundle would change. Nothing is changed yet.
 * @throws path.conflict naming all paths, repository.kind
 */
export async function planChanges(catalog: Catalog, { manifest }: VerifiedBundle): Promise<RepositoryPlan[]> {
  const conflicts: string[] = [];
  const plans: RepositoryPlan[] = [];
  for (const repository of manifest.repositories) {
    plans.push(await planRepository(catalog, repository, { sequence: manifest.sequence, conflicts }));
  }
  if (conflicts.length === 0) return plans;
  const named = conflicts.slice(0, limits.bundle.named).map((path) => quoteUnsafe(path));
  throw new AirlockError(
    'path.conflict',
    `${conflicts.length} paths of the bundle hold other bytes here, from an import at this site: ${named.join(', ')}${conflicts.length > named.length ? ', …' : ''}. One path has one content: find out which is right, and delete the local one or have the other taken out of the bundle.`,
    { details: { paths: conflicts.slice(0, limits.bundle.named) } },
  );
}

async function planRepository(
  catalog: Catalog,
  { name, kind, entries }: ManifestRepository,
  { sequence, conflicts }: { sequence: number; conflicts: string[] },
): Promise<RepositoryPlan> {
  const known = await catalog.repository(name);
  if (known !== undefined && known.kind !== kind) {
    throw new AirlockError(
      'repository.kind',
      `The repository ${name} is of kind ${known.kind} here, and of kind ${kind} in the bundle. Rename one of them.`,
    );
  }
  const put: Put[] = [];
  const added: { path: string; digest: Digest; size: number }[] = [];
  const replaced: { path: string; digest: Digest; former: Digest }[] = [];
  let unchanged = 0;
  for (const { path, artifact: sent } of entries) {
    const live = await catalog.lookup(name, path);
    const { digest, size } = sent;
    if (live?.artifact.digest === digest && !bringsMore(sent, live.artifact)) {
      unchanged += 1;
      continue;
    }
    if (live === undefined) added.push({ path, digest, size });
    else if (live.artifact.digest === digest) unchanged += 1;
    else if (isVendorKey(path) && !isFromBundle(live)) {
      unchanged += 1; // the key that is pinned here has the same fingerprint
      continue;
    } else if (isFromBundle(live)) replaced.push({ path, digest, former: live.artifact.digest });
    else conflicts.push(`${name}/${path}`);
    const isSame = live?.artifact.digest === digest;
    put.push({ path, artifact: isSame ? sent : { ...sent, source: `${BUNDLE_SOURCE}${sequence}` }, replace: true });
  }
  return { repository: name, kind, base: known?.published ?? 0, put, added, replaced, unchanged };
}

/** Files of vendors' keys in package repositories: routers check packages with them. */
function isVendorKey(path: string): boolean {
  return path.startsWith(VENDOR_KEY_PREFIX);
}

/** Packages that more images brought than are known here. */
function bringsMore(sent: Artifact, live: Artifact): boolean {
  const known = new Set((live.origins ?? []).map((origin) => JSON.stringify(origin)));
  return sent.kind === 'rpm' && (sent.origins ?? []).some((origin) => !known.has(JSON.stringify(origin)));
}

/**
 * Publishes a bundle whose bytes are all here.
 * @throws path.conflict, revision.moved if others publish all the time, space.insufficient
 */
export async function publishBundle(
  context: PackagesContext,
  trust: SiteTrust,
  bundle: VerifiedBundle,
  { leases, at }: { leases: Leases; at: Date },
): Promise<{ changes: RepositoryChange[]; mark: Mark }> {
  const { manifest, site } = bundle;
  const reason = `import bundle ${bundleName(site, manifest.sequence)}`;
  return await untilSettled(async () => {
    const plans = await planChanges(context.catalog, bundle);
    const packages = new Map<string, PreparedChange>();
    for (const { repository, kind, put } of plans) {
      const add = put.filter(({ path }) => !isVendorKey(path));
      if (kind !== 'rpm' || add.length === 0) continue;
      const edit = { repository, reason, add, mayReplace: isFromBundle };
      packages.set(repository, await prepareChange(context, edit, leases));
    }
    return await context.catalog.transaction(async (tx) => {
      const changes: RepositoryChange[] = [];
      for (const { repository, kind, base, put, added, replaced, unchanged } of plans) {
        await tx.ensureRepository(repository, kind);
        const change = packages.get(repository);
        // Metadata was written for the packages; keys are no content of it.
        const files = kind === 'rpm' ? put.filter(({ path }) => isVendorKey(path)) : put;
        let revision = (await change?.publish(tx)) ?? base;
        if (files.length > 0 || revision === 0) {
          revision = await tx.publish(repository, { reason, base: revision, put: files });
        }
        changes.push({ repository, revision, added, replaced, unchanged });
      }
      const mark: Mark = {
        format: 1,
        count: (bundle.mark?.count ?? 0) + 1,
        site,
        sequence: manifest.sequence,
        manifest: bundle.found.id,
        keys: [...bundle.keys],
        revisions: Object.fromEntries(changes.map(({ repository, revision }) => [repository, revision])),
        at: at.toISOString(),
      };
      await trust.recordLanding(tx, mark);
      for (const digest of leases) await tx.release(digest);
      return { changes, mark };
    });
  });
}
