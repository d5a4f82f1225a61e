/**
 * What keys sign that may lie offline: roots, and the targets metadata that delegates to the sites. Signatures are
 * collected where the keys are; what has all of them comes into force.
 */
import { rm } from 'node:fs/promises';
import { type Key, Metadata, Root, Targets } from '@tufjs/models';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { writeFileDurably } from '../../repo/blobs/durable.ts';
import {
  addSignatures,
  type Document,
  type Kind,
  metadataBytes,
  type Signers,
  signedBy,
  signersOf,
} from './metadata.ts';
import type { PublisherFiles } from './publisher-files.ts';

/** What became of metadata that was signed. */
export interface SigningOutcome {
  readonly file: string;
  readonly role: Kind;
  readonly version: number;
  /** Signatures by keys that must sign it, and how many are needed; the new keys' for a root, then the former ones'. */
  readonly counts: readonly { readonly signed: number; readonly threshold: number }[];
  /** It has all its signatures. */
  readonly complete: boolean;
  /** It is in force here now. */
  readonly adopted: boolean;
  /** After a new root: the delegations, which had to be signed again. Null: they had not. */
  readonly delegations: SigningOutcome | null;
}

/** Metadata that lacks signatures. */
export interface Unsigned {
  readonly kind: 'root' | 'targets';
  readonly metadata: Metadata<Root | Targets>;
  /** Where it waits for more of them. */
  readonly file: string;
}

type Json = NonNullable<Parameters<typeof Targets.fromJSON>[0][string]>;

/** Signs with what is here; writes to `file`, or puts it in force. */
export async function signAndAdopt(files: PublisherFiles, { kind, metadata, file }: Unsigned): Promise<SigningOutcome> {
  const { signed } = metadata;
  const former = files.rootVersions() === 0 ? undefined : await files.root();
  const demands = demandsOn(signed, kind, former?.signed);
  const stored = await files.keys.list();
  const may = new Set(demands.flatMap(({ role }) => role.keyIDs));
  addSignatures(
    metadata,
    stored.filter(({ key }) => may.has(key.id)).map(({ key }) => key),
  );
  const counts = demands.map((signers) => ({
    signed: signedBy(metadata, signers).length,
    threshold: signers.role.threshold,
  }));
  const complete = counts.every(({ signed: by, threshold }) => by >= threshold);
  const adopted = complete && former !== undefined && (await adopt(files, { kind, metadata }, former));
  const delegations = adopted && kind === 'root' ? ((await resignTargets(files)) ?? null) : null;
  const pending = files.pendingFile(kind, signed.version);
  // A file that was brought here goes back signed, whoever it is of use to.
  if (!adopted || file !== pending) await writeFileDurably(file, metadataBytes(metadata));
  if (adopted) await rm(pending, { force: true });
  return { file, role: kind, version: signed.version, counts, complete, adopted, delegations };
}

/** @returns false if it does not follow on what is in force here */
async function adopt(
  files: PublisherFiles,
  { kind, metadata }: Omit<Unsigned, 'file'>,
  former: Document<'root'>,
): Promise<boolean> {
  const { version } = metadata.signed;
  if (kind === 'root') {
    if (version !== former.signed.version + 1) return false;
    await files.write(`${version}.root.json`, metadataBytes(metadata));
    return true;
  }
  if (version <= ((await files.targets())?.signed.version ?? 0)) return false;
  await files.write('targets.json', metadataBytes(metadata));
  return true;
}

/**
 * Sees to it that sites can accept the delegations: that the targets keys of the root in force signed them, and that they
 * have not expired.
 * @returns undefined if they can; else what came of signing them again: without the keys, they wait for them in a file
 */
export async function resignTargets(files: PublisherFiles): Promise<SigningOutcome | undefined> {
  const targets = await files.targets();
  if (targets === undefined || !files.givesNumbers() || (await files.isGood(targets))) return undefined;
  const waiting = await files.waitingTargets();
  // A rotation may have put new keys for the sites in there.
  if (waiting !== undefined && waiting.signed.version > targets.signed.version && !files.isExpired(waiting)) {
    return await signAndAdopt(files, {
      kind: 'targets',
      metadata: waiting.metadata,
      file: files.pendingFile('targets', waiting.signed.version),
    });
  }
  return await delegate(files, Object.keys(targets.signed.delegations?.roles ?? {}), { fresh: false });
}

/** Targets metadata that delegates to these sites. */
export async function delegate(
  files: PublisherFiles,
  sites: readonly string[],
  { fresh }: { fresh: boolean },
): Promise<SigningOutcome> {
  const targets = await files.targets();
  const state = await files.state();
  const version = Math.max(state.targets, targets?.signed.version ?? 0) + 1;
  await files.writeState({ ...state, targets: version });
  const keys: Record<string, Key> = {};
  const roles: Json[] = [];
  for (const site of sites) {
    const former = targets?.signed.delegations;
    const role = fresh ? undefined : former?.roles?.[site];
    const own = role?.keyIDs.flatMap((id) => former?.keys[id] ?? []) ?? (await siteKeys(files, site, fresh));
    for (const key of own) keys[key.keyID] = key;
    roles.push({
      name: site,
      keyids: own.map(({ keyID }) => keyID),
      threshold: role?.threshold ?? 1,
      terminating: true,
      paths: [`${site}/*`],
    });
  }
  const keysJson = Object.fromEntries(Object.entries(keys).map(([id, key]) => [id, key.toJSON()]));
  const document = Targets.fromJSON({
    ...new Targets(files.header(version, limits.trust.offlineValidity)).toJSON(),
    delegations: { keys: keysJson, roles },
  });
  return await signAndAdopt(files, {
    kind: 'targets',
    metadata: new Metadata(document),
    file: files.pendingFile('targets', version),
  });
}

/** A key that an attempt which could not be signed has made is taken again. */
async function siteKeys(files: PublisherFiles, site: string, fresh: boolean): Promise<Key[]> {
  const there = fresh ? undefined : (await files.keys.list()).findLast(({ label }) => label === siteLabel(site));
  return [(there ?? (await files.keys.make(siteLabel(site)))).key.publicKey];
}

/** Who must sign: a root by its own keys and those of the one before it, targets by those that the root names. */
function demandsOn(signed: Root | Targets, kind: 'root' | 'targets', former: Root | undefined): Signers[] {
  if (signed instanceof Root) {
    const before = former === undefined || former.version >= signed.version ? [] : [signersOf(former, 'root')];
    return [signersOf(signed, 'root'), ...before];
  }
  if (former === undefined) throw new AirlockError('key.not-found', 'There is no root here to tell who may sign this.');
  return [signersOf(former, kind)];
}

function siteLabel(site: string): string {
  return `site-${site}`;
}
