/** What keys sign that lie here: the site's role, snapshot and timestamp, anew for each bundle. */
import path from 'node:path';
import { Metadata, MetaFile, type Root, Snapshot, type TargetFile, Targets, Timestamp } from '@tufjs/models';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import {
  addSignatures,
  type Document,
  type Kinds,
  metadataBytes,
  type Signers,
  sha256,
  signersOf,
} from './metadata.ts';
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

/** What stands above the metadata of each bundle. */
interface Above {
  readonly root: Document<'root'>;
  readonly delegations: Document<'targets'>;
}

/**
 * Makes sure that a bundle can be signed here, and that its site can accept what stands above its signature.
 * @throws site.not-found; trust.expired for the root; key.missing naming the role whose key is not here, or the file that
 *   the targets keys have to sign
 */
export async function requireSignable(stored: PublisherFiles, site: string): Promise<Above> {
  const root = await stored.root();
  const delegations = await stored.targets();
  if (delegations === undefined) throw siteNotFound(site);
  if (stored.isExpired(root)) throw rootExpired(root.signed);
  if (!(await stored.isGood(delegations))) throw targetsUnsigned(stored, delegations.signed);
  const keys = (await stored.keys.list()).map(({ key }) => key);
  for (const role of ['snapshot', 'timestamp'] as const) requireKeys(stored, keys, role, signersOf(root.signed, role));
  requireKeys(stored, keys, site, delegatedSite(delegations.signed, site));
  return { root, delegations };
}

/**
 * Signs a bundle: metadata that vouches for its targets, and what leads from every root to it.
 * @throws as requireSignable
 */
export async function signBundle(
  stored: PublisherFiles,
  { site, sequence, targets }: BundleTargets,
): Promise<MetadataFiles> {
  const { root, delegations } = await requireSignable(stored, site);
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
  const stored = (await files.keys.list()).map(({ key }) => key);
  const metadata = new Metadata(part);
  addSignatures(metadata, requireKeys(files, stored, name, signers));
  return metadataBytes(metadata);
}

/** @returns those of the keys that may sign. @throws key.missing if they are too few */
function requireKeys(
  files: PublisherFiles,
  stored: readonly SigningKey[],
  name: string,
  { role: { keyIDs, threshold } }: Signers,
): SigningKey[] {
  const keys = stored.filter(({ id }) => keyIDs.includes(id));
  if (keys.length >= threshold) return keys;
  throw new AirlockError(
    'key.missing',
    `The key of ${name} is not here (${keyIDs.map((id) => id.slice(0, 16)).join(', ')}). Put it back into ${path.join(files.dir, 'private')}, or make new ones with "airlock keys rotate".`,
    { details: { role: name, keys: [...keyIDs] } },
  );
}

function metaFile(version: number, bytes: Buffer): MetaFile {
  return new MetaFile({ version, length: bytes.length, hashes: { sha256: sha256(bytes) } });
}

function rootExpired({ version, expires }: Root): AirlockError {
  return new AirlockError(
    'trust.expired',
    `Root ${version} expired on ${expires}, and no site would accept what stands under it. "airlock keys rotate" makes a new one, for which the root keys are needed. If the clock of this machine is wrong, set it.`,
    { details: { name: `${version}.root.json`, expires } },
  );
}

/** The delegations lack signatures of the targets keys of the root in force, or have expired. */
function targetsUnsigned(files: PublisherFiles, { version }: Targets): AirlockError {
  const file = files.pendingFile('targets', version);
  return new AirlockError(
    'key.missing',
    `No site would accept a bundle now: the list of the sites has expired, or the targets keys of a new root have not signed it. Take ${file} to where these keys are, "airlock keys sign" it there and here, and export again.`,
    { details: { file, role: 'targets' } },
  );
}

function siteNotFound(site: string): AirlockError {
  return new AirlockError('site.not-found', `There is no site ${site} yet. The first export to it adds it.`);
}
