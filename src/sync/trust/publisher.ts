/**
 * The side that signs bundles. Its roles (design: TUF): root and targets, whose keys may lie offline; snapshot,
 * timestamp and one delegated role for each site, whose keys lie here.
 *
 * ```
 * DATA/keys/publisher/private/<role>.<id>.pem      private keys; those of root and targets may be moved away
 * DATA/keys/publisher/metadata/<n>.root.json       every root there was
 * DATA/keys/publisher/metadata/targets.json        the delegations
 * DATA/keys/publisher/metadata/<n>.root.pending.json, targets.pending.json   waiting for more signatures
 * DATA/keys/publisher/state.json                   versions and sequences that were given out
 * ```
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Key, Metadata, MetaFile, Root, Snapshot, type TargetFile, Targets, Timestamp } from '@tufjs/models';
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { ProcessLock } from '../../repo/blobs/process-lock.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { KeyStore, type StoredKey } from './key-store.ts';
import {
  addSignatures,
  type Document,
  type Kind,
  type Kinds,
  metadataBytes,
  parseMetadata,
  type Signers,
  sha256,
  signedBy,
  signersOf,
} from './metadata.ts';
import type { SigningKey } from './signing-key.ts';
import { siteName } from './site-name.ts';
import { delegatedSite } from './site-role.ts';

export interface PublisherOptions {
  readonly dataDir: string;
  readonly now: () => Date;
}

/** What `keys show` tells. */
export interface PublisherFacts {
  /** Of the root in force: what sites compare when they add it. */
  readonly fingerprint: string;
  readonly rootVersion: number;
  readonly rootExpires: string;
  readonly roles: readonly RoleFacts[];
  /** Files that wait for more signatures. */
  readonly pending: readonly string[];
}

export interface RoleFacts {
  readonly role: string;
  readonly threshold: number;
  readonly keys: readonly { readonly id: string /** Null: it is not here. */; readonly file: string | null }[];
}

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
}

/** The metadata files of a bundle, by name. */
export type MetadataFiles = ReadonlyMap<string, Buffer>;

const stateSchema = z.strictObject({
  format: z.literal(1),
  snapshot: z.number().int().nonnegative(),
  timestamp: z.number().int().nonnegative(),
  targets: z.number().int().nonnegative(),
  sites: z.record(
    z.string(),
    z.strictObject({ sequence: z.number().int().nonnegative(), signed: z.number().int().nonnegative() }),
  ),
});
type State = z.infer<typeof stateSchema>;

/** Opens what there is. Several processes may; changes are made one at a time. */
export class Publisher {
  readonly keys: KeyStore;
  readonly #dir: string;
  readonly #now: () => Date;

