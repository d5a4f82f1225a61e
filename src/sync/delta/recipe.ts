/**
 * A blob told as pieces of blobs that a site holds, and new bytes between them (design of the bundle: delta recipe).
 *
 * New bytes travel in packs, each compressed by itself with Zstandard. A pack may have a dictionary: stretches of held
 * blobs that are likely to resemble it.
 */
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const length = count.min(1);

/** Bytes of a held blob: its place in `bases`, where they begin, how many they are. */
const copy = z.tuple([count, count, length]);
/** So many of the new bytes, from where the last ones ended. */
const fresh = z.tuple([length]);

const pack = z.object({
  /** Bytes before and after compression; the same: it is not compressed. */
  raw: length.max(limits.delta.pack),
  stored: length,
  dictionary: z.array(copy).max(limits.delta.dictionaryParts),
});

/** As it stands in a manifest. `requireSound` says whether it makes sense. */
export const recipeSchema = z.object({
  bases: z
    .array(z.string().regex(/^sha256:[0-9a-f]{64}$/))
    .max(limits.delta.bases)
    .transform((digests) => digests as Digest[]),
  /** In the order of the blob. */
  steps: z.array(z.union([copy, fresh])).max(limits.delta.steps),
  packs: z.array(pack).max(limits.delta.packs),
});

/** @throws delta.invalid for what is no recipe at all */
export function parseRecipe(text: Buffer): Recipe {
  let value: unknown;
  try {
    value = JSON.parse(text.toString('utf8'));
  } catch (cause) {
    throw invalid('its recipe cannot be read', cause);
  }
  const result = recipeSchema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(`its recipe is none (${result.error.issues[0]?.path.join('.') ?? ''})`, result.error);
}

export type Recipe = z.infer<typeof recipeSchema>;
export type Copy = z.infer<typeof copy>;
export type Pack = z.infer<typeof pack>;

/**
 * Checks a recipe against what it is for, before anything is done by it.
 * @param sizes of the bases, in their order
 * @throws delta.invalid
 */
export function requireSound(
  recipe: Recipe,
  { size, stored, sizes }: { size: number; stored: number; sizes: readonly number[] },
): void {
  const { bases, steps, packs } = recipe;
  const tooMuch =
    bases.length > limits.delta.bases || steps.length > limits.delta.steps || packs.length > limits.delta.packs;
  if (tooMuch) throw invalid('it is longer than any that Airlock makes');
  const total = { all: 0, fresh: 0, raw: 0, stored: 0 };
  for (const step of steps) {
    const bytes = step.length === 1 ? requireLength(step[0]) : requireCopy(step, sizes);
    total.all += bytes;
    if (step.length === 1) total.fresh += bytes;
  }
  for (const { raw, stored: packed, dictionary } of packs) {
    total.raw += requireLength(raw);
    total.stored += requireLength(packed);
    let bytes = 0;
    for (const part of dictionary) bytes += requireCopy(part, sizes);
    if (raw > limits.delta.pack || packed > raw || bytes > limits.delta.dictionary) {
      throw invalid('one of its packs is larger than any that Airlock makes');
    }
  }
  if (total.all !== size) throw invalid(`its steps give ${total.all} bytes, and the blob has ${size}`);
  if (total.fresh !== total.raw)
    throw invalid(`its steps ask for ${total.fresh} new bytes, its packs hold ${total.raw}`);
  if (total.stored !== stored) throw invalid(`its packs have ${total.stored} bytes, and ${stored} came`);
}

function requireLength(bytes: number): number {
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw invalid('a length in it is none');
}

function requireCopy([base, offset, bytes]: Copy, sizes: readonly number[]): number {
  const size = sizes[base];
  requireLength(bytes);
  const isWithin = size !== undefined && Number.isSafeInteger(offset) && offset >= 0 && offset + bytes <= size;
  if (isWithin) return bytes;
  throw invalid('it copies from where there is nothing');
}

/** @returns what to throw for a recipe that is wrong in itself */
export function invalid(why: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'delta.invalid',
    `A file cannot be made from what is here and what came: ${why}. Nothing of it was taken; ask for a new bundle, or for the whole files (export --full).`,
    cause === undefined ? {} : { cause },
  );
}
