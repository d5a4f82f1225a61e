import { createHash, randomBytes } from 'node:crypto';
import { AirlockError } from '../../errors.ts';
import { busyPartial, damagedBlob, missingBlob, missingPartial, storeIsClosed, writerHasEnded } from './blob-errors.ts';
import type { BlobReader, BlobStat, BlobStore, BlobWriter, ByteRange, Digest, Expected } from './blob-store.ts';
import { ByteRanges } from './byte-ranges.ts';
import { mismatch, mustHaveNoGap } from './commit-checks.ts';
import { digestOfBytes } from './digest-of.ts';
import { digestOfHex } from './layout.ts';

export interface MemoryStoreOptions {
  /** Bytes that fit, blobs and partial files together; then space.insufficient. Default Infinity. */
  readonly capacity?: number;
}

/** Blobs in memory, for tests: keeps every promise of the seam within one process and holds everything at once. */
export class MemoryStore implements BlobStore {
  readonly #capacity: number;
  readonly #blobs = new Map<Digest, StoredBlob>();
  readonly #quarantined = new Map<string, StoredBlob>();
  readonly #suspended = new Map<string, Staged>();
  readonly #writers = new Map<string, MemoryWriter>();
  readonly #readers = new Set<MemoryReader>();
  readonly #putting = new Map<Digest, Promise<BlobStat>>();
  #closed = false;

  constructor(options: MemoryStoreOptions = {}) {
    this.#capacity = options.capacity ?? Number.POSITIVE_INFINITY;
  }

  async stat(digest: Digest): Promise<BlobStat | undefined> {
    this.#mustBeOpen();
    return this.#blobs.get(digest)?.stat();
  }

  async open(digest: Digest): Promise<BlobReader> {
    this.#mustBeOpen();
    const blob = this.#blobs.get(digest);
    if (blob === undefined) throw missingBlob(digest);
    const reader = new MemoryReader(blob, (closed) => this.#readers.delete(closed));
    this.#readers.add(reader);
    return reader;
  }

  /** A writer that dies with its process leaves nothing here, resumable or not: there is no next process. */
  async create(): Promise<BlobWriter> {
    return this.#startWriter(randomBytes(16).toString('hex'), new Staged());
  }

  async put(bytes: Uint8Array, expected: Expected = {}): Promise<BlobStat> {
    const digest = digestOfBytes(bytes);
    const wrong = mismatch({ digest, size: bytes.byteLength }, expected);
    if (wrong !== undefined) throw wrong;
    const putting = this.#putting.get(digest) ?? this.#putWhole(bytes).finally(() => this.#putting.delete(digest));
    this.#putting.set(digest, putting);
    return await putting;
  }

  async #putWhole(bytes: Uint8Array): Promise<BlobStat> {
    const writer = await this.create();
    try {
      await writer.writeAt(0, bytes);
      return await writer.commit();
    } finally {
      await writer.cancel();
    }
  }

