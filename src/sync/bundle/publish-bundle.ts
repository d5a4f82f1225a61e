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
  isVerbatim,
  type PackageEdit,
  type PackagesContext,
  type PreparedChange,
  prepareChange,
  VENDOR_KEY_PREFIX,
} from '../../repo/packages/prepare-change.ts';
import { endLeases, type Leases } from '../../repo/staging.ts';
import type { Mark } from '../trust/high-water-mark.ts';
import type { SiteTrust } from '../trust/site-trust.ts';
import type { Manifest, ManifestRepository } from './manifest.ts';
import { bundleName } from './names.ts';
import { joinPolicyFacts } from './policy-facts.ts';
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
  /** It comes with metadata of a vendor, and is published as it is; else metadata of packages is written here. */
  readonly isVerbatim: boolean;
  readonly base: number;
  /** What is to be put, made anew from the manifest each time, and how much that is. */
  readonly put: Iterable<Put>;
  readonly puts: number;
}

/** True for what a bundle brought, and no local import since. */
export function isFromBundle({ artifact }: Pick<Entry, 'artifact'>): boolean {
  return artifact.source.startsWith(BUNDLE_SOURCE);
}

/**
 * What the bundle would change. Nothing is changed yet.
 * @throws path.conflict naming all paths, repository.kind, trust.rollback if a newer bundle has landed at the HA twin
 */
export async function planChanges(
  catalog: Catalog,
  { manifest, mark, keys }: Pick<VerifiedBundle, 'manifest' | 'mark' | 'keys'>,
): Promise<RepositoryPlan[]> {
  const landed =
    mark === undefined || keys.some((key) => mark.keys.includes(key)) ? (mark?.revisions ?? {}) : undefined;
  const conflicts: string[] = [];
  const plans: RepositoryPlan[] = [];
  for (const repository of manifest.repositories) {
    plans.push(await planRepository(catalog, repository, { manifest, landed, conflicts }));
  }
  if (conflicts.length === 0) return plans;
  const named = conflicts.slice(0, limits.bundle.named).map((path) => quoteUnsafe(path));
  throw new AirlockError(
    'path.conflict',
    `${conflicts.length} paths of the bundle hold other bytes here, from an import at this site: ${named.join(', ')}${conflicts.length > named.length ? ', …' : ''}. One path has one content: find out which is right, and delete the local one or have the other taken out of the bundle.`,
    { details: { paths: conflicts.slice(0, limits.bundle.named) } },
  );
}

/** What becomes of an entry of the manifest: left out, put with what it adds to the same bytes, put as new content. */
type Verdict = 'skip' | 'same' | 'put';

async function planRepository(
  catalog: Catalog,
  { name, kind }: ManifestRepository,
  { manifest, landed, conflicts }: { manifest: Manifest; landed: Mark['revisions'] | undefined; conflicts: string[] },
): Promise<RepositoryPlan> {
  const known = await catalog.repository(name);
  if (known !== undefined && known.kind !== kind) {
    throw new AirlockError(
      'repository.kind',
      `The repository ${name} is of kind ${known.kind} here, and of kind ${kind} in the bundle. Rename one of them.`,
    );
  }
  const verdicts: Verdict[] = [];
  const joined = new Map<string, Artifact>();
  const added: { path: string; digest: Digest; size: number }[] = [];
  const replaced: { path: string; digest: Digest; former: Digest }[] = [];
  let unchanged = 0;
  let puts = 0;
  let hasMetadata = false;
  let newest: Entry | undefined;
  for (const { path, artifact: sent } of manifest.entriesOf(name)) {
    const live = known === undefined ? undefined : await catalog.lookup(name, path);
    if (live !== undefined && isFromBundle(live)) newest = later(newest, live);
    const { digest, size } = sent;
    hasMetadata ||= sent.facts.verbatim === true;
    const isSame = live?.artifact.digest === digest;
    // A vendor's key that is pinned here has the same fingerprint.
    const isPinned = live !== undefined && !isSame && isVendorKey(path) && !isFromBundle(live);
    const more = isSame ? bringsMore(sent, live) : undefined;
    if (more !== undefined && more !== sent) joined.set(path, more);
    const isLeft = isPinned || (isSame && more === undefined);
    verdicts.push(isLeft ? 'skip' : isSame ? 'same' : 'put');
    if (!isLeft) puts += 1;
    if (isLeft || isSame) unchanged += 1;
    else if (live === undefined) added.push({ path, digest, size });
    else if (isFromBundle(live) || isOwnMetadata(sent, live))
      replaced.push({ path, digest, former: live.artifact.digest });
    else conflicts.push(`${name}/${path}`);
  }
  if (landed !== undefined && newest !== undefined && newest.since > (landed[name] ?? 0)) {
    requireNotOlder(newest, manifest.sequence);
  }
  const put = { [Symbol.iterator]: () => putsOf(manifest, name, { verdicts, joined }) };
  return {
    repository: name,
    kind,
    isVerbatim: hasMetadata,
    base: known?.published ?? 0,
    put,
    puts,
    added,
    replaced,
    unchanged,
  };
}

