/**
 * Whom a site trusts, and how far it has come.
 *
 * ```
 * DATA/keys/trusted/root.json                      carried over by hand at first, then stepped forward by bundles
 * DATA/keys/trusted/{timestamp,snapshot,targets,site}.json   of the newest bundle that landed
 * DATA/keys/trusted/revocations.json               the newest list that was seen
 * DATA/keys/trusted/state.json                     the site's name, and the time that is known to have passed
 * DATA/keys/trusted/landed.json                    the newest bundle that landed (high-water-mark.ts)
 * ```
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { ProcessLock } from '../../repo/blobs/process-lock.ts';
import type { Catalog, CatalogTransaction } from '../../repo/catalog/catalog.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { raisedFloor, timeNow } from './floor.ts';
import { HighWaterMark, type Mark, trustDir } from './high-water-mark.ts';
import { type Document, parseMetadata, requireSigned, sha256, signersOf } from './metadata.ts';
import { NO_REVOCATIONS, parseRevocations, REVOCATIONS, type Revocations } from './revocations.ts';
import { siteName } from './site-name.ts';
import type { TrustedMetadata } from './workflow.ts';

const stateSchema = z.object({
  format: z.literal(1),
  site: z.string().nullable(),
  floor: z.iso.datetime().nullable(),
  /** Ids of the keys that vouched for the list of revocations. Not there: those of the newest bundle that landed. */
  listedBy: z.array(z.string()).optional(),
});

export interface SiteTrustOptions {
  readonly dataDir: string;
  readonly catalog: Catalog;
  readonly now: () => Date;
}

/** What `trust show` tells. */
export interface TrustFacts {
  readonly site: string | null;
  readonly rootVersion: number;
  readonly rootFingerprint: string;
  readonly rootExpires: string;
  readonly landed: Mark | null;
  readonly revocations: number;
}

export class SiteTrust {
  readonly #dir: string;
  readonly #mark: HighWaterMark;
  readonly #clock: () => Date;

  constructor({ dataDir, catalog, now }: SiteTrustOptions) {
    this.#dir = trustDir(dataDir);
    this.#mark = new HighWaterMark({ dataDir, catalog });
    this.#clock = now;
  }

