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
import path from 'node:path';
import { type Key, Metadata, Root, type TargetFile } from '@tufjs/models';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { type MetadataFiles, requireSignable, signBundle } from './bundle-metadata.ts';
import type { KeyStore, StoredKey } from './key-store.ts';
import {
  addSignatures,
  type Document,
  metadataBytes,
  parseMetadata,
  type Signers,
  sha256,
  signersOf,
} from './metadata.ts';
import { delegate, resignTargets, type SigningOutcome, signAndAdopt } from './offline-signing.ts';
import { PublisherFiles, type PublisherOptions } from './publisher-files.ts';
import { siteName } from './site-name.ts';

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

export type { SigningOutcome } from './offline-signing.ts';

/** Opens what there is. Several processes may; changes are made one at a time. */
export class Publisher {
  readonly #files: PublisherFiles;

  constructor(options: PublisherOptions) {
    this.#files = new PublisherFiles(options);
  }

  get keys(): KeyStore {
    return this.#files.keys;
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
    return await this.#files.locked(async () => {
      if (this.#files.rootVersions() > 0) {
        throw new AirlockError(
          'key.invalid',
          'There are keys already. "airlock keys show" lists them, "airlock keys rotate" makes new ones that sites accept.',
        );
      }
      const root = new Root({ ...this.#files.header(1, limits.trust.offlineValidity), consistentSnapshot: true });
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
      await this.#files.writeState({ format: 1, snapshot: 0, timestamp: 0, targets: 0, sites: {} });
      await this.#files.write('1.root.json', metadataBytes(metadata));
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
    const targets = await this.#files.targets();
    const sites = Object.entries(targets?.signed.delegations?.roles ?? {});
    return {
      fingerprint: sha256(root.bytes),
      rootVersion: root.signed.version,
      rootExpires: root.signed.expires,
      roles: [...top, ...sites.map(([name, role]) => facts(name, { keys: {}, role }))],
      pending: this.#files.pendingFiles(root.signed.version),
    };
  }

  /** The root in force. @throws key.not-found before `init` */
  async root(): Promise<Document<'root'>> {
    return await this.#files.root();
  }

  /**
   * New keys for snapshot, timestamp and every site; with `offline`, for root and targets, too. Sites accept them without
   * a new root file. What lacks signatures waits in a file for `sign`.
   * @throws key.not-found
   */
  async rotate({ offline = false }: { offline?: boolean } = {}): Promise<SigningOutcome[]> {
    return await this.#files.locked(async () => {
      const former = await this.root();
      const next = Root.fromJSON(former.signed.toJSON());
      const root = new Root({
        ...this.#files.header(former.signed.version + 1, limits.trust.offlineValidity),
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
      const file = this.#files.pendingFile('root', root.version);
      const outcomes = [await signAndAdopt(this.#files, { kind: 'root', metadata: new Metadata(root), file })];
      const targets = await this.#files.targets();
      const sites = Object.keys(targets?.signed.delegations?.roles ?? {});
      if (targets !== undefined) outcomes.push(await delegate(this.#files, sites, { fresh: true }));
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
    const outcome = await this.#files.locked(() =>
      signAndAdopt(this.#files, { kind, metadata, file: path.resolve(file) }),
    );
    if (outcome.counts.some(({ signed }) => signed > 0)) return outcome;
    throw new AirlockError(
      'key.missing',
      `None of the keys that may sign ${file} is here. Put one into ${path.join(this.#files.dir, 'private')}, or sign where they are.`,
    );
  }

  /**
   * Makes sure that a bundle for a site can be signed here, and that the site can accept it: the site has a role, and the
   * targets keys of the root in force signed that. Signs with them where something lacks.
   * @throws usage.invalid; as requireSignable
   */
  async ensureSite(site: string): Promise<void> {
    siteName(site);
    await this.#files.locked(async () => {
      const targets = await this.#files.targets();
      const known = Object.keys(targets?.signed.delegations?.roles ?? {});
      if (known.includes(site)) await resignTargets(this.#files);
      else await this.#add(known, site);
      await requireSignable(this.#files, site);
    });
  }

  /** @throws key.missing */
  async #add(known: readonly string[], site: string): Promise<void> {
    const outcome = await delegate(this.#files, [...known, site], { fresh: false });
    if (outcome.adopted) return;
    const [count] = outcome.counts;
    throw new AirlockError(
      'key.missing',
      `The site ${site} has to be added with the targets keys: ${count?.signed ?? 0} of ${count?.threshold ?? 1} signatures are there, and the other keys are not here. Take ${outcome.file} to where they are, "airlock keys sign" it there and here, and export again.`,
      { details: { file: outcome.file, role: 'targets' } },
    );
  }

  /** Sites that were added. */
  async sites(): Promise<string[]> {
    return Object.keys((await this.#files.targets())?.signed.delegations?.roles ?? {});
  }

  /** The next sequence of a site, which nobody gets again. */
  async takeSequence(site: string): Promise<number> {
    return await this.#files.locked(async () => {
      const state = await this.#files.state();
      const known = state.sites[site] ?? { sequence: 0, signed: 0 };
      const sequence = known.sequence + 1;
      await this.#files.writeState({ ...state, sites: { ...state.sites, [site]: { ...known, sequence } } });
      return sequence;
    });
  }

  /** @throws as requireSignable */
  async signBundle(site: string, sequence: number, targets: readonly TargetFile[]): Promise<MetadataFiles> {
    return await this.#files.locked(() => signBundle(this.#files, { site, sequence, targets }));
  }

  async #makeKeys(role: string, count: number): Promise<Key[]> {
    const made: Key[] = [];
    for (let n = 0; n < count; n += 1) made.push((await this.keys.make(role)).key.publicKey);
    return made;
  }
}