/** The one that was published later; of those that were together, that of the newer bundle. */
function later(one: Entry | undefined, other: Entry): Entry {
  if (one === undefined || other.since > one.since) return other;
  return other.since === one.since && sequenceOf(other) > sequenceOf(one) ? other : one;
}

/** Of the bundle that brought it. */
function sequenceOf({ artifact: { source } }: Entry): number {
  return Number(source.slice(BUNDLE_SOURCE.length));
}

/**
 * What the HA twin took from a bundle comes from there without a mark of how far the site has come: it says itself.
 * @throws trust.rollback
 */
function requireNotOlder(newest: Entry, sequence: number): void {
  const landed = sequenceOf(newest);
  if (sequence >= landed) return;
  throw new AirlockError(
    'trust.rollback',
    `This is bundle ${sequence}, and ${quoteUnsafe(`${newest.repository}/${newest.path}`)} came here from the other conductor of the pair, out of bundle ${landed}. Use the newest bundle. If the export station was set up anew since, import it at that conductor.`,
    { details: { sequence, landed } },
  );
}

function* putsOf(
  manifest: Manifest,
  name: string,
  { verdicts, joined }: { verdicts: readonly Verdict[]; joined: ReadonlyMap<string, Artifact> },
): Generator<Put, void, undefined> {
  let index = 0;
  for (const { path, artifact } of manifest.entriesOf(name)) {
    const verdict = verdicts[index];
    index += 1;
    if (verdict === 'same') yield { path, artifact: joined.get(path) ?? artifact, replace: true };
    if (verdict === 'put') {
      yield { path, artifact: { ...artifact, source: `${BUNDLE_SOURCE}${manifest.sequence}` }, replace: true };
    }
  }
}

function writesMetadata({ kind, isVerbatim }: RepositoryPlan): boolean {
  return kind === 'rpm' && !isVerbatim;
}

/** What was written here for packages makes way for a vendor's metadata. */
function isOwnMetadata(sent: Artifact, live: Entry): boolean {
  return sent.facts.verbatim === true && live.artifact.channel === 'metadata';
}

/** Files of vendors' keys in package repositories: routers check packages with them. */
function isVendorKey(path: string): boolean {
  return path.startsWith(VENDOR_KEY_PREFIX);
}

/**
 * What a bundle adds to bytes that are here: packages that more images brought than are known, what is said of policies.
 * @returns undefined if there is nothing new
 */
function bringsMore(sent: Artifact, live: Entry): Artifact | undefined {
  if (sent.kind === 'policy') return joinPolicyFacts(live.artifact, sent, isFromBundle(live));
  const known = new Set((live.artifact.origins ?? []).map((origin) => JSON.stringify(origin)));
  const isMore = sent.kind === 'rpm' && (sent.origins ?? []).some((origin) => !known.has(JSON.stringify(origin)));
  return isMore ? sent : undefined;
}

/** Where a vendor's metadata was, and is not any more, packages lie elsewhere than the vendor had them. */
async function keptAfterVerbatim(
  catalog: Catalog,
  manifest: Manifest,
  repository: string,
): Promise<Pick<PackageEdit, 'keep'>> {
  if (!(await isVerbatim(catalog, repository))) return {};
  const sent = new Set<string>();
  for (const { path } of manifest.entriesOf(repository)) sent.add(path);
  return { keep: (entry) => (isFromBundle(entry) && !sent.has(entry.path) ? 'gone' : entry.artifact) };
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
    for (const plan of plans) {
      if (!writesMetadata(plan)) continue;
      const { repository, put } = plan;
      const add = [...put].filter(({ path }) => !isVendorKey(path));
      if (add.length === 0) continue;
      const keep = await keptAfterVerbatim(context.catalog, manifest, repository);
      const edit = { repository, reason, add, mayReplace: isFromBundle, endsVerbatim: true, ...keep };
      packages.set(repository, await prepareChange(context, edit, leases));
    }
    return await context.catalog.transaction(async (tx) => {
      const changes: RepositoryChange[] = [];
      for (const plan of plans) {
        const { repository, kind, base, put, puts, added, replaced, unchanged } = plan;
        await tx.ensureRepository(repository, kind);
        const change = packages.get(repository);
        // Metadata was written for the packages; keys are no content of it.
        const files = writesMetadata(plan) ? [...put].filter(({ path }) => isVendorKey(path)) : put;
        const isEmpty = Array.isArray(files) ? files.length === 0 : puts === 0;
        let revision = (await change?.publish(tx)) ?? base;
        if (!isEmpty || revision === 0) {
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
        // What is not in this bundle stands as the bundles before left it.
        revisions: {
          ...bundle.mark?.revisions,
          ...Object.fromEntries(changes.map(({ repository, revision }) => [repository, revision])),
        },
        at: at.toISOString(),
      };
      await trust.recordLanding(tx, mark);
      await endLeases(tx, leases);
      return { changes, mark };
    });
  });
}