  async resume(id: string): Promise<BlobWriter> {
    if (this.#writers.has(id)) throw busyPartial(id);
    const staged = this.#suspended.get(id);
    if (staged === undefined) throw missingPartial(id);
    const writer = this.#startWriter(id, staged);
    this.#suspended.delete(id);
    return writer;
  }

  async delete(digest: Digest): Promise<boolean> {
    this.#mustBeOpen();
    return this.#blobs.delete(digest);
  }

  async quarantine(digest: Digest): Promise<string | undefined> {
    this.#mustBeOpen();
    const blob = this.#blobs.get(digest);
    if (blob === undefined) return undefined;
    const place = `memory:quarantine/${this.#quarantined.size + 1}`;
    this.#quarantined.set(place, blob);
    this.#blobs.delete(digest);
    return place;
  }

  async *list(): AsyncGenerator<BlobStat, void, undefined> {
    this.#mustBeOpen();
    for (const blob of this.#blobs.values()) yield blob.stat();
  }

  async freeSpace(): Promise<number> {
    return this.#free();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const writer of this.#writers.values()) await writer.cancel();
    for (const reader of this.#readers) await reader.close();
  }

  /**
   * Changes the stored copy behind the store's back, as a failing disk or a person would: `change` gets the bytes and
   * gives what shall stand there instead. Open readers see it. For tests.
   * @throws blob.missing
   */
  tamper(digest: Digest, change: (bytes: Uint8Array) => Uint8Array): void {
    const blob = this.#blobs.get(digest);
    if (blob === undefined) throw missingBlob(digest);
    blob.bytes = change(blob.bytes.slice());
    blob.version = nextVersion();
  }

  /** What lies in quarantine under a name that `quarantine` gave. For tests. */
  quarantined(place: string): Uint8Array | undefined {
    return this.#quarantined.get(place)?.bytes;
  }

  /** Identifiers of partial files, open or suspended. For tests. */
  partials(): string[] {
    return [...this.#writers.keys(), ...this.#suspended.keys()];
  }

  #startWriter(id: string, staged: Staged): MemoryWriter {
    this.#mustBeOpen();
    const writer = new MemoryWriter(id, staged, {
      free: () => this.#free(),
      place: (blob) => this.#blobs.set(blob.digest, blob),
      suspend: () => this.#suspended.set(id, staged),
      ended: () => this.#writers.delete(id),
    });
    this.#writers.set(id, writer);
    return writer;
  }

  #free(): number {
    const lists = [this.#blobs.values(), this.#quarantined.values(), this.#suspended.values(), this.#writers.values()];
    const used = lists.flatMap((list) => [...list]).reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    return Math.max(0, this.#capacity - used);
  }

  #mustBeOpen(): void {
    if (this.#closed) throw storeIsClosed();
  }
}

let versions = 0;

function nextVersion(): number {
  versions += 1;
  return versions;
}

class StoredBlob {
  readonly digest: Digest;
  bytes: Uint8Array;
  version = nextVersion();

  constructor(digest: Digest, bytes: Uint8Array) {
    this.digest = digest;
    this.bytes = bytes;
  }

  stat(): BlobStat {
    return { digest: this.digest, size: this.bytes.byteLength, stamp: `${this.bytes.byteLength}:${this.version}` };
  }
}

/** Bytes that grow. */
class Staged {
  readonly ranges = new ByteRanges();
  #store = new Uint8Array(0);

  get bytes(): Uint8Array {
    return this.#store.subarray(0, this.ranges.end);
  }

  put(position: number, bytes: Uint8Array): void {
    const end = position + bytes.byteLength;
    this.ranges.add(position, end);
    if (end > this.#store.byteLength) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#store.byteLength));
      larger.set(this.#store);
      this.#store = larger;
    }
    this.#store.set(bytes, position);
  }
}

interface MemoryHome {
  free(): number;
  place(blob: StoredBlob): void;
  suspend(): void;
  ended(): void;
}

class MemoryWriter implements BlobWriter {
  readonly id: string;
  readonly #staged: Staged;
  readonly #home: MemoryHome;
  #failure: AirlockError | undefined;
  #ended = false;

  constructor(id: string, staged: Staged, home: MemoryHome) {
    this.id = id;
    this.#staged = staged;
    this.#home = home;
  }

  get bytes(): Uint8Array {
    return this.#staged.bytes;
  }

  async writeAt(position: number, bytes: Uint8Array): Promise<void> {
    this.#mustBeUsable();
    mustBePosition(position);
    const needed = position + bytes.byteLength - this.#staged.ranges.end;
    if (bytes.byteLength > 0 && needed > this.#home.free()) {
      const message = `No space left in memory (${needed} bytes to write, ${this.#home.free()} free).`;
      this.#failure = new AirlockError('space.insufficient', message);
      throw this.#failure;
    }
    this.#staged.put(position, bytes);
  }

  have(): readonly ByteRange[] {
    return this.#staged.ranges.list();
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    this.#mustNotHaveEnded();
    mustBePosition(position);
    return copy(this.#staged.bytes.subarray(0, this.#staged.ranges.firstGap(position)), into, position);
  }

  async seal(): Promise<{ digest: Digest; size: number }> {
    return this.#seal();
  }

  async suspend(): Promise<void> {
    this.#end();
    this.#home.suspend();
  }

  async commit(expected: Expected = {}): Promise<BlobStat> {
    const sealed = this.#seal();
    const wrong = mismatch(sealed, expected);
    this.#end();
    if (wrong !== undefined) throw wrong;
    const blob = new StoredBlob(sealed.digest, this.#staged.bytes.slice());
    this.#home.place(blob);
    return blob.stat();
  }

  async cancel(): Promise<void> {
    if (!this.#ended) this.#end();
  }

  #seal(): { digest: Digest; size: number } {
    this.#mustBeUsable();
    const size = mustHaveNoGap(this.#staged.ranges);
    return { digest: sha256(this.#staged.bytes), size };
  }

  #end(): void {
    this.#mustNotHaveEnded();
    this.#ended = true;
    this.#home.ended();
  }

  #mustBeUsable(): void {
    this.#mustNotHaveEnded();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #mustNotHaveEnded(): void {
    if (this.#ended) throw writerHasEnded(this.id);
  }
}

class MemoryReader implements BlobReader {
  readonly digest: Digest;
  readonly size: number;
  readonly stamp: string;
  readonly #blob: StoredBlob;
  readonly #onClose: (reader: MemoryReader) => void;
  #closed = false;

  constructor(blob: StoredBlob, onClose: (reader: MemoryReader) => void) {
    const { digest, size, stamp } = blob.stat();
    this.digest = digest;
    this.size = size;
    this.stamp = stamp;
    this.#blob = blob;
    this.#onClose = onClose;
  }

  async readAt(into: Uint8Array, position: number): Promise<number> {
    if (this.#closed) throw new AirlockError('internal', `A reader of ${this.digest} was used after it was closed.`);
    mustBePosition(position);
    const wanted = Math.max(0, Math.min(into.byteLength, this.size - position));
    const read = copy(this.#blob.bytes, into.subarray(0, wanted), position);
    if (read === wanted) return read;
    throw damagedBlob(this.digest, `is shorter than it was when it was opened (${this.size} bytes)`);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#onClose(this);
  }
}

function copy(from: Uint8Array, into: Uint8Array, position: number): number {
  const bytes = from.subarray(position, position + into.byteLength);
  into.set(bytes);
  return bytes.byteLength;
}

function sha256(bytes: Uint8Array): Digest {
  const digest = digestOfHex(createHash('sha256').update(bytes).digest('hex'));
  if (digest === undefined) throw new AirlockError('internal', 'SHA-256 gave something that is no digest.');
  return digest;
}

function mustBePosition(position: number): void {
  if (Number.isSafeInteger(position) && position >= 0) return;
  throw new AirlockError('internal', `Not a position in a blob: ${position}. Please report this.`);
}
