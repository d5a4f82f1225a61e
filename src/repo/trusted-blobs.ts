/**
 * Blobs whose bytes are proven: the way from the catalog and the store to whoever serves content.
 *
 * The catalog records the stamp under which a blob's bytes were last proven. An equal stamp means that nobody
 * touched the copy since; a changed one means that it is hashed before a byte of it is given out, and quarantined
 * if it is wrong (design.md, invariant 2).
 */
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobReader, BlobStat, BlobStore, ByteSource, Digest } from './blobs/blob-store.ts';
import type { BlobRecord, Catalog } from './catalog/catalog.ts';
import { condemn } from './condemn.ts';

export interface TrustedBlobsParts {
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  /** Told what happened to stored bytes, for the log. */
  readonly onEvent?: (event: TrustEvent) => void;
  /** Blobs kept open between requests. */
  readonly openBlobs?: number;
}

export type TrustEvent =
  | { readonly event: 'proven'; readonly digest: Digest }
  | { readonly event: 'quarantined'; readonly digest: Digest; readonly artifacts: readonly string[] }
  | { readonly event: 'not-recorded'; readonly digest: Digest; readonly error: unknown };

/** A reader that several requests use at once. */
interface SharedReader {
  readonly reader: BlobReader;
  users: number;
  /** No longer in the cache: the last user closes it. */
  isLoose: boolean;
  /** The catalog's version when it last vouched for the blob. */
  vouchedAt: number;
}

/** A copy that changes again and again while it is being hashed is given up. */
const ATTEMPTS = 3;

export class TrustedBlobs {
  readonly #catalog: Catalog;
  readonly #blobs: BlobStore;
  readonly #onEvent: (event: TrustEvent) => void;
  readonly #open: LRUCache<Digest, SharedReader>;
  /** One proof at a time for a digest, whoever waits for it. */
  readonly #proofs = new Map<Digest, Promise<void>>();
  /** Stamps proven here: what the catalog may fail to record still need not be hashed twice. */
  readonly #proven = new LRUCache<Digest, string>({ max: 1000 });
  readonly #turns = new Turns(limits.proofs);
  #quarantined = 0;