  constructor({ dataDir, now }: PublisherOptions) {
    this.#dir = path.join(dataDir, 'keys', 'publisher');
    this.#now = now;
    this.keys = new KeyStore(path.join(this.#dir, 'private'));
  }

  /** Makes all keys and the first root. @throws key.invalid if there are keys already; usage.invalid */
  async init({
    threshold = 1,
    signers = threshold,
  }: {
    threshold?: number;
    signers?: number;
  } = {}): Promise<PublisherFacts> {
    if (threshold > signers || signers > limits.trust.signers) {
      throw new AirlockError(
        'usage.invalid',
        `--threshold ${threshold} of --signers ${signers} cannot be: there are 1 to ${limits.trust.signers} signers, and the threshold is not above them.`,
      );
    }
    return await this.#locked(async () => {
      if (this.#rootVersions() > 0) {
        throw new AirlockError(
          'key.invalid',
          'There are keys already. "airlock keys show" lists them, "airlock keys rotate" makes new ones that sites accept.',
        );
      }
      const root = new Root({ ...this.#header(1, limits.trust.offlineValidity), consistentSnapshot: true });
      const made: StoredKey[] = [];
      for (const role of ['root', 'targets', 'snapshot', 'timestamp'] as const) {
        const isOffline = role === 'root' || role === 'targets';
        for (let n = 0; n < (isOffline ? signers : 1); n += 1) {
          const stored = await this.keys.make(role);
          root.addKey(stored.key.publicKey, role);
          made.push(stored);
        }
        Object.assign(root.roles[role] ?? {}, { threshold: isOffline ? threshold : 1 });
      }
      const metadata = new Metadata(root);
      addSignatures(
        metadata,
        made.filter(({ label }) => label === 'root').map(({ key }) => key),
      );
      await this.#writeState({ format: 1, snapshot: 0, timestamp: 0, targets: 0, sites: {} });
      await this.#write('1.root.json', metadataBytes(metadata));
      return await this.facts();
    });
  }

  /** @throws key.not-found before `init` */
  async facts(): Promise<PublisherFacts> {
    const root = await this.root();
    const stored = await this.keys.list();
    const facts = (role: string, { role: { keyIDs, threshold } }: Signers): RoleFacts => ({
      role,
      threshold,
      keys: keyIDs.map((id) => ({ id, file: stored.find(({ key }) => key.id === id)?.file ?? null })),
    });
    const top = (['root', 'targets', 'snapshot', 'timestamp'] as const).map((role) =>
      facts(role, signersOf(root.signed, role)),
    );
    const targets = await this.#targets();
    const sites = Object.entries(targets?.signed.delegations?.roles ?? {});
    return {
      fingerprint: sha256(root.bytes),
      rootVersion: root.signed.version,
      rootExpires: root.signed.expires,
      roles: [...top, ...sites.map(([name, role]) => facts(name, { keys: {}, role }))],
      pending: this.#pendingFiles(root.signed.version),
    };
  }

  /** The root in force. @throws key.not-found before `init` */
  async root(): Promise<Document<'root'>> {
    const version = this.#rootVersions();
    if (version === 0) {
      throw new AirlockError('key.not-found', 'There are no signing keys yet. Make them with "airlock keys init".');
    }
    return parseMetadata('root', await this.#read(`${version}.root.json`), `${version}.root.json`);
  }

  /**
   * New keys for snapshot, timestamp and every site; with `offline`, for root and targets, too. Sites accept them without
   * a new root file. What lacks signatures waits in a file for `sign`.
   * @throws key.not-found
   */
  async rotate({ offline = false }: { offline?: boolean } = {}): Promise<SigningOutcome[]> {
    return await this.#locked(async () => {
      const former = await this.root();
      const next = Root.fromJSON(former.signed.toJSON());
      const root = new Root({
        ...this.#header(former.signed.version + 1, limits.trust.offlineValidity),
        keys: {},
        roles: next.roles,
        consistentSnapshot: true,
      });
      for (const role of ['root', 'targets', 'snapshot', 'timestamp'] as const) {
        const now = next.roles[role];
        if (now === undefined) continue;
        const isKept = (role === 'root' || role === 'targets') && !offline;
        const keys = isKept
          ? now.keyIDs.flatMap((id) => next.keys[id] ?? [])
          : await this.#makeKeys(role, now.keyIDs.length);
        now.keyIDs.length = 0;
        for (const key of keys) root.addKey(key, role);
      }
      const file = this.#pendingFile('root', root.version);
      const outcomes = [await this.#signAndAdopt('root', new Metadata(root), file)];
      const targets = await this.#targets();
      const sites = Object.keys(targets?.signed.delegations?.roles ?? {});
      if (targets !== undefined) outcomes.push(await this.#delegate(sites, { fresh: true }));
      return outcomes;
    });
  }

  /**
   * Adds the signatures of all keys that are here and may sign to a file of root or targets metadata. One that is ours,
   * follows on the one in force and has all its signatures is put in force.
   * @throws file.not-found, trust.invalid, key.missing if none of the keys is here
   */
  async sign(file: string): Promise<SigningOutcome> {
    const bytes = await readSmallFile(file, limits.trust.targetsBytes, { otherwise: 'trust.invalid' });
    if (bytes === undefined) throw new AirlockError('file.not-found', `There is no file ${file}.`);
    const isRoot = bytes.includes('"_type": "root"') || bytes.includes('"_type":"root"');
    const kind = isRoot ? 'root' : 'targets';
    const { metadata } = parseMetadata<'root' | 'targets'>(kind, bytes, file);
    const outcome = await this.#locked(() => this.#signAndAdopt(kind, metadata, path.resolve(file)));
    if (outcome.counts.some(({ signed }) => signed > 0)) return outcome;
    throw new AirlockError(
      'key.missing',
      `None of the keys that may sign ${file} is here. Put one into ${path.join(this.#dir, 'private')}, or sign where they are.`,
    );
  }

  /** Makes sure that a site has a role, signing with the targets keys if it has none. @throws key.missing, usage.invalid */
  async ensureSite(site: string): Promise<void> {
    siteName(site);
    await this.#locked(async () => {
      const targets = await this.#targets();
      const known = Object.keys(targets?.signed.delegations?.roles ?? {});
      if (known.includes(site)) return;
      const outcome = await this.#delegate([...known, site], { fresh: false });
      if (outcome.adopted) return;
      const [count] = outcome.counts;
      throw new AirlockError(
        'key.missing',
        `The site ${site} has to be added with the targets keys: ${count?.signed ?? 0} of ${count?.threshold ?? 1} signatures are there, and the other keys are not here. Take ${outcome.file} to where they are, "airlock keys sign" it there and here, and export again.`,
        { details: { file: outcome.file, role: 'targets' } },
      );
    });
  }

  /** Sites that were added. */
  async sites(): Promise<string[]> {
    return Object.keys((await this.#targets())?.signed.delegations?.roles ?? {});
  }

  /** The next sequence of a site, which nobody gets again. */
  async takeSequence(site: string): Promise<number> {
    return await this.#locked(async () => {
      const state = await this.#state();
      const known = state.sites[site] ?? { sequence: 0, signed: 0 };
      const sequence = known.sequence + 1;
      await this.#writeState({ ...state, sites: { ...state.sites, [site]: { ...known, sequence } } });
      return sequence;
    });
  }

  /**
   * Signs a bundle: metadata that vouches for its targets, and what leads from every root to it.
   * @param targets files of the bundle, as `siteTarget` names them
   * @throws key.missing naming the role whose key is not here
   */
  async signBundle(site: string, sequence: number, targets: readonly TargetFile[]): Promise<MetadataFiles> {
    return await this.#locked(async () => {
      const root = await this.root();
      const delegations = await this.#targets();
      if (delegations === undefined) throw siteNotFound(site);
      const state = await this.#state();
      const next: State = {
        ...state,
        snapshot: state.snapshot + 1,
        timestamp: state.timestamp + 1,
        sites: {
          ...state.sites,
          [site]: { sequence: Math.max(sequence, state.sites[site]?.sequence ?? 0), signed: sequence },
        },
      };
      const files = new Map<string, Buffer>();
      for (let n = 1; n <= root.signed.version; n += 1) files.set(`${n}.root.json`, await this.#read(`${n}.root.json`));
      files.set(`${delegations.signed.version}.targets.json`, delegations.bytes);
      const role = delegatedSite(delegations.signed, site);
      const own = await this.#signed(
        new Targets({
          ...this.#header(sequence, limits.trust.validity),
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
        if (signed > 0)
          meta[`${name}.json`] = name === site ? metaFile(signed, own) : new MetaFile({ version: signed });
      }
      const header = this.#header(next.snapshot, limits.trust.validity);
      const snapshot = await this.#signed(
        new Snapshot({ ...header, meta }),
        'snapshot',
        signersOf(root.signed, 'snapshot'),
      );
      files.set(`${next.snapshot}.snapshot.json`, snapshot);
      const snapshotMeta = metaFile(next.snapshot, snapshot);
      const above = new Timestamp({ ...this.#header(next.timestamp, limits.trust.validity), snapshotMeta });
      files.set('timestamp.json', await this.#signed(above, 'timestamp', signersOf(root.signed, 'timestamp')));
      await this.#writeState(next);
      return files;
    });
  }

  /** Targets metadata that delegates to these sites. */
  async #delegate(sites: readonly string[], { fresh }: { fresh: boolean }): Promise<SigningOutcome> {
    const targets = await this.#targets();
    const state = await this.#state();
    const version = Math.max(state.targets, targets?.signed.version ?? 0) + 1;
    await this.#writeState({ ...state, targets: version });
    const keys: Record<string, Key> = {};
    const roles: Json[] = [];
    for (const site of sites) {
      const former = targets?.signed.delegations;
      const role = fresh ? undefined : former?.roles?.[site];
      const own = role?.keyIDs.flatMap((id) => former?.keys[id] ?? []) ?? (await this.#siteKeys(site, fresh));
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
      ...new Targets(this.#header(version, limits.trust.offlineValidity)).toJSON(),
      delegations: { keys: keysJson, roles },
    });
    return await this.#signAndAdopt('targets', new Metadata(document), this.#pendingFile('targets', version));
  }

  /** A key that an attempt which could not be signed has made is taken again. */
  async #siteKeys(site: string, fresh: boolean): Promise<Key[]> {
    const there = fresh ? undefined : (await this.keys.list()).findLast(({ label }) => label === siteLabel(site));
    return [(there ?? (await this.keys.make(siteLabel(site)))).key.publicKey];
  }

  async #makeKeys(role: string, count: number): Promise<Key[]> {
    const made: Key[] = [];
    for (let n = 0; n < count; n += 1) made.push((await this.keys.make(role)).key.publicKey);
    return made;
  }

  /** Signs with what is here; writes to `file`, or puts it in force. */
  async #signAndAdopt(
    kind: 'root' | 'targets',
    metadata: Metadata<Root | Targets>,
    file: string,
  ): Promise<SigningOutcome> {
    const { signed } = metadata;
    const former = this.#rootVersions() === 0 ? undefined : await this.root();
    const demands = demandsOn(signed, kind, former?.signed);
    const stored = await this.keys.list();
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
    const adopted = complete && former !== undefined && (await this.#adopt(kind, metadata, former));
    const pending = this.#pendingFile(kind, signed.version);
    // A file that was brought here goes back signed, whoever it is of use to.
    if (!adopted || file !== pending) await writeFileDurably(file, metadataBytes(metadata));
    if (adopted) await rm(pending, { force: true });
    return { file, role: kind, version: signed.version, counts, complete, adopted };
  }

  /** @returns false if it does not follow on what is in force here */
  async #adopt(
    kind: 'root' | 'targets',
    metadata: Metadata<Root | Targets>,
    former: Document<'root'>,
  ): Promise<boolean> {
    const { version } = metadata.signed;
    if (kind === 'root') {
      if (version !== former.signed.version + 1) return false;
      await this.#write(`${version}.root.json`, metadataBytes(metadata));
      await this.#resignTargets(metadata.signed as Root);
      return true;
    }
    if (version <= ((await this.#targets())?.signed.version ?? 0)) return false;
    await this.#write('targets.json', metadataBytes(metadata));
    return true;
  }

  /** After a new root with other targets keys the delegations need their signatures, too. */
  async #resignTargets(root: Root): Promise<void> {
    const targets = await this.#targets();
    if (targets === undefined) return;
    const signers = signersOf(root, 'targets');
    if (signedBy(targets.metadata, signers).length >= signers.role.threshold) return;
    await this.#delegate(Object.keys(targets.signed.delegations?.roles ?? {}), { fresh: false });
  }

  async #signed(signed: Kinds['targets' | 'snapshot' | 'timestamp'], name: string, signers: Signers): Promise<Buffer> {
    const stored = await this.keys.list();
    const keys = stored.filter(({ key }) => signers.role.keyIDs.includes(key.id)).map(({ key }): SigningKey => key);
    if (keys.length < signers.role.threshold) {
      throw new AirlockError(
        'key.missing',
        `The key of ${name} is not here (${signers.role.keyIDs.map((id) => id.slice(0, 16)).join(', ')}). Put it back into ${path.join(this.#dir, 'private')}, or make new ones with "airlock keys rotate".`,
        { details: { role: name, keys: [...signers.role.keyIDs] } },
      );
    }
    const metadata = new Metadata(signed);
    addSignatures(metadata, keys);
    return metadataBytes(metadata);
  }

  #header(version: number, validity: number): HeaderFields {
    const now = this.#now();
    const expires = wholeSeconds(new Date(now.getTime() + validity));
    // TUF knows no such field; sites learn from it that time has passed.
    return { version, specVersion: '1.0.31', expires, unrecognizedFields: { created: wholeSeconds(now) } };
  }

