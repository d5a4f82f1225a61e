/**
 * The client workflow of TUF (specification 1.0.34, section 5), with the clock and both sides' storage given from
 * outside. It decides what is trusted; it writes nothing itself.
 */
import type { MetaFile, Root, TargetFile, Targets } from '@tufjs/models';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { type Document, type Kind, parseMetadata, requireSigned, type Signers, sha256, signersOf } from './metadata.ts';

/** Where new metadata comes from: a bundle, a server. Nothing of it is trusted. */
export interface MetadataSource {
  /**
   * @param name `3.root.json`, `timestamp.json`; a delegated role's name may hold any characters
   * @param limit bytes; more is an error
   * @returns undefined if there is no such file
   */
  fetch(name: string, limit: number): Promise<Buffer | undefined>;
}

/** What was verified before. */
export interface TrustedMetadata {
  /** @param role `root`, `timestamp`, `snapshot`, `targets` or a delegated role */
  read(role: string): Promise<Buffer | undefined>;
  /** Told of each document that was verified, as soon as it was. */
  keep(role: string, bytes: Buffer): Promise<void>;
}

export interface WorkflowOptions {
  readonly source: MetadataSource;
  readonly trusted: TrustedMetadata;
  readonly now: Date;
  /** Go on with metadata that has expired; it is listed in the result. */
  readonly acceptExpired?: boolean;
  /** A document whose version is known must have the bytes that are known, too. On a medium nothing may change silently. */
  readonly strict?: boolean;
}

/** What the workflow found to hold. */
export interface Verified {
  readonly root: Document<'root'>;
  readonly timestamp: Document<'timestamp'>;
  readonly snapshot: Document<'snapshot'>;
  readonly targets: Document<'targets'>;
  /** Names of documents that have expired, and were accepted all the same. */
  readonly expired: readonly string[];
  /** The target that the delegations give under a path, or undefined. Reads metadata of delegated roles as needed. */
  find(targetPath: string): Promise<FoundTarget | undefined>;
}

export interface FoundTarget {
  readonly target: TargetFile;
  /** The role that vouches for it. */
  readonly role: string;
  readonly document: Document<'targets'>;
  /** Ids of the keys that signed for the role. */
  readonly signedBy: readonly string[];
}

/**
 * Brings what is trusted up to date.
 * @throws trust.missing, trust.invalid, trust.unsigned, trust.rollback, trust.expired; what was verified up to there was
 *   handed to `trusted.keep`
 */
export async function refresh(options: WorkflowOptions): Promise<Verified> {
  const run = new Run(options);
  const root = await run.root();
  const timestamp = await run.timestamp(root.signed);
  const snapshot = await run.snapshot(root.signed, timestamp);
  const top: RoleRef = { name: 'targets', signers: signersOf(root.signed, 'targets') };
  const { document: targets } = await run.targets(top, snapshot);
  return {
    root,
    timestamp,
    snapshot,
    targets,
    expired: run.expired,
    find: (targetPath) => run.find(targetPath, top, snapshot),
  };
}

/** A targets role, and who may sign it. */
interface RoleRef {
  readonly name: string;
  readonly signers: Signers;
}

interface LoadedRole {
  readonly document: Document<'targets'>;
  readonly signedBy: readonly string[];
}

class Run {
  readonly expired: string[] = [];
  readonly #options: WorkflowOptions;
  readonly #loaded = new Map<string, LoadedRole>();
  #consistent = true;

  constructor(options: WorkflowOptions) {
    this.#options = options;
  }

  /** Section 5.3: each root is signed by the keys of the one before it and by its own. */
  async root(): Promise<Document<'root'>> {
    const { source, trusted } = this.#options;
    const first = await trusted.read('root');
    if (first === undefined) {
      throw new AirlockError(
        'trust.none',
        'No root of trust is here. Carry the root file over by hand, and add it with "airlock trust add ROOT.json --site NAME".',
      );
    }
    let root = parseMetadata('root', first, 'the trusted root');
    requireSigned(root.metadata, signersOf(root.signed, 'root'), 'the trusted root');
    for (let steps = 0; ; steps += 1) {
      const version = root.signed.version + 1;
      const name = `${version}.root.json`;
      const bytes = await source.fetch(name, limits.trust.rootBytes);
      if (bytes === undefined) break;
      if (steps === limits.trust.rotations) throw invalid(name, `more than ${limits.trust.rotations} roots follow`);
      const next = parseMetadata('root', bytes, name);
      requireSigned(next.metadata, signersOf(root.signed, 'root'), name);
      requireSigned(next.metadata, signersOf(next.signed, 'root'), name);
      if (next.signed.version !== version) throw rollback(name, version, next.signed.version);
      await trusted.keep('root', bytes);
      root = next;
    }
    this.#requireFresh('root', root);
    this.#consistent = root.signed.consistentSnapshot;
    return root;
  }

