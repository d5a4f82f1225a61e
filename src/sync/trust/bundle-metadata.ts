/** What keys sign that lie here: the site's role, snapshot and timestamp, anew for each bundle. */
import path from 'node:path';
import { Metadata, MetaFile, Snapshot, type TargetFile, Targets, Timestamp } from '@tufjs/models';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { addSignatures, type Kinds, metadataBytes, type Signers, sha256, signersOf } from './metadata.ts';
import type { PublisherFiles, PublisherState } from './publisher-files.ts';
import type { SigningKey } from './signing-key.ts';
import { delegatedSite } from './site-role.ts';

/** The metadata files of a bundle, by name. */
export type MetadataFiles = ReadonlyMap<string, Buffer>;

export interface BundleTargets {
  readonly site: string;
  readonly sequence: number;
  /** Files of the bundle, as `siteTarget` names them. */
  readonly targets: readonly TargetFile[];
}

/**
 * Signs a bundle: metadata that vouches for its targets, and what leads from every root to it.
 * @throws key.missing naming the role whose key is not here
 */
export async function signBundle(
  stored: PublisherFiles,
  { site, sequence, targets }: BundleTargets,
): Promise<MetadataFiles> {
  const root = await stored.root();
  const delegations = await stored.targets();
  if (delegations === undefined) throw siteNotFound(site);
  const state = await stored.state();
  const next: PublisherState = {
    ...state,
    snapshot: state.snapshot + 1,
    timestamp: state.timestamp + 1,
    sites: {
      ...state.sites,
      [site]: { sequence: Math.max(sequence, state.sites[site]?.sequence ?? 0), signed: sequence },
    },
  };
  const files = new Map<string, Buffer>();
  for (let n = 1; n <= root.signed.version; n += 1) files.set(`${n}.root.json`, await stored.read(`${n}.root.json`));
  files.set(`${delegations.signed.version}.targets.json`, delegations.bytes);
  const role = delegatedSite(delegations.signed, site);
  const own = await signed(
    stored,
    new Targets({
      ...stored.header(sequence, limits.trust.validity),
      targets: Object.fromEntries(targets.map((target) => [target.path, target])),
    }),
    site,
    role,
  );
  files.set(`${sequence}.${site}.json`, own);
  const meta: Record<string, MetaFile> = {
    'targets.json': metaFile(delegations.signed.version, delegations.bytes),
  };
  for (const [name, { signed }] of Object.entries(next.sites)) {
    if (signed > 0) meta[`${name}.json`] = name === site ? metaFile(signed, own) : new MetaFile({ version: signed });
  }
  const header = stored.header(next.snapshot, limits.trust.validity);
  const snapshot = await signed(
    stored,
    new Snapshot({ ...header, meta }),
    'snapshot',
    signersOf(root.signed, 'snapshot'),
  );
  files.set(`${next.snapshot}.snapshot.json`, snapshot);
  const snapshotMeta = metaFile(next.snapshot, snapshot);
  const above = new Timestamp({ ...stored.header(next.timestamp, limits.trust.validity), snapshotMeta });
  files.set('timestamp.json', await signed(stored, above, 'timestamp', signersOf(root.signed, 'timestamp')));
  await stored.writeState(next);
  return files;
}

async function signed(
  files: PublisherFiles,
  part: Kinds['targets' | 'snapshot' | 'timestamp'],
  name: string,
  signers: Signers,
): Promise<Buffer> {
  const stored = await files.keys.list();
  const keys = stored.filter(({ key }) => signers.role.keyIDs.includes(key.id)).map(({ key }): SigningKey => key);
  if (keys.length < signers.role.threshold) {
    throw new AirlockError(
      'key.missing',
      `The key of ${name} is not here (${signers.role.keyIDs.map((id) => id.slice(0, 16)).join(', ')}). Put it back into ${path.join(files.dir, 'private')}, or make new ones with "airlock keys rotate".`,
      { details: { role: name, keys: [...signers.role.keyIDs] } },
    );
  }
  const metadata = new Metadata(part);
  addSignatures(metadata, keys);
  return metadataBytes(metadata);
}

function metaFile(version: number, bytes: Buffer): MetaFile {
  return new MetaFile({ version, length: bytes.length, hashes: { sha256: sha256(bytes) } });
}

function siteNotFound(site: string): AirlockError {
  return new AirlockError('site.not-found', `There is no site ${site} yet. The first export to it adds it.`);
}
