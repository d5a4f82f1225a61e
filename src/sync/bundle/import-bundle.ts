/**
 * `import bundle`: from media into the repositories of a site, all of it or nothing. First who signed it and whether all
 * is there, then revocations, then the bytes, the site's own scanner, and last one transaction. Nothing is written to the media.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { PackagesContext } from '../../repo/packages/prepare-change.ts';
import { abandon, Leases, type StagingOptions, throwIfAborted } from '../../repo/staging.ts';
import type { Carrier } from '../carriers/carrier.ts';
import type { SiteTrust } from '../trust/site-trust.ts';
import { bringBlobs, findMissing, type MissingBlobs } from './bring-blobs.ts';
import { type FoundBundle, type FoundOnMedia, findBundles, volumeFolders } from './find-bundles.ts';
import { copyManifest } from './local-manifest.ts';
import { carriedBytes } from './manifest.ts';
import { bundleName } from './names.ts';
import { planChanges, publishBundle, type RepositoryChange } from './publish-bundle.ts';
import { type Scanner, type ScanReport, scanNew } from './scan.ts';
import { chooseBundle, type VerifiedBundle, verifyBundle } from './verify-bundle.ts';
import { VolumeSet } from './volume-set.ts';
import { type Withdrawn, withdrawContent } from './withdraw.ts';

export interface ImportBundleContext {
  readonly packages: PackagesContext;
  readonly trust: SiteTrust;
  readonly now: () => Date;
}

export interface ImportBundleOptions extends StagingOptions {
  readonly acceptExpired: boolean;
  /** Looks at what came before anybody else does. Default: none. */
  readonly scanner?: Scanner;
}

/** What came, from where, signed by whom, and what it replaced. */
export interface ImportBundleReport {
  readonly outcome: 'imported' | 'present';
  readonly bundle: string;
  readonly site: string;
  /** This bundle gave the site its name. */
  readonly boundSite: boolean;
  readonly sequence: number;
  readonly created: string;
  readonly importedAt: string;
  /** SHA-256 of the manifest. */
  readonly manifest: string;
  readonly signatures: {
    readonly rootVersion: number;
    readonly keys: readonly string[];
    readonly expires: string;
    /** Metadata that has expired, and was accepted because somebody said so. */
    readonly acceptedExpired: readonly string[];
  };
  readonly volumes: readonly { readonly name: string; readonly where: string }[];
  /** The volume that was made up for by the parity volume and the others; null: none. */
  readonly rebuilt: VolumeSet['rebuilt'];
  /** What was read, and what was here already. */
  readonly blobs: {
    readonly read: number;
    /** Bytes that were read, and how many of the blobs were made from deltas. */
    readonly bytes: number;
    readonly made: number;
    readonly present: number;
  };
  /** What the scanner said; null: none was asked. */
  readonly scan: ScanReport | null;
  readonly repositories: readonly RepositoryChange[];
  readonly revoked: readonly Withdrawn[];
  /** For the person in front: what lies on the media and was passed over. */
  readonly warnings: readonly string[];
}

/**
 * @param places what holds the bundle or some of it; they stay the caller's
 * @throws data.locked while another import runs; what findBundles, verifyBundle, VolumeSet.open, planChanges,
 *   bringBlobs and scanNew throw
 */
export async function importBundle(
  context: ImportBundleContext,
  places: readonly Carrier[],
  options: ImportBundleOptions,
): Promise<ImportBundleReport> {
  const found = await findBundles(places); // says first of all if nothing is there
  return await context.trust.exclusively(() => importFound(context, found, options));
}

async function importFound(
  context: ImportBundleContext,
  found: FoundOnMedia,
  options: ImportBundleOptions,
): Promise<ImportBundleReport> {
  const chosen = await chooseBundle(context.trust, found);
  await using copies = new AsyncDisposableStack();
  const copy = async () => copies.use(await copyManifest(context.packages.blobs, chosen));
  const bundle = await verifyBundle(context.trust, chosen, { ...options, copy });
  const folders = volumeFolders(chosen, found);
  const leases = new Leases();
  try {
    const revoked = await applyRevocations(context, bundle);
    await planChanges(context.packages.catalog, bundle);
    const missing = await findMissing(context.packages, bundle.manifest, leases);
    const volumes = await VolumeSet.open(bundle, missing.carried, { ...options, folders });
    try {
      await bringAll(context, bundle, missing, { volumes, options, leases });
      const { scanner } = options;
      const scan = scanner === undefined ? null : await scanNew(context.packages, bundle.manifest, scanner, options);
      throwIfAborted(options.signal);
      const at = context.now();
      const repositories = await land(context, bundle, { leases, at });
      const { carried } = missing;
      const read = carried.length;
      return {
        ...factsOf(bundle),
        outcome: bundle.isLanded && read === 0 && repositories.every(isUnchanged) ? 'present' : 'imported',
        importedAt: at.toISOString(),
        volumes: volumes.places(),
        rebuilt: volumes.rebuilt,
        blobs: readOf(carried, bundle.manifest),
        scan,
        repositories,
        revoked,
        warnings: passedOver(found, chosen, volumes.places()),
      };
    } finally {
      await volumes.close();
    }
  } catch (error) {
    await abandon(context.packages, leases);
    throw error;
  }
}