  /** Section 5.4. */
  async timestamp(root: Root): Promise<Document<'timestamp'>> {
    const name = 'timestamp.json';
    const signers = signersOf(root, 'timestamp');
    const known = await this.#knownTimestamp(root, signers);
    const bytes = await this.#fetch(name, limits.trust.timestampBytes);
    const fresh = parseMetadata('timestamp', bytes, name);
    requireSigned(fresh.metadata, signers, name);
    const found = known === undefined ? fresh : this.#newer(known, fresh, name);
    if (known !== undefined && found === fresh) {
      const [before, after] = [known.signed.snapshotMeta.version, fresh.signed.snapshotMeta.version];
      if (after < before) throw rollback('the snapshot that timestamp.json names', before, after);
    }
    if (found === fresh) await this.#options.trusted.keep('timestamp', bytes);
    this.#requireFresh(name, found);
    return found;
  }

  /** Section 5.5. */
  async snapshot(root: Root, timestamp: Document<'timestamp'>): Promise<Document<'snapshot'>> {
    const { trusted } = this.#options;
    const meta = timestamp.signed.snapshotMeta;
    const signers = signersOf(root, 'snapshot');
    const known = await this.#known('snapshot', 'snapshot', signers);
    const name = this.#versioned('snapshot', meta.version);
    if (known?.signed.version === meta.version && matches(known.bytes, meta)) {
      this.#requireFresh(name, known);
      return known;
    }
    const bytes = await this.#fetch(name, meta.length ?? limits.trust.snapshotBytes);
    requireMatch(bytes, meta, name);
    const fresh = parseMetadata('snapshot', bytes, name);
    requireSigned(fresh.metadata, signers, name);
    requireVersion(fresh.signed.version, meta.version, name);
    for (const [role, before] of Object.entries(known?.signed.meta ?? {})) {
      const after = fresh.signed.meta[role];
      if (after === undefined) throw rollback(`${role}, which ${name} no longer names`, before.version, 0);
      if (after.version < before.version) throw rollback(`${role} in ${name}`, before.version, after.version);
    }
    this.#requireFresh(name, fresh);
    await trusted.keep('snapshot', bytes);
    return fresh;
  }

  /** Section 5.6, for the top-level role and for delegated ones. */
  async targets({ name: role, signers }: RoleRef, snapshot: Document<'snapshot'>): Promise<LoadedRole> {
    const loaded = this.#loaded.get(role);
    if (loaded !== undefined) return loaded;
    const meta = Object.hasOwn(snapshot.signed.meta, `${role}.json`) ? snapshot.signed.meta[`${role}.json`] : undefined;
    if (meta === undefined) throw invalid('The snapshot', `it does not name ${role}.json`);
    const name = this.#versioned(role, meta.version);
    const known = await this.#known('targets', role, signers);
    const isKnown = known?.signed.version === meta.version && matches(known.bytes, meta);
    const document = isKnown ? known : await this.#freshTargets(name, meta);
    const signedBy = requireSigned(document.metadata, signers, name);
    requireVersion(document.signed.version, meta.version, name);
    this.#requireFresh(name, document);
    if (!isKnown) await this.#options.trusted.keep(role, document.bytes);
    const result = { document, signedBy };
    this.#loaded.set(role, result);
    return result;
  }

