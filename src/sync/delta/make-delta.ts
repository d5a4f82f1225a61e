/**
 * A delta as a file: packs of new bytes, one after the other, and behind them the recipe as JSON. It counts only once it
 * was applied and gave the very blob.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobReader, ByteSource, Digest } from '../../repo/blobs/blob-store.ts';
import { asSpaceError } from '../../repo/blobs/durable.ts';
import { applyDelta } from './apply-delta.ts';
import type { HeldChunks } from './held-chunks.ts';
import { packDelta } from './pack-delta.ts';
import { type PlanOptions, planDelta } from './plan-delta.ts';
import type { Recipe } from './recipe.ts';

export interface MadeDelta {
  /** Of the file. */
  readonly digest: Digest;
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of the recipe, which is the end of the file. */
  readonly recipe: number;
  /** Blobs that it copies from. */
  readonly bases: readonly Digest[];
}

/**
 * @param blob of which `held` knows nothing yet
 * @param file is made anew, and durable when this returns; worth nothing if it returns undefined
 * @returns undefined where the blob had better go whole
 * @throws as planDelta and packDelta; space.insufficient
 */
export async function makeDelta(
  blob: BlobReader,
  held: HeldChunks,
  file: string,
  options: PlanOptions,
): Promise<MadeDelta | undefined> {
  const plan = await planDelta(blob, held, options);
  if (plan === undefined) return undefined;
  const handle = await openFile(file, 'w+');
  try {
    const hash = createHash('sha256');
    let size = 0;
    const write = async (bytes: Uint8Array): Promise<void> => {
      hash.update(bytes);
      size += bytes.byteLength;
      await handle.writeFile(bytes);
    };
    const packed = await packDelta(plan, blob, { open: options.open, write });
    const recipe = packed === undefined ? undefined : Buffer.from(JSON.stringify(packed.recipe));
    if (packed === undefined || recipe === undefined || recipe.length > limits.delta.recipeBytes) return undefined;
    if (!(await gives(blob, packed.recipe, sourceOf(handle, packed.stored), options))) return undefined;
    await write(recipe);
    await handle.sync();
    return { digest: `sha256:${hash.digest('hex')}`, size, recipe: recipe.length, bases: plan.bases };
  } catch (error) {
    throw asSpaceError(error, file);
  } finally {
    await handle.close();
  }
}

function sourceOf(handle: FileHandle, size: number): ByteSource {
  return {
    size,
    readAt: async (into, position) => (await handle.read(into, 0, into.byteLength, position)).bytesRead,
  };
}

/** Whether a recipe gives the blob, byte for byte. */
async function gives(
  blob: BlobReader,
  recipe: Recipe,
  packs: ByteSource,
  { open, onBytes }: PlanOptions,
): Promise<boolean> {
  const hash = createHash('sha256');
  const stored = async (digest: Digest): Promise<BlobReader> => {
    const reader = await open(digest);
    if (reader !== undefined) return reader;
    throw new AirlockError('blob.missing', `${digest} is not stored here any more. Export again.`);
  };
  try {
    for await (const piece of applyDelta(recipe, blob.size, stored, packs)) {
      hash.update(piece);
      onBytes?.(0);
    }
  } catch (error) {
    if (isAirlockError(error, 'delta.invalid', 'blob.missing')) return false;
    throw error;
  }
  return `sha256:${hash.digest('hex')}` === blob.digest;
}