  /**
   * Trusts a root that was carried over by hand, and forgets what was verified under another one. The mark stays.
   * @param options.site the site's name from now on
   * @param options.restored lets a catalog that was restored from a backup go on from the mark in the file
   * @returns the fingerprint, to compare with what the other side shows
   * @throws trust.invalid, trust.unsigned, trust.rollback for a root older than the trusted one, usage.invalid if another
   *   site name is bound
   */
  async add(bytes: Buffer, options: { site?: string; restored?: boolean } = {}): Promise<TrustFacts> {
    const root = parseMetadata('root', bytes, 'The root file');
    requireSigned(root.metadata, signersOf(root.signed, 'root'), 'The root file');
    const state = await this.#state();
    if (options.site !== undefined) siteName(options.site);
    // The file first: it may be newer than a catalog that was restored, and then nothing else may be read.
    const landed = (await this.#mark.inFile()) ?? (await this.#mark.read());
    if (options.site !== undefined && landed !== undefined && landed.site !== options.site) {
      throw new AirlockError(
        'usage.invalid',
        `This is the site ${landed.site}: bundles for it have landed here. Use another data directory for ${options.site}.`,
      );
    }
    await makeDirectory(this.#dir);
    const former = await this.#read('root', limits.trust.rootBytes);
    if (former !== undefined) requireNotOlder(parseMetadata('root', former, this.#file('root')), root, this.#dir);
    if (former === undefined || !former.equals(bytes)) {
      for (const role of ['timestamp', 'snapshot', 'targets', 'site']) await rm(this.#file(role), { force: true });
      await writeFileDurably(this.#file('root'), bytes);
    }
    const created = createdAt(root.signed.unrecognizedFields);
    const floor = created === undefined ? state.floor : this.#raise(state.floor, created);
    await this.#writeState({ ...state, site: options.site ?? state.site, floor });
    if (options.restored === true) await this.#mark.acceptRestored();
    return await this.facts();
  }

  /** @throws trust.none */
  async facts(): Promise<TrustFacts> {
    const root = await this.root();
    return {
      site: await this.site(),
      rootVersion: root.signed.version,
      rootFingerprint: sha256(root.bytes),
      rootExpires: root.signed.expires,
      landed: (await this.mark()) ?? null,
      revocations: (await this.revocations()).version,
    };
  }

  /** @throws trust.none */
  async root(): Promise<Document<'root'>> {
    const bytes = await this.#read('root', limits.trust.rootBytes);
    if (bytes !== undefined) return parseMetadata('root', bytes, this.#file('root'));
    throw new AirlockError(
      'trust.none',
      'No root of trust is here. Carry the root file of the export station over by hand, and add it with "airlock trust add ROOT.json --site NAME".',
    );
  }

  /** The site's name; null until one is bound. What has landed binds it, too. @throws as `mark` */
  async site(): Promise<string | null> {
    return (await this.#state()).site ?? (await this.#mark.read())?.site ?? null;
  }

  /** The time, never before what is proven to have passed. */
  async now(): Promise<Date> {
    const { floor } = await this.#state();
    return timeNow(this.#clock(), floor === null ? undefined : new Date(floor));
  }

  /** The newest list that was seen. */
  async revocations(): Promise<Revocations> {
    const bytes = await readSmallFile(path.join(this.#dir, REVOCATIONS), limits.trust.revocationsBytes);
    return bytes === undefined ? NO_REVOCATIONS : parseRevocations(bytes);
  }

  /**
   * The list that a new one must not be older than. Keys that were stolen may have signed one with the highest version
   * there is: after a rotation it counts no more, as in section 5.3.11 of TUF's specification.
   * @param keys ids of those that may sign for the site now
   */
  async revocationsBefore(keys: readonly string[]): Promise<Revocations> {
    const by = (await this.#state()).listedBy ?? (await this.mark())?.keys;
    const isRotated = by !== undefined && !by.some((key) => keys.includes(key));
    return isRotated ? NO_REVOCATIONS : await this.revocations();
  }

  /** @param keys as in `revocationsBefore` */
  async keepRevocations(bytes: Buffer, keys: readonly string[]): Promise<void> {
    await makeDirectory(this.#dir);
    await writeFileDurably(path.join(this.#dir, REVOCATIONS), bytes);
    // After the list: one by stolen keys must never stand as if their successors had signed it.
    const state = await this.#state();
    if (state.listedBy?.join() !== keys.join()) await this.#writeState({ ...state, listedBy: [...keys] });
  }

  /** The high-water mark. @throws trust.locked if the catalog is older than the mark in the file */
  async mark(): Promise<Mark | undefined> {
    return await this.#mark.read();
  }

  /**
   * What was verified before, for a workflow. A new root is kept at once, the rest by `landed`.
   * @param site whose role is read and kept
   * @param options.keepRoot false: the new root counts for this workflow only
   */
  trusted(
    site: string,
    { keepRoot = true }: { keepRoot?: boolean } = {},
  ): TrustedMetadata & { readonly verified: ReadonlyMap<string, Buffer> } {
    const verified = new Map<string, Buffer>();
    const nameOf = (role: string) => (role === site ? 'site' : role);
    return {
      verified,
      read: async (role) => {
        const known = ['root', 'timestamp', 'snapshot', 'targets', site].includes(role);
        return known ? (verified.get(role) ?? (await this.#read(nameOf(role), limits.trust.targetsBytes))) : undefined;
      },
      keep: async (role, bytes) => {
        if (role === 'root' && keepRoot) await writeFileDurably(this.#file('root'), bytes);
        verified.set(role, bytes);
      },
    };
  }

  /**
   * Runs an import while no other process imports a bundle: what was verified against the mark must hold when it lands.
   * @throws data.locked
   */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    await this.root(); // makes sure that there is a folder
    const lock = ProcessLock.tryAcquire(path.join(this.#dir, 'lock'));
    if (lock === undefined) {
      throw new AirlockError(
        'data.locked',
        'Another bundle is being imported here. Wait until that is done, and try again.',
      );
    }
    try {
      return await work();
    } finally {
      lock.release();
    }
  }

  /** In the transaction that publishes a bundle. */
  async recordLanding(tx: CatalogTransaction, mark: Mark): Promise<void> {
    await this.#mark.record(tx, mark);
  }

  /**
   * After that transaction: what was verified is what is known from now on. A process that dies in here leaves the
   * timestamp as it was; whoever finds that the newest bundle's is not known yet calls this again.
   * @param created when the bundle was signed
   */
  async landed(mark: Mark, verified: ReadonlyMap<string, Buffer>, created: Date): Promise<void> {
    const state = await this.#state();
    await this.#writeState({ ...state, site: mark.site, floor: this.#raise(state.floor, created) });
    for (const role of ['targets', mark.site, 'snapshot', 'timestamp']) {
      const bytes = verified.get(role);
      if (bytes !== undefined) await writeFileDurably(this.#file(role === mark.site ? 'site' : role), bytes);
    }
    await this.#mark.write(mark);
  }

  #raise(floor: string | null, proven: Date): string {
    const known = floor === null ? undefined : new Date(floor);
    return raisedFloor(known, proven, this.#clock()).toISOString();
  }

  async #state(): Promise<z.infer<typeof stateSchema>> {
    const bytes = await this.#read('state', limits.trust.targetsBytes);
    if (bytes === undefined) return { format: 1, site: null, floor: null };
    try {
      return stateSchema.parse(JSON.parse(bytes.toString('utf8')));
    } catch (cause) {
      throw damaged(this.#file('state'), cause);
    }
  }

  async #writeState(state: z.infer<typeof stateSchema>): Promise<void> {
    await makeDirectory(this.#dir);
    await writeFileDurably(this.#file('state'), `${JSON.stringify(state, undefined, 1)}\n`);
  }

  async #read(name: string, limit: number): Promise<Buffer | undefined> {
    const file = this.#file(name);
    return existsSync(file) ? await readSmallFile(file, limit, { otherwise: 'trust.invalid' }) : undefined;
  }

  #file(name: string): string {
    return path.join(this.#dir, `${name}.json`);
  }
}

/** When metadata says to have been made; undefined if it does not say. */
export function createdAt(fields: Readonly<Record<string, unknown>>): Date | undefined {
  const { created } = fields;
  const date = typeof created === 'string' ? new Date(created) : undefined;
  return date === undefined || Number.isNaN(date.getTime()) ? undefined : date;
}

/** An older root would bring back keys that were given up since. @throws trust.rollback */
function requireNotOlder(known: Document<'root'>, given: Document<'root'>, dir: string): void {
  if (given.signed.version >= known.signed.version) return;
  throw new AirlockError(
    'trust.rollback',
    `Root ${known.signed.version} is trusted here, and this is root ${given.signed.version}. Ask for the newest one ("airlock keys export-root"). If this site is to trust another station from now on, delete ${dir} first.`,
    { details: { trusted: known.signed.version, given: given.signed.version } },
  );
}

function damaged(what: string, cause: unknown): AirlockError {
  return new AirlockError('trust.invalid', `${what} is damaged. Restore DATA/keys/trusted from a backup.`, { cause });
}
