/**
 * What lies on a medium: for `bundle inspect`, which believes what is written there and says whether that is signed, and
 * for `bundle verify`, which reads every byte. Neither changes anything.
 */
import { AirlockError } from '../../errors.ts';
import type { BlobStore } from '../../repo/blobs/blob-store.ts';
import type { Progress } from '../../repo/progress.ts';
import { heard, type StagingOptions } from '../../repo/staging.ts';
import type { Carrier } from '../carriers/carrier.ts';
import type { SiteTrust } from '../trust/site-trust.ts';
import { type FoundBundle, type FoundFolder, findBundles, volumeFolders } from './find-bundles.ts';
import type { LocalBytes } from './local-bytes.ts';
import { copyManifest } from './local-manifest.ts';
import { carriedBytes, type Manifest, type ManifestVolume, neededBytes } from './manifest.ts';
import { bundleName } from './names.ts';
import { sha256Of } from './put-file.ts';
import { readManifest } from './read-manifest.ts';
import { chooseBundle, verifyBundle } from './verify-bundle.ts';

/** Manifests are copied to `blobs` while they are read. */
export interface InspectContext {
  readonly trust: SiteTrust;
  readonly blobs: Pick<BlobStore, 'create'>;
}

/** `where`: null if it is not here. */
export interface InspectedFile {
  readonly name: string;
  readonly size: number;
  readonly where: string | null;
}

export interface InspectedBundle {
  readonly bundle: string;
  readonly site: string;
  readonly sequence: number;
  readonly created: string;
  /** SHA-256 of the manifest. */
  readonly manifest: string;
  readonly where: readonly string[];
  /** It was written to its end. */
  readonly committed: boolean;
  /** The sequence that the site must have for it; null: none. */
  readonly base: number | null;
  readonly repositories: readonly { readonly name: string; readonly kind: string; readonly entries: number }[];
  readonly volumes: readonly InspectedFile[];
  /** The parity volume; null: the bundle was made without. */
  readonly parity: InspectedFile | null;
  /** Bytes in volumes, and bytes that the import needs free. */
  readonly bytes: number;
  readonly needed: number;
  /** Whether this site would take it. */
  readonly trust:
    | { readonly ok: true; readonly landed: boolean; readonly expires: string; readonly keys: readonly string[] }
    | { readonly ok: false; readonly code: string; readonly message: string };
}

/**
 * @param note told what could not be looked into
 * @throws file.not-found, bundle.not-found, bundle.incomplete if there are only parts without a manifest
 */
export async function inspectBundles(
  { trust, blobs }: InspectContext,
  places: readonly Carrier[],
  note: Progress['note'],
): Promise<InspectedBundle[]> {
  const onMedia = await findBundles(places);
  for (const warning of onMedia.warnings) note(warning);
  const { bundles } = onMedia;
  if (bundles.length === 0) await chooseBundle(trust, onMedia);
  const inspected: InspectedBundle[] = [];
  for (const found of bundles) {
    await using copy = await copyManifest(blobs, found);
    const manifest = await readManifest(copy);
    const carried = [...manifest.blobs.values()];
    const folders = volumeFolders(found, onMedia);
    inspected.push({
      bundle: bundleName(manifest.site, manifest.sequence),
      site: manifest.site,
      sequence: manifest.sequence,
      created: manifest.created,
      manifest: found.id,
      where: found.folders.map(({ carrier }) => carrier.where),
      committed: found.folders.some(({ committed }) => committed),
      base: manifest.base?.sequence ?? null,
      repositories: manifest.repositories.map(({ name, kind, entries }) => ({ name, kind, entries })),
      volumes: manifest.volumes.map((volume) => placed(volume, folders)),
      parity: manifest.parity === undefined ? null : placed(manifest.parity, folders),
      bytes: carried.reduce((sum, blob) => sum + carriedBytes(blob), 0),
      needed: carried.reduce((sum, blob) => sum + neededBytes(blob), 0),
      trust: await judged(trust, found, copy),
    });
  }
  return inspected;
}

function placed({ name, size }: ManifestVolume, folders: readonly FoundFolder[]): InspectedFile {
  return { name, size, where: folders.find(({ volumes }) => volumes.includes(name))?.carrier.where ?? null };
}

async function judged(trust: SiteTrust, found: FoundBundle, copy: LocalBytes): Promise<InspectedBundle['trust']> {
  try {
    const bundle = await verifyBundle(trust, found, { acceptExpired: false, keepRoot: false, copy: async () => copy });
    const { isLanded, expires, signedBy } = bundle;
    return { ok: true, landed: isLanded, expires, keys: signedBy };
  } catch (error) {
    if (!(error instanceof AirlockError)) throw error;
    return { ok: false, code: error.code, message: error.message };
  }
}

export interface VerifiedVolumes {
  readonly bundle: string;
  readonly site: string;
  readonly sequence: number;
  readonly expired: readonly string[];
  readonly volumes: readonly VerifiedFile[];
  /** The one volume that is damaged or missing, and that an import rebuilds with the parity volume; null: none. */
  readonly rebuildable: string | null;
}

export interface VerifiedFile {
  readonly name: string;
  readonly where: string | null;
  readonly status: 'good' | 'damaged' | 'missing';
}

/** Reads and hashes all volumes of the newest bundle, and the program beside them. @throws as importBundle before it reads volumes */
export async function verifyVolumes(
  { trust, blobs }: InspectContext,
  places: readonly Carrier[],
  options: StagingOptions & { readonly acceptExpired: boolean },
): Promise<VerifiedVolumes> {
  const onMedia = await findBundles(places);
  for (const warning of onMedia.warnings) options.progress.note(warning);
  const found = await chooseBundle(trust, onMedia);
  await using copy = await copyManifest(blobs, found);
  const bundle = await verifyBundle(trust, found, { ...options, keepRoot: false, copy: async () => copy });
  const { site, manifest, volumes: targets, expired } = bundle;
  const folders = volumeFolders(found, onMedia);
  const { parity } = manifest;
  const listed = parity === undefined ? manifest.volumes : [...manifest.volumes, parity];
  const volumes: VerifiedFile[] = [];
  options.progress.start(
    'verify',
    listed.reduce((sum, { size }) => sum + size, 0),
  );
  for (const { name } of listed) {
    const there = folders.filter((folder) => folder.volumes.includes(name));
    let where = there[0]?.carrier.where ?? null;
    let status: VerifiedFile['status'] = there.length === 0 ? 'missing' : 'damaged';
    for (const { carrier } of there) {
      if ((await sha256Of(carrier, name, { onRead: heard(options) })) !== targets.get(name)?.sha256) continue;
      [where, status] = [carrier.where, 'good'];
      break;
    }
    volumes.push({ name, where, status });
  }
  const rebuildable = rebuildableOf(manifest, volumes);
  for (const [name, sha256] of bundle.programs) {
    for (const { carrier } of folders) {
      const found = await sha256Of(carrier, name, { onRead: heard(options) });
      if (found === undefined) continue; // it need not be on every medium, or on any
      volumes.push({ name, where: carrier.where, status: found === sha256 ? 'good' : 'damaged' });
    }
  }
  options.progress.stop();
  const { sequence } = manifest;
  return { bundle: bundleName(site, sequence), site, sequence, expired, volumes, rebuildable };
}

function rebuildableOf({ parity }: Manifest, volumes: readonly VerifiedFile[]): string | null {
  const [lost, ...others] = volumes.filter(({ status }) => status !== 'good');
  return parity === undefined || lost === undefined || lost.name === parity.name || others.length > 0
    ? null
    : lost.name;
}