  async #freshTargets(name: string, meta: MetaFile): Promise<Document<'targets'>> {
    const bytes = await this.#fetch(name, meta.length ?? limits.trust.targetsBytes);
    requireMatch(bytes, meta, name);
    return parseMetadata('targets', bytes, name);
  }

  /** Section 5.6.7: depth first, in the order of the delegations; a terminating one ends the search. */
  async find(targetPath: string, top: RoleRef, snapshot: Document<'snapshot'>): Promise<FoundTarget | undefined> {
    const waiting: RoleRef[] = [top];
    const visited = new Set<string>();
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (visited.has(next.name)) continue;
      if (visited.size >= limits.trust.delegations) return undefined;
      visited.add(next.name);
      const { document, signedBy } = await this.targets(next, snapshot);
      const { targets } = document.signed;
      const target = Object.hasOwn(targets, targetPath) ? targets[targetPath] : undefined;
      if (target !== undefined) return { target, role: next.name, document, signedBy };
      const children: RoleRef[] = [];
      for (const { role, terminating } of document.signed.delegations?.rolesForTarget(targetPath) ?? []) {
        children.push(delegated(document.signed, role));
        if (!terminating) continue;
        waiting.length = 0;
        break;
      }
      waiting.push(...children.reverse());
    }
    return undefined;
  }

  /**
   * What is known of timestamp.json counts unless its keys or those of the snapshot were rotated: that is how one
   * recovers from stolen keys that signed high versions (5.3.11).
   */
  async #knownTimestamp(root: Root, signers: Signers): Promise<Document<'timestamp'> | undefined> {
    const { trusted } = this.#options;
    const hasSnapshot = (await trusted.read('snapshot')) !== undefined;
    const snapshot = await this.#known('snapshot', 'snapshot', signersOf(root, 'snapshot'));
    if (hasSnapshot && snapshot === undefined) return undefined;
    return await this.#known('timestamp', 'timestamp', signers);
  }

  /** @returns undefined if there is none, or its keys are no longer the trusted ones */
  async #known<K extends Kind>(kind: K, role: string, signers: Signers): Promise<Document<K> | undefined> {
    const bytes = await this.#options.trusted.read(role);
    if (bytes === undefined) return undefined;
    try {
      const document = parseMetadata(kind, bytes, role);
      requireSigned(document.metadata, signers, role);
      return document;
    } catch (error) {
      if (isAirlockError(error, 'trust.unsigned', 'trust.invalid')) return undefined;
      throw error;
    }
  }

  /** @returns the one to go on with. @throws trust.rollback */
  #newer(known: Document<'timestamp'>, fresh: Document<'timestamp'>, name: string): Document<'timestamp'> {
    const [before, after] = [known.signed.version, fresh.signed.version];
    if (after < before) throw rollback(name, before, after);
    if (after > before) return fresh;
    if (this.#options.strict === true && !known.bytes.equals(fresh.bytes)) {
      throw new AirlockError(
        'trust.rollback',
        `${name} says version ${after}, which is known here with other content. Do not use this bundle; ask for a new one.`,
        { details: { name, version: after } },
      );
    }
    return known;
  }

  #requireFresh(name: string, { signed }: Document<Kind>): void {
    if (!signed.isExpired(this.#options.now)) return;
    if (this.#options.acceptExpired !== true) {
      throw new AirlockError(
        'trust.expired',
        `${name} expired on ${signed.expires} (it is ${this.#options.now.toISOString()} here). Ask for a new bundle; if the clock is wrong, set it; to take this one all the same, add --accept-expired.`,
        { details: { name, expires: signed.expires } },
      );
    }
    if (!this.expired.includes(name)) this.expired.push(name);
  }

  async #fetch(name: string, limit: number): Promise<Buffer> {
    const bytes = await this.#options.source.fetch(name, limit);
    if (bytes !== undefined) return bytes;
    throw new AirlockError('trust.missing', `${name} is missing. Copy the bundle again, with all its files.`, {
      details: { name },
    });
  }

  #versioned(role: string, version: number): string {
    return this.#consistent ? `${version}.${role}.json` : `${role}.json`;
  }
}

function delegated(by: Targets, name: string): RoleRef {
  const { keys = {}, roles, succinctRoles } = by.delegations ?? {};
  const role = roles !== undefined && Object.hasOwn(roles, name) ? roles[name] : succinctRoles;
  if (role === undefined) throw invalid('The targets metadata', `it delegates to ${name} without saying who that is`);
  return { name, signers: { keys, role } };
}

function matches(bytes: Buffer, { length, hashes }: MetaFile): boolean {
  if (length !== undefined && length !== bytes.length) return false;
  return hashes?.sha256 === undefined || hashes.sha256 === sha256(bytes);
}

function requireMatch(bytes: Buffer, meta: MetaFile, name: string): void {
  try {
    meta.verify(bytes);
  } catch (cause) {
    throw new AirlockError(
      'trust.invalid',
      `${name} is not what the metadata above it says. It was changed, or copied badly: copy the bundle again.`,
      { cause, details: { name } },
    );
  }
}

function requireVersion(found: number, wanted: number, name: string): void {
  if (found === wanted) return;
  throw invalid(name, `it says version ${found}, and the metadata above it ${wanted}`);
}

function invalid(name: string, why: string): AirlockError {
  return new AirlockError('trust.invalid', `${name} cannot be used: ${why}. Ask for a new bundle.`, {
    details: { name },
  });
}

function rollback(name: string, before: number, after: number): AirlockError {
  return new AirlockError(
    'trust.rollback',
    `${name} has version ${after}, but ${before} is expected or known here already. It is older than what is here, or forged: use the newest bundle.`,
    { details: { name, expected: before, found: after } },
  );
}
