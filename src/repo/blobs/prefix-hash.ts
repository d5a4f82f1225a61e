import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { limits } from '../../limits.ts';
import type { FileHash, Hashing } from './hashing.ts';
import type { PositionalFile } from './positional-file.ts';
import { readAhead } from './read-ahead.ts';

/** Starting a thread, and reading a second time, pays from some size on, and only where there is a core for it. */
const LARGE = availableParallelism() > 1 ? limits.hashing.from : Number.POSITIVE_INFINITY;

/**
 * SHA-256 of a file's beginning while the file is being written: of the bytes in hand for a small one, in a thread that
 * reads them back for a large one. What was written out of order is read when somebody asks for the digest.
 */
export class PrefixHash {
  readonly #file: PositionalFile;
  readonly #hashing: Hashing;
  #hash = createHash('sha256');
  /** What `#hash` covers. */
  #to = 0;
  #beside: FileHash | undefined;

  constructor(file: PositionalFile, hashing: Hashing) {
    this.#file = file;
    this.#hashing = hashing;
  }

  /** To be called while `bytes` are being written: small files are hashed as they pass. */
  along(position: number, bytes: Uint8Array): void {
    if (this.#beside !== undefined || position !== this.#to) return;
    if (this.#to + bytes.byteLength > LARGE) return;
    this.#hash.update(bytes);
    this.#to += bytes.byteLength;
  }

  /** To be called when all bytes up to `end` are in the file. */
  written(end: number): void {
    if (end > LARGE) this.#beside ??= this.#hashing.start(this.#file.fd);
    this.#beside?.advance(end);
  }

  /** To be called before bytes are written: where they take the place of some that are hashed, the hash is worth nothing. */
  async before(position: number, bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength === 0 || position >= Math.max(this.#to, this.#beside?.asked ?? 0)) return;
    this.#hash = createHash('sha256');
    this.#to = 0;
    await this.end();
  }

  /** @returns hex, and the bytes that are hashed: fewer than `size` only if the file is shorter */
  async digest(size: number): Promise<{ readonly hex: string; readonly to: number }> {
    const hex = await this.#beside?.digest(size);
    if (hex !== undefined) return { hex, to: size };
    for await (const piece of readAhead(this.#file, { start: this.#to, end: size })) {
      this.#hash.update(piece);
      this.#to += piece.byteLength;
    }
    return { hex: this.#hash.copy().digest('hex'), to: this.#to };
  }

  /** Must have happened before the file is closed. */
  async end(): Promise<void> {
    const beside = this.#beside;
    this.#beside = undefined;
    await beside?.end();
  }
}
