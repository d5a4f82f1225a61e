/** At the far side: a blob from what is there and what came. Needs no chunk index. */
import { promisify } from 'node:util';
import { constants, zstdDecompress } from 'node:zlib';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobReader, ByteSource, Digest } from '../../repo/blobs/blob-store.ts';
import { Bases } from './bases.ts';
import { type Copy, invalid, type Pack, type Recipe, requireSound } from './recipe.ts';

const decompress = promisify(zstdDecompress);

/**
 * The bytes of the blob, in order. They are proven by nobody: the caller hashes them, and lets nobody see them before the
 * digest is what it should be. Each piece is the caller's until the next one is asked for.
 * @param size of the blob
 * @param open as BlobStore.open; what it gives is closed here
 * @param fresh the packs, one after the other
 * @throws delta.invalid before the first piece for a recipe that cannot be right, later for packs that are damaged; what
 *   `open` and the sources throw
 */
export async function* applyDelta(
  recipe: Recipe,
  size: number,
  open: (digest: Digest) => Promise<BlobReader>,
  fresh: ByteSource,
): AsyncGenerator<Uint8Array, void, undefined> {
  const bases = new Bases(recipe.bases, open);
  const buffers = [Buffer.allocUnsafe(limits.delta.copy), Buffer.allocUnsafe(limits.delta.copy)] as const;
  try {
    const sizes: number[] = [];
    for (const index of recipe.bases.keys()) sizes.push((await needed(bases, index)).size);
    requireSound(recipe, { size, stored: fresh.size, sizes });
    const news = unpacked(recipe.packs, fresh, bases);
    let left: Uint8Array = new Uint8Array();
    for (const step of recipe.steps) {
      if (step.length === 3) {
        yield* copied(step, bases, buffers);
        continue;
      }
      for (let wanted = step[0]; wanted > 0; ) {
        if (left.length === 0) left = (await news.next()).value ?? new Uint8Array();
        if (left.length === 0) throw invalid('its packs hold less than they should');
        const piece = left.subarray(0, wanted);
        yield piece;
        left = left.subarray(piece.length);
        wanted -= piece.length;
      }
    }
  } finally {
    await bases.close();
  }
}

async function needed(bases: Bases, base: number): Promise<BlobReader> {
  const reader = await bases.reader(base);
  if (reader !== undefined) return reader;
  throw new AirlockError('bundle.base-missing', 'A file that a delta rests on is not here. Ask for a full bundle.');
}

/** Reads the next bytes while the caller works on these. */
async function* copied(
  [base, offset, length]: Copy,
  bases: Bases,
  buffers: readonly [Buffer, Buffer],
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = await needed(bases, base);
  const end = offset + length;
  const read = (into: Buffer, position: number) =>
    position < end ? readExactly(reader, into.subarray(0, end - position), position) : undefined;
  let [now, next] = buffers;
  let reading = read(now, offset);
  for (let position = offset; reading !== undefined; position += now.length) {
    const piece = await reading;
    reading = read(next, position + now.length);
    reading?.catch(() => undefined); // awaited above, unless the caller stops early
    yield piece;
    [now, next] = [next, now];
  }
}

async function readExactly(source: ByteSource, into: Buffer, position: number): Promise<Buffer> {
  if ((await source.readAt(into, position)) === into.length) return into;
  throw invalid('a file that it copies from ended early');
}

/** The new bytes, a pack at a time, each good until the next is asked for. */
async function* unpacked(
  packs: readonly Pack[],
  fresh: ByteSource,
  bases: Bases,
): AsyncGenerator<Uint8Array, undefined, undefined> {
  let position = 0;
  const rooms = {
    stored: Buffer.allocUnsafeSlow(most(packs.map(({ stored }) => stored))),
    dictionary: Buffer.allocUnsafeSlow(most(packs.map(({ dictionary }) => lengthOf(dictionary)))),
  };
  for (const { raw, stored, dictionary } of packs) {
    const bytes = await readExactly(fresh, rooms.stored.subarray(0, stored), position);
    position += stored;
    yield stored === raw ? bytes : await expand(bytes, raw, await readDictionary(dictionary, bases, rooms.dictionary));
  }
  return undefined;
}

async function expand(bytes: Buffer, raw: number, dictionary: Buffer): Promise<Buffer> {
  let expanded: Buffer;
  try {
    expanded = await decompress(bytes, {
      maxOutputLength: raw,
      chunkSize: limits.chunk,
      params: { [constants.ZSTD_d_windowLogMax]: limits.delta.windowLog },
      ...(dictionary.length === 0 ? {} : { dictionary }),
    });
  } catch (cause) {
    throw invalid('one of its packs is damaged', cause);
  }
  if (expanded.length !== raw) throw invalid(`one of its packs has ${expanded.length} bytes, not ${raw}`);
  return expanded;
}

/**
 * The stretches of held blobs that a dictionary consists of.
 * @param room they are read into its beginning
 */
export async function readDictionary(parts: readonly Copy[], bases: Bases, room: Buffer): Promise<Buffer> {
  const dictionary = room.subarray(0, lengthOf(parts));
  let filled = 0;
  for (const [base, offset, length] of parts) {
    await readExactly(await needed(bases, base), dictionary.subarray(filled, filled + length), offset);
    filled += length;
  }
  return dictionary;
}

function lengthOf(parts: readonly Copy[]): number {
  return parts.reduce((sum, [, , length]) => sum + length, 0);
}

function most(sizes: readonly number[]): number {
  return sizes.reduce((largest, size) => Math.max(largest, size), 0);
}