  #rootVersions(): number {
    let version = 0;
    while (existsSync(this.#file(`${version + 1}.root.json`))) version += 1;
    return version;
  }

  #pendingFiles(rootVersion: number): string[] {
    const files = [this.#pendingFile('root', rootVersion + 1), this.#pendingFile('targets', 0)];
    return files.filter((file) => existsSync(file));
  }

  /** Where metadata of ours waits for signatures. */
  #pendingFile(kind: 'root' | 'targets', version: number): string {
    return this.#file(kind === 'root' ? `${version}.root.pending.json` : 'targets.pending.json');
  }

  async #targets(): Promise<Document<'targets'> | undefined> {
    if (!existsSync(this.#file('targets.json'))) return undefined;
    return parseMetadata('targets', await this.#read('targets.json'), 'targets.json');
  }

  async #state(): Promise<State> {
    const bytes = await readSmallFile(path.join(this.#dir, 'state.json'), limits.trust.targetsBytes);
    const parsed = stateSchema.safeParse(JSON.parse(bytes?.toString('utf8') ?? 'null'));
    if (parsed.success) return parsed.data;
    throw new AirlockError(
      'key.invalid',
      `${path.join(this.#dir, 'state.json')} is damaged or missing. Restore it from a backup: it holds the numbers that were given out.`,
    );
  }

  async #writeState(state: State): Promise<void> {
    await makeDirectory(this.#dir);
    await writeFileDurably(path.join(this.#dir, 'state.json'), `${JSON.stringify(state, undefined, 1)}\n`);
  }

  async #read(name: string): Promise<Buffer> {
    const bytes = await readSmallFile(this.#file(name), limits.trust.targetsBytes, { otherwise: 'trust.invalid' });
    if (bytes !== undefined) return bytes;
    throw new AirlockError('trust.missing', `${this.#file(name)} is missing. Restore it from a backup.`);
  }

  async #write(name: string, bytes: Buffer): Promise<void> {
    await makeDirectory(path.dirname(this.#file(name)));
    await writeFileDurably(this.#file(name), bytes);
  }

  #file(name: string): string {
    return path.join(this.#dir, 'metadata', name);
  }

  /** @throws server.locked if another process changes keys for long */
  async #locked<T>(work: () => Promise<T>): Promise<T> {
    await makeDirectory(path.join(this.#dir, 'metadata'));
    const end = performance.now() + limits.partialLockWait;
    for (;;) {
      const lock = ProcessLock.tryAcquire(path.join(this.#dir, 'lock'));
      if (lock !== undefined) {
        try {
          return await work();
        } finally {
          lock.release();
        }
      }
      if (performance.now() > end) {
        throw new AirlockError('server.locked', 'Another process has been working with the keys for long; try again.');
      }
      await sleep(10 + 20 * Math.random());
    }
  }
}

interface HeaderFields {
  readonly version: number;
  readonly specVersion: string;
  readonly expires: string;
  readonly unrecognizedFields: { created: string };
}

type Json = NonNullable<Parameters<typeof Targets.fromJSON>[0][string]>;

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

function metaFile(version: number, bytes: Buffer): MetaFile {
  return new MetaFile({ version, length: bytes.length, hashes: { sha256: sha256(bytes) } });
}

/** `2026-11-21T09:00:00Z`: TUF's times have no fractions. */
function wholeSeconds(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

function siteNotFound(site: string): AirlockError {
  return new AirlockError('site.not-found', `There is no site ${site} yet. The first export to it adds it.`);
}
