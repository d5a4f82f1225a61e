/**
 * All chunks of all that a site holds, to be found by their hash. Some fifty bytes for each, in few large arrays: a site
 * with 64 GB of images needs 50 MB.
 */
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { HASH_BYTES } from './chunker.ts';

const WORDS = HASH_BYTES / 4;
const FIRST = 1024;

/** A place in a held blob. */
export interface HeldPlace {
  /** Index in `blobs`. */
  readonly blob: number;
  readonly offset: number;
  readonly length: number;
}

export class HeldChunks {
  readonly blobs: Digest[] = [];
  #count = 0;
  #hashes = new Uint32Array(FIRST * WORDS);
  #blobs = new Uint32Array(FIRST);
  #offsets = new Float64Array(FIRST);
  #lengths = new Uint32Array(FIRST);
  /** By hash: number of a chunk, counted from 1. Chunks with a hash that is there already have none. */
  #slots = new Int32Array(2 * FIRST);

  get count(): number {
    return this.#count;
  }

  /** @returns false if there is no room for it any more (limits.delta.chunks): it is then not taken into account */
  add({ digest, hashes, lengths }: ChunkIndex): boolean {
    let offset = 0;
    const blob = this.addBlob(digest);
    if (this.#count + lengths.length > limits.delta.chunks) return false;
    for (const [index, length] of lengths.entries()) {
      const hash = hashes.toString('binary', index * HASH_BYTES, (index + 1) * HASH_BYTES);
      this.addChunk(hash, { blob, offset, length });
      offset += length;
    }
    return true;
  }

  addBlob(digest: Digest): number {
    this.blobs.push(digest);
    return this.blobs.length - 1;
  }

  addChunk(hash: string, { blob, offset, length }: HeldPlace): void {
    if (this.#count === this.#lengths.length) this.#grow();
    const chunk = this.#count;
    this.#count += 1;
    for (let word = 0; word < WORDS; word += 1) this.#hashes[chunk * WORDS + word] = wordOf(hash, word);
    this.#blobs[chunk] = blob;
    this.#offsets[chunk] = offset;
    this.#lengths[chunk] = length;
    this.#insert(chunk);
  }

  /** @returns the number of a chunk with this hash, -1 if there is none */
  find(hash: string): number {
    const mask = this.#slots.length - 1;
    for (let slot = wordOf(hash, 0) & mask; ; slot = (slot + 1) & mask) {
      const chunk = (this.#slots[slot] ?? 0) - 1;
      if (chunk < 0 || this.is(chunk, hash)) return chunk;
    }
  }

  /** Whether a chunk is there and has this hash. The next one of the same blob has the next number. */
  is(chunk: number, hash: string): boolean {
    if (chunk >= this.#count) return false;
    for (let word = 0; word < WORDS; word += 1) {
      if (this.#hashes[chunk * WORDS + word] !== wordOf(hash, word)) return false;
    }
    return true;
  }

  place(chunk: number): HeldPlace {
    return {
      blob: this.#blobs[chunk] ?? 0,
      offset: this.#offsets[chunk] ?? 0,
      length: this.#lengths[chunk] ?? 0,
    };
  }

  #insert(chunk: number): void {
    const mask = this.#slots.length - 1;
    const at = chunk * WORDS;
    for (let slot = (this.#hashes[at] ?? 0) & mask; ; slot = (slot + 1) & mask) {
      const other = (this.#slots[slot] ?? 0) - 1;
      if (other < 0) {
        this.#slots[slot] = chunk + 1;
        return;
      }
      let word = 0;
      while (word < WORDS && this.#hashes[other * WORDS + word] === this.#hashes[at + word]) word += 1;
      if (word === WORDS) return;
    }
  }

  #grow(): void {
    const room = this.#lengths.length * 2;
    this.#hashes = grown(this.#hashes, new Uint32Array(room * WORDS));
    this.#blobs = grown(this.#blobs, new Uint32Array(room));
    this.#offsets = grown(this.#offsets, new Float64Array(room));
    this.#lengths = grown(this.#lengths, new Uint32Array(room));
    this.#slots = new Int32Array(room * 2);
    for (let chunk = 0; chunk < this.#count; chunk += 1) this.#insert(chunk);
  }
}

function grown<T extends Uint32Array | Float64Array>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}

/** Four characters of a hash, as one number. */
function wordOf(hash: string, word: number): number {
  const at = word * 4;
  const low = hash.charCodeAt(at) | (hash.charCodeAt(at + 1) << 8);
  return (low | (hash.charCodeAt(at + 2) << 16) | (hash.charCodeAt(at + 3) << 24)) >>> 0;
}
