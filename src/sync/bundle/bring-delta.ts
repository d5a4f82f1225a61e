/**
 * A blob that came as a delta: made from what is here and what lies in volumes. It exists once its digest is what was
 * signed; what went wrong otherwise is found out afterwards, for it decides what to do next.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { BlobReader, BlobStat, ByteSource, Digest } from '../../repo/blobs/blob-store.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { heard, type StagingOptions, type Stores } from '../../repo/staging.ts';
import { TrustedBlobs } from '../../repo/trusted-blobs.ts';
import { applyDelta } from '../delta/apply-delta.ts';
import { invalid, parseRecipe, type Recipe } from '../delta/recipe.ts';
import { damagedVolume } from './damaged-volume.ts';
import type { ManifestBlob } from './manifest.ts';
import type { VolumeSet } from './volume-set.ts';

type InDelta = Extract<ManifestBlob, { in: 'delta' }>;

/**
 * @throws bundle.base-missing for what it rests on and is not here, or damaged here; blob.digest-mismatch naming volumes
 *   that are damaged; delta.invalid for a delta that is as it was signed, and still wrong; source.lost, interrupted
 */
export async function bringDelta(
  stores: Stores,
  blob: InDelta,
  { volumes, options }: { volumes: VolumeSet; options: StagingOptions },
): Promise<BlobStat> {
  const trusted = new TrustedBlobs({ ...stores, openBlobs: 1 });
  const open = (digest: Digest) => openBase(trusted, blob, digest);
  const delta = volumes.bytesOf(blob);
  const onBytes = heard(options);
  const writer = await stores.blobs.create();
  try {
    let position = 0;
    const packs: ByteSource = { size: delta.size - blob.delta.recipe, readAt: delta.readAt };
    for await (const piece of applyDelta(await recipeOf(blob, delta), blob.size, open, packs)) {
      await writer.writeAt(position, piece);
      position += piece.byteLength;
      onBytes(piece.byteLength);
    }
    return await writer.commit(blob);
  } catch (error) {
    await writer.cancel();
    const isWrong = isAirlockError(
      error,
      'delta.invalid',
      'blob.digest-mismatch',
      'blob.size-mismatch',
      'blob.incomplete',
    );
    throw isWrong ? await reasonOf(error, { stores, blob, delta, volumes }) : error;
  } finally {
    trusted.close();
  }
}

/** @throws delta.invalid */
async function recipeOf({ bases, delta }: InDelta, source: ByteSource): Promise<Recipe> {
  const text = Buffer.alloc(delta.recipe);
  await source.readAt(text, source.size - text.length);
  const recipe = parseRecipe(text);
  const promised = new Set(bases);
  if (recipe.bases.every((base) => promised.has(base))) return recipe;
  throw invalid('it copies from what the bundle does not say it rests on');
}

async function openBase(trusted: TrustedBlobs, blob: InDelta, digest: Digest): Promise<BlobReader> {
  try {
    return await trusted.open(digest);
  } catch (error) {
    throw isAirlockError(error, 'blob.missing', 'blob.damaged')
      ? baseMissing(blob, digest, 'is not here', error)
      : error;
  }
}

interface Failed {
  readonly stores: Stores;
  readonly blob: InDelta;
  readonly delta: ByteSource;
  readonly volumes: VolumeSet;
}

/** The volume, a blob here that rotted, or whoever made the delta: in this order, for the first two can be put right. */
async function reasonOf(error: AirlockError, { stores, blob, delta, volumes }: Failed): Promise<AirlockError> {
  if ((await digestOf(delta)) !== blob.delta.digest) return damagedVolume(blob, volumes, error);
  for (const base of blob.bases) {
    const reader = await stores.blobs.open(base);
    try {
      if ((await digestOf(reader)) !== base) return baseMissing(blob, base, 'is damaged here', error);
    } finally {
      await reader.close();
    }
  }
  return error.code === 'delta.invalid' ? error : invalid('it gives other bytes than were signed', error);
}

function baseMissing(blob: InDelta, base: Digest, why: string, cause: AirlockError): AirlockError {
  return new AirlockError(
    'bundle.base-missing',
    `${blob.digest} is to be made from ${base}, which ${why}. Run "airlock verify", send a receipt ("airlock receipt write") and ask for a new bundle, or for a full one ("airlock export --full").`,
    { cause, details: { digest: blob.digest, base } },
  );
}