  constructor({ catalog, blobs, onEvent = () => {}, openBlobs = limits.cache.openBlobs }: TrustedBlobsParts) {
    this.#catalog = catalog;
    this.#blobs = blobs;
    this.#onEvent = onEvent;
    this.#open = new LRUCache<Digest, SharedReader>({
      max: openBlobs,
      ttl: limits.cache.openBlobIdle,
      ttlAutopurge: true,
      updateAgeOnGet: true,
      dispose: loosen,
    });
  }

  /** Blobs found damaged and taken out of sight since the start. */
  get quarantined(): number {
    return this.#quarantined;
  }

  /** Blobs kept open. */
  get openBlobs(): number {
    return this.#open.size;
  }

  /**
   * Opens a blob whose bytes are proven. The caller closes the reader.
   * @throws blob.missing, blob.damaged (naming the published paths that hold it)
   */
  async open(digest: Digest): Promise<BlobReader> {
    const shared = this.#open.get(digest);
    if (shared !== undefined) {
      const lease = leaseOf(shared);
      if (await this.#isStillGood(digest, shared)) return lease;
      this.#open.delete(digest);
      await lease.close();
    }
    const version = this.#catalog.version();
    const opened = { reader: await this.#openProven(digest), users: 0, isLoose: false, vouchedAt: version };
    this.#open.set(digest, opened);
    return leaseOf(opened);
  }

  /**
   * Reads a whole blob into memory and hashes it, whatever its stamp says. For small blobs.
   * @throws blob.missing, blob.damaged
   */
  async read(digest: Digest): Promise<Buffer> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const reader = await this.#openProven(digest);
      try {
        const bytes = Buffer.allocUnsafeSlow(reader.size);
        const length = await reader.readAt(bytes, 0);
        const isRight =
          length === reader.size && createHash('sha256').update(bytes).digest('hex') === digest.slice('sha256:'.length);
        if (isRight) return bytes;
        await this.#condemn(reader);
      } finally {
        await reader.close();
      }
    }
    throw await this.#unsteady(digest);
  }

  /** Closes what is kept open. Readers given out stay good until they are closed. */
  close(): void {
    this.#open.clear();
  }

  async #isStillGood(digest: Digest, shared: SharedReader): Promise<boolean> {
    const version = this.#catalog.version();
    if (version !== shared.vouchedAt) {
      const record = await this.#catalog.blob(digest);
      if (record === undefined) return false;
      shared.vouchedAt = version;
    }
    return (await this.#blobs.stat(digest))?.stamp === shared.reader.stamp;
  }

  /** @returns a reader that is the caller's alone */
  async #openProven(digest: Digest): Promise<BlobReader> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const record = await this.#recordOf(digest);
      const reader = await this.#openStored(digest);
      if (this.#isProven(reader, record)) return reader;
      await reader.close();
      await this.#proveOnce(digest, record);
    }
    throw await this.#unsteady(digest);
  }

  #isProven(stat: BlobStat, record: BlobRecord): boolean {
    const isKnown = stat.stamp === record.stamp || stat.stamp === this.#proven.get(stat.digest);
    return isKnown && stat.size === record.size;
  }

  async #recordOf(digest: Digest): Promise<BlobRecord> {
    const record = await this.#catalog.blob(digest);
    if (record === undefined) throw await this.#missing(digest);
    return record;
  }

  async #openStored(digest: Digest): Promise<BlobReader> {
    try {
      return await this.#blobs.open(digest);
    } catch (error) {
      throw isAirlockError(error, 'blob.missing') ? await this.#missing(digest, error) : error;
    }
  }

  async #proveOnce(digest: Digest, record: BlobRecord): Promise<void> {
    let proof = this.#proofs.get(digest);
    if (proof === undefined) {
      proof = this.#turns.run(() => this.#prove(digest, record)).finally(() => this.#proofs.delete(digest));
      this.#proofs.set(digest, proof);
    }
    await proof;
  }

  /** Hashes the stored copy. @throws blob.damaged, with the copy in quarantine, if it is wrong */
  async #prove(digest: Digest, record: BlobRecord): Promise<void> {
    const reader = await this.#openStored(digest);
    try {
      const isRight = reader.size === record.size && (await hashOf(reader)) === digest;
      const now = await this.#blobs.stat(digest);
      if (now?.stamp !== reader.stamp) return; // changed or replaced meanwhile: the caller looks again
      if (!isRight) return await this.#condemn(reader);
      await this.#record({ digest, size: reader.size, stamp: reader.stamp });
    } finally {
      await reader.close();
    }
  }

  async #record(stat: BlobStat): Promise<void> {
    this.#proven.set(stat.digest, stat.stamp);
    this.#onEvent({ event: 'proven', digest: stat.digest });
    try {
      await this.#catalog.transaction((tx) => tx.confirmBlob(stat));
    } catch (error) {
      // The bytes are proven; a catalog that cannot be written (disk full) is no reason not to serve them.
      this.#onEvent({ event: 'not-recorded', digest: stat.digest, error });
    }
  }

  /**
   * Takes wrong bytes out of sight, unless others replaced or removed them since they were read: the caller looks again.
   * @throws blob.damaged if they were taken out of sight
   */
  async #condemn(seen: BlobStat): Promise<void> {
    const { digest } = seen;
    this.#open.delete(digest);
    const outcome = await condemn({ blobs: this.#blobs, catalog: this.#catalog }, digest, seen);
    if (outcome === undefined || outcome === 'changed') return;
    const artifacts = await this.#artifacts(digest);
    this.#quarantined += 1;
    this.#onEvent({ event: 'quarantined', digest, artifacts });
    throw new AirlockError(
      'blob.damaged',
      `The stored copy of ${await this.#named(digest)} was damaged. It is in quarantine now, and is not served. Import it again.`,
      { details: { digest, artifacts } },
    );
  }

  async #unsteady(digest: Digest): Promise<AirlockError> {
    return new AirlockError(
      'blob.damaged',
      `The stored copy of ${await this.#named(digest)} changes while it is being checked, so it is not served. Find out what writes into the data directory.`,
      { details: { digest } },
    );
  }

  async #missing(digest: Digest, cause?: unknown): Promise<AirlockError> {
    return new AirlockError(
      'blob.missing',
      `The stored copy of ${await this.#named(digest)} is not there any more. Import it again.`,
      { cause, details: { digest, artifacts: await this.#artifacts(digest) } },
    );
  }

  async #artifacts(digest: Digest): Promise<string[]> {
    return (await this.#catalog.entriesOf(digest)).map((entry) => `${entry.repository}/${entry.path}`);
  }

  async #named(digest: Digest): Promise<string> {
    const artifacts = await this.#artifacts(digest);
    return artifacts.length === 0 ? digest : `${artifacts.slice(0, 3).join(', ')} (${digest})`;
  }
}

function leaseOf(shared: SharedReader): BlobReader {
  const { reader } = shared;
  let isOpen = true;
  shared.users += 1;
  return {
    digest: reader.digest,
    size: reader.size,
    stamp: reader.stamp,
    readAt: (into, position) => reader.readAt(into, position),
    async close() {
      if (!isOpen) return;
      isOpen = false;
      shared.users -= 1;
      if (shared.isLoose && shared.users === 0) await reader.close();
    },
  };
}

function loosen(shared: SharedReader): void {
  shared.isLoose = true;
  if (shared.users === 0) shared.reader.close().catch(() => undefined); // a descriptor that only was read
}

async function hashOf(source: ByteSource): Promise<Digest> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(Math.min(limits.chunk, Math.max(1, source.size)));
  for (let position = 0; position < source.size; ) {
    const length = await source.readAt(buffer, position);
    if (length === 0) break;
    hash.update(buffer.subarray(0, length));
    position += length;
  }
  return `sha256:${hash.digest('hex')}`;
}

/** Runs at most `width` pieces of work at a time, the others in the order in which they came. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#free = width;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