/** A volume that turns out to be damaged is rebuilt, if that can be, and what is still missing is read from that. */
async function bringAll(
  { packages }: ImportBundleContext,
  { manifest }: VerifiedBundle,
  missing: MissingBlobs,
  { volumes, options, leases }: { volumes: VolumeSet; options: ImportBundleOptions; leases: Leases },
): Promise<void> {
  for (let left = missing; ; left = await findMissing(packages, manifest, leases)) {
    try {
      return await bringBlobs(packages, manifest, left, { volumes, options });
    } catch (error) {
      if (!(await volumes.mend(error))) throw error;
    }
  }
}

/** Bundles that were not finished, and others than the one that was taken. */
function passedOver(
  { bundles, strays, warnings }: FoundOnMedia,
  chosen: FoundBundle,
  used: readonly { readonly where: string }[],
): string[] {
  const unfinished = strays.filter(({ carrier }) => !used.some(({ where }) => where === carrier.where));
  const newer = bundles.filter((each) => each !== chosen && each.claims.sequence > chosen.claims.sequence);
  return [
    ...unfinished.map(
      ({ carrier }) =>
        `${quoteUnsafe(carrier.where)} holds a bundle that was not finished, or volumes that were not needed: it was passed over`,
    ),
    ...newer.map(({ claims }) => `bundle ${claims.sequence} for ${claims.site} was passed over`),
    ...warnings,
  ];
}

/** One that has landed, and of which nothing is missing, is left alone; what a process that died did not get to is done. */
async function land(
  { packages, trust }: ImportBundleContext,
  bundle: VerifiedBundle,
  options: { leases: Leases; at: Date },
): Promise<RepositoryChange[]> {
  const plans = bundle.isLanded ? await planChanges(packages.catalog, bundle) : [];
  if (bundle.isLanded && plans.every(({ puts }) => puts === 0)) {
    await abandon(packages, options.leases);
    const { mark, verified, created } = bundle;
    if (mark !== undefined && verified.has('timestamp')) await trust.landed(mark, verified, created);
    return plans.map(({ repository, base, added, replaced, unchanged }) => {
      return { repository, revision: base, added, replaced, unchanged };
    });
  }
  const { changes, mark } = await publishBundle(packages, trust, bundle, options);
  await trust.landed(mark, bundle.verified, bundle.created);
  return changes;
}

function readOf(carried: MissingBlobs['carried'], { blobs }: VerifiedBundle['manifest']): ImportBundleReport['blobs'] {
  return {
    read: carried.length,
    bytes: carried.reduce((sum, blob) => sum + carriedBytes(blob), 0),
    made: carried.filter((blob) => blob.in === 'delta').length,
    present: blobs.size - carried.length,
  };
}

function isUnchanged({ added, replaced }: RepositoryChange): boolean {
  return added.length === 0 && replaced.length === 0;
}

/** First of all, and also to what has landed. @throws trust.revoked if the bundle brings what its own list revokes */
async function applyRevocations(
  { packages, trust }: ImportBundleContext,
  bundle: VerifiedBundle,
): Promise<Withdrawn[]> {
  const { list, bytes } = bundle.revocations;
  const revoked = new Set<Digest>(list.revoked.map(({ digest }) => digest));
  const brought = [...revoked].filter((digest) => bundle.manifest.blobs.has(digest));
  if (brought.length > 0) {
    throw new AirlockError(
      'trust.revoked',
      `The bundle brings content that was revoked (${brought[0]}). Ask for a new bundle.`,
      { details: { revoked: brought.slice(0, limits.bundle.named) } },
    );
  }
  const reason = `revoked by bundle ${bundleName(bundle.site, bundle.manifest.sequence)}`;
  const withdrawn = await withdrawContent(packages, revoked, reason);
  await trust.keepRevocations(bytes, bundle.keys);
  return withdrawn;
}

function factsOf(
  bundle: VerifiedBundle,
): Pick<ImportBundleReport, 'bundle' | 'site' | 'boundSite' | 'sequence' | 'created' | 'manifest' | 'signatures'> {
  const { site, manifest } = bundle;
  return {
    bundle: bundleName(site, manifest.sequence),
    site,
    boundSite: bundle.bindsSite,
    sequence: manifest.sequence,
    created: bundle.created.toISOString(),
    manifest: bundle.found.id,
    signatures: {
      rootVersion: bundle.rootVersion,
      keys: bundle.signedBy,
      expires: bundle.expires,
      acceptedExpired: bundle.expired,
    },
  };
}
