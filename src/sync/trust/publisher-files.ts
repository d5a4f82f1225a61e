/** What an export station keeps of its metadata on disk: see publisher.ts for where. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { ProcessLock } from '../../repo/blobs/process-lock.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import { KeyStore } from './key-store.ts';
import { type Document, type Kind, parseMetadata, signedBy, signersOf } from './metadata.ts';

export interface PublisherOptions {
  readonly dataDir: string;
  readonly now: () => Date;
}

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
/** Versions and sequences that were given out. */
export type PublisherState = z.infer<typeof stateSchema>;

export interface HeaderFields {
  readonly version: number;
  readonly specVersion: string;
  readonly expires: string;
  readonly unrecognizedFields: { created: string };
}

export class PublisherFiles {
  readonly keys: KeyStore;
  readonly dir: string;
  readonly #now: () => Date;

  constructor({ dataDir, now }: PublisherOptions) {
    this.dir = path.join(dataDir, 'keys', 'publisher');
    this.#now = now;
    this.keys = new KeyStore(path.join(this.dir, 'private'));
  }

  /** The root in force. @throws key.not-found before `init` */
  async root(): Promise<Document<'root'>> {
    const version = this.rootVersions();
    if (version === 0) {
      throw new AirlockError('key.not-found', 'There are no signing keys yet. Make them with "airlock keys init".');
    }
    return parseMetadata('root', await this.read(`${version}.root.json`), `${version}.root.json`);
  }

  /** What all metadata begins with. @param validity milliseconds */
  header(version: number, validity: number): HeaderFields {
    const now = this.#now();
    const expires = wholeSeconds(new Date(now.getTime() + validity));
    // TUF knows no such field; sites learn from it that time has passed.
    return { version, specVersion: '1.0.31', expires, unrecognizedFields: { created: wholeSeconds(now) } };
  }

  /** The newest root that is in force; 0: none. */
  rootVersions(): number {
    let version = 0;
    while (existsSync(this.#file(`${version + 1}.root.json`))) version += 1;
    return version;
  }

  /** Files that wait for more signatures. */
  pendingFiles(rootVersion: number): string[] {
    const files = [this.pendingFile('root', rootVersion + 1), this.pendingFile('targets', 0)];
    return files.filter((file) => existsSync(file));
  }

  /** Where metadata of ours waits for signatures. */
  pendingFile(kind: 'root' | 'targets', version: number): string {
    return this.#file(kind === 'root' ? `${version}.root.pending.json` : 'targets.pending.json');
  }

  /** The delegations in force. @throws trust.invalid */
  async targets(): Promise<Document<'targets'> | undefined> {
    if (!existsSync(this.#file('targets.json'))) return undefined;
    return parseMetadata('targets', await this.read('targets.json'), 'targets.json');
  }

  /** Delegations that wait for signatures here. @throws trust.invalid */
  async waitingTargets(): Promise<Document<'targets'> | undefined> {
    const file = this.pendingFile('targets', 0);
    if (!existsSync(file)) return undefined;
    return parseMetadata('targets', await this.read(path.basename(file)), file);
  }

  /** True if the targets keys of the root in force signed these delegations, and they have not expired. */
  async isGood(targets: Document<'targets'>): Promise<boolean> {
    const signers = signersOf((await this.root()).signed, 'targets');
    return signedBy(targets.metadata, signers).length >= signers.role.threshold && !this.isExpired(targets);
  }

  isExpired({ signed }: Document<Kind>): boolean {
    return signed.isExpired(this.#now());
  }

  /** False where only keys and metadata are, to sign with: another place says what comes next. */
  givesNumbers(): boolean {
    return existsSync(path.join(this.dir, 'state.json'));
  }

  /** @throws key.invalid if it is damaged or missing */
  async state(): Promise<PublisherState> {
    const file = path.join(this.dir, 'state.json');
    const bytes = await readSmallFile(file, limits.trust.targetsBytes);
    try {
      return stateSchema.parse(JSON.parse(bytes?.toString('utf8') ?? 'null'));
    } catch (cause) {
      throw new AirlockError(
        'key.invalid',
        `${file} is damaged or missing. Restore it from a backup: it holds the numbers that were given out.`,
        { cause },
      );
    }
  }

  /** Durably. */
  async writeState(state: PublisherState): Promise<void> {
    await makeDirectory(this.dir);
    await writeFileDurably(path.join(this.dir, 'state.json'), `${JSON.stringify(state, undefined, 1)}\n`);
  }

  /** A file of metadata. @throws trust.missing */
  async read(name: string): Promise<Buffer> {
    const bytes = await readSmallFile(this.#file(name), limits.trust.targetsBytes, { otherwise: 'trust.invalid' });
    if (bytes !== undefined) return bytes;
    throw new AirlockError('trust.missing', `${this.#file(name)} is missing. Restore it from a backup.`);
  }

  /** Puts a file of metadata in place, durably. */
  async write(name: string, bytes: Buffer): Promise<void> {
    await makeDirectory(path.dirname(this.#file(name)));
    await writeFileDurably(this.#file(name), bytes);
  }

  #file(name: string): string {
    return path.join(this.dir, 'metadata', name);
  }

  /** Changes are made one at a time. @throws server.locked if another process changes keys for long */
  async locked<T>(work: () => Promise<T>): Promise<T> {
    await makeDirectory(path.join(this.dir, 'metadata'));
    const end = performance.now() + limits.partialLockWait;
    for (;;) {
      const lock = ProcessLock.tryAcquire(path.join(this.dir, 'lock'));
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

/** `2026-11-21T09:00:00Z`: TUF's times have no fractions. */
function wholeSeconds(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}
