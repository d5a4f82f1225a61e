/**
 * Parity: the XOR of all volumes at the same positions, shorter ones taken as filled up with zeros. So each volume is the
 * XOR of the parity and all others.
 */
import { createHash } from 'node:crypto';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { longest } from './layout.ts';

/** Two buffers, so that one volume is read while another is being worked on. */
type Scratch = readonly [Buffer, Buffer];

/** The XOR of some sources as a source: nothing of it is held, each read reads all of them. They stay the caller's. */
export function xorOf(sources: readonly ByteSource[], size: number): ByteSource {
  const free: { readonly whole: Buffer; readonly scratch: Scratch }[] = []; // as many as there are reads at a time
  return {
    size,
    async readAt(into, position) {
      const length = Math.max(0, Math.min(into.byteLength, size - position));
      const found = free.pop();
      const buffers =
        found !== undefined && found.whole.length >= length
          ? found
          : { whole: Buffer.allocUnsafeSlow(length), scratch: scratchOf(length) };
      const sum = buffers.whole.subarray(0, length);
      try {
        await xorAt(sources, { position, sum, scratch: buffers.scratch });
        into.set(sum);
        return length;
      } finally {
        free.push(buffers);
      }
    },
  };
}

export interface WriteParityOptions {
  /** Gets the bytes in order; they are the parity's again afterwards. */
  readonly sink: (bytes: Uint8Array) => Promise<void>;
  /** Told of bytes of volumes that went into it; may throw to stop. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Reads all volumes side by side, each once. Holds a piece of two of them, however many there are.
 * @returns SHA-256, hexadecimal, of the parity, and of each volume as it was read
 * @throws what the sources, `sink` and `onBytes` throw
 */
export async function writeParity(
  volumes: readonly ByteSource[],
  { sink, onBytes }: WriteParityOptions,
): Promise<{ readonly parity: string; readonly volumes: readonly string[] }> {
  const size = longest(volumes);
  const hash = createHash('sha256');
  const hashes = volumes.map(() => createHash('sha256'));
  const whole = Buffer.allocUnsafeSlow(Math.min(size, limits.bundle.parityPiece));
  const scratch = scratchOf(whole.length);
  const onPiece = (index: number, piece: Buffer) => {
    hashes[index]?.update(piece);
    onBytes(piece.length);
  };
  for (let position = 0; position < size; position += whole.length) {
    const sum = whole.subarray(0, Math.min(whole.length, size - position));
    await xorAt(volumes, { position, sum, scratch, onPiece });
    hash.update(sum);
    await sink(sum);
  }
  return { parity: hash.digest('hex'), volumes: hashes.map((each) => each.digest('hex')) };
}

interface XorAt {
  readonly position: number;
  /** Filled with what comes out. Begins at a whole word, as `scratch` does. */
  readonly sum: Buffer;
  readonly scratch: Scratch;
  readonly onPiece?: (index: number, piece: Buffer) => void;
}

async function xorAt(sources: readonly ByteSource[], { position, sum, scratch, onPiece }: XorAt): Promise<void> {
  const reached = [...sources.entries()].filter(([, { size }]) => size > position);
  const read = async (turn: number): Promise<Buffer> => {
    const [, source] = reached[turn] ?? [];
    const [even, odd] = scratch;
    const piece = (turn % 2 === 0 ? even : odd).subarray(0, sum.length);
    return piece.subarray(0, (await source?.readAt(piece, position)) ?? 0);
  };
  sum.fill(0);
  let next = read(0);
  for (const [turn, [index]] of reached.entries()) {
    const piece = await next;
    next = read(turn + 1);
    try {
      onPiece?.(index, piece);
    } catch (error) {
      await next.catch(() => undefined); // nobody reads any more when whoever stops closes the sources
      throw error;
    }
    xorInto(sum, piece);
  }
}

/** Both begin at whole words, and `piece` is not the longer one. */
function xorInto(sum: Buffer, piece: Buffer): void {
  const words = Math.floor(piece.length / 4);
  const into = new Int32Array(sum.buffer, sum.byteOffset, words);
  const from = new Int32Array(piece.buffer, piece.byteOffset, words);
  for (let at = 0; at < words; at += 1) into[at] = (into[at] ?? 0) ^ (from[at] ?? 0);
  for (let at = words * 4; at < piece.length; at += 1) sum[at] = (sum[at] ?? 0) ^ (piece[at] ?? 0);
}

function scratchOf(length: number): Scratch {
  return [Buffer.allocUnsafeSlow(length), Buffer.allocUnsafeSlow(length)];
}
