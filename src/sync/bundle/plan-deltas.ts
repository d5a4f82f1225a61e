/** Which of the blobs that a site lacks travel as deltas, against all that it holds and that is stored here, too. */
import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobReader, Digest } from '../../repo/blobs/blob-store.ts';
import { heard, type StagingOptions } from '../../repo/staging.ts';
import type { TrustedBlobs } from '../../repo/trusted-blobs.ts';
import { DeltaFiles } from '../delta/delta-files.ts';
import type { HeldChunks } from '../delta/held-chunks.ts';
import { indexHeld } from '../delta/index-held.ts';
import { type MadeDelta, makeDelta } from '../delta/make-delta.ts';
import type { Holdings, Plan } from './plan.ts';

export interface DeltaContext {
  readonly dataDir: string;
  readonly blobs: TrustedBlobs;
}

export interface PlannedDeltas {
  /** By the blobs that they give. */
  readonly deltas: ReadonlyMap<Digest, MadeDelta>;
  /** Where they lie; undefined if there cannot be any. */
  readonly files: DeltaFiles | undefined;
}

/**
 * @param holdings of the site, as the plan was made with
 * @throws interrupted, space.insufficient; what reading stored blobs throws
 */
export async function planDeltas(
  context: DeltaContext,
  { site, plan, holdings }: { site: string; plan: Plan; holdings: Holdings | undefined },
  options: StagingOptions,
): Promise<PlannedDeltas> {
  const deltas = new Map<Digest, MadeDelta>();
  if (holdings?.takesDeltas !== true) return { deltas, files: undefined };
  const files = await DeltaFiles.open(context.dataDir, site, holdings.receipt);
  const untried: Digest[] = [];
  for (const { digest, size } of plan.items) {
    if (size < limits.delta.leastBlob) continue;
    const found = await files.find(digest);
    if (found === undefined) untried.push(digest);
    else if (found !== null) deltas.set(digest, found);
  }
  if (untried.length > 0) await makeAll(context, { plan, holdings, files, untried, deltas }, options);
  return { deltas, files };
}

interface Making {
  readonly plan: Plan;
  readonly holdings: Holdings;
  readonly files: DeltaFiles;
  readonly untried: readonly Digest[];
  readonly deltas: Map<Digest, MadeDelta>;
}

async function makeAll(
  { dataDir, blobs }: DeltaContext,
  { plan, holdings, files, untried, deltas }: Making,
  options: StagingOptions,
): Promise<void> {
  const open = (digest: Digest) => openStored(blobs, digest);
  const { progress } = options;
  progress.start('looking for what the site has', sizeOf(untried, plan));
  try {
    const held = await heldChunks(dataDir, { plan, holdings }, { open, onBytes: () => heard(options)(0) });
    if (held.count === 0) return;
    for (const digest of untried) {
      const blob = await blobs.open(digest);
      try {
        const made = await files.keep(digest, (file) => makeDelta(blob, held, file, { open, onBytes: heard(options) }));
        if (made !== undefined) deltas.set(digest, made);
      } finally {
        await blob.close();
      }
    }
  } finally {
    progress.stop();
  }
}

/** Large blobs first: images resemble each other. Slices are looked for in the blobs in which they lie. */
async function heldChunks(
  dataDir: string,
  { plan: { known }, holdings: { digests } }: Pick<Making, 'plan' | 'holdings'>,
  options: Parameters<typeof indexHeld>[2],
): Promise<HeldChunks> {
  const held: { digest: Digest; size: number }[] = [];
  for (const [digest, { size, within, isStored }] of known) {
    if (!isStored || !digests.has(digest) || size < limits.delta.leastBlob) continue;
    if (within !== null && digests.has(within.container)) continue;
    held.push({ digest, size });
  }
  held.sort((a, b) => b.size - a.size || (a.digest < b.digest ? -1 : 1));
  return await indexHeld(await DeltaFiles.chunkFile(dataDir), held, options);
}

/** @returns undefined for what cannot be relied on here any more */
async function openStored(blobs: TrustedBlobs, digest: Digest): Promise<BlobReader | undefined> {
  try {
    return await blobs.open(digest);
  } catch (error) {
    if (isAirlockError(error, 'blob.missing', 'blob.damaged')) return undefined;
    throw error;
  }
}

function sizeOf(digests: readonly Digest[], { known }: Plan): number {
  return digests.reduce((sum, digest) => sum + (known.get(digest)?.size ?? 0), 0);
}
