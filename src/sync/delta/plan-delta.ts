/**
 * What of a blob a site has already, in whatever blobs. First all that it holds is looked through by chunks of 64 KiB, then
 * what is left of the blobs that turned out to be alike by smaller ones; copies are extended to the byte each time.
 * Memory is bounded by limits.delta, however large the blobs are.
 */
import { limits } from '../../limits.ts';
import type { BlobReader, ByteRange, ByteSource, Digest } from '../../repo/blobs/blob-store.ts';
import { Bases } from './bases.ts';
import { chunksOf, FINE, type Grain, MEDIUM, newScratch, type Scratch } from './chunker.ts';
import { extendCopies } from './extend-copies.ts';
import { HeldChunks } from './held-chunks.ts';
import { matchChunks } from './match-chunks.ts';
import { freshBytes, type Step, Steps } from './steps.ts';

export interface DeltaPlan {
  readonly size: number;
  /** Blobs that steps copy from; no others. */
  readonly bases: readonly Digest[];
  /** In the order of the blob, by place in `bases`. */
  readonly steps: readonly Step[];
  /** Bytes that have to travel, before they are compressed. */
  readonly fresh: number;
}

export interface PlanOptions {
  /** As BlobStore.open, but gives undefined for what the site holds and is not stored here. What it gives is closed here. */
  readonly open: (digest: Digest) => Promise<BlobReader | undefined>;
  /** Called with the number of bytes done since the last call, or 0 where some are looked at again; may throw to stop. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Reads the blob once, and those parts again that are new.
 * @param blob of which `held` knows nothing yet
 * @returns undefined where the site has nothing of it, or only crumbs
 * @throws what the sources, `open` and `onBytes` throw
 */
export async function planDelta(
  blob: ByteSource,
  held: HeldChunks,
  { open, onBytes }: PlanOptions,
): Promise<DeltaPlan | undefined> {
  const scratch = newScratch();
  const coarse = await matchChunks(blob, held, { scratch, onBytes });
  if (coarse.list.length > limits.delta.steps || coarse.list.every(({ base }) => base === null)) return undefined;
  const bases = new Bases(held.blobs, open);
  try {
    let steps: readonly Step[] = (await extendCopies(coarse.list, blob, bases)).list;
    for (const { grain, most, unless } of ROUNDS) {
      if ((await leftovers(steps, bases)).bytes > unless) {
        steps = await refine(blob, steps, { bases, digests: held.blobs, scratch, onBytes, grain, most });
      }
    }
    return withOwnBases(steps, held.blobs);
  } finally {
    await bases.close();
  }
}

/** Over so many bytes of the bases, unless no more than that are left and the next round looks at all of them. */
const ROUNDS: readonly { readonly grain: Grain; readonly most: number; readonly unless: number }[] = [
  { grain: MEDIUM, most: limits.delta.mediumBytes, unless: limits.delta.fineBytes },
  { grain: FINE, most: limits.delta.fineBytes, unless: 0 },
];

interface Refinement {
  readonly bases: Bases;
  readonly digests: readonly Digest[];
  readonly scratch: Scratch;
  readonly onBytes: PlanOptions['onBytes'] | undefined;
  readonly grain: Grain;
  readonly most: number;
}

/** Looks for what is new so far in what is left of the bases. */
async function refine(blob: ByteSource, steps: readonly Step[], refinement: Refinement): Promise<readonly Step[]> {
  const { bases, grain, scratch, onBytes } = refinement;
  if (freshBytes(steps) === 0) return steps;
  const left = await indexLeftovers(steps, refinement);
  if (left.count === 0) return steps;
  const refined = new Steps();
  let position = 0;
  for (const step of steps) {
    onBytes?.(0);
    if (step.base === null && step.length >= grain.least) {
      const range = { start: position, end: position + step.length };
      refined.addAll((await matchChunks(blob, left, { grain, range, scratch })).list);
    } else refined.add(step);
    position += step.length;
  }
  const extended = (await extendCopies(refined.list, blob, bases)).list;
  return extended.length > limits.delta.steps ? steps : extended;
}

async function indexLeftovers(
  steps: readonly Step[],
  { bases, digests, grain, scratch, onBytes, most }: Refinement,
): Promise<HeldChunks> {
  const index = new HeldChunks();
  for (const digest of digests) index.addBlob(digest);
  let room = most;
  for (const { base, ranges } of (await leftovers(steps, bases)).of) {
    const reader = await bases.reader(base);
    if (reader === undefined) continue;
    for (const { start, end } of ranges) {
      const range = { start, end: Math.min(end, start + room) };
      room -= range.end - range.start;
      if (range.end - range.start < grain.least) continue;
      for await (const { hash, offset, length } of chunksOf(reader, { grain, range, scratch })) {
        index.addChunk(hash, { blob: base, offset, length });
        onBytes?.(0);
      }
    }
  }
  return index;
}

/** The parts of the bases that no step copies, as far as these are stored here; blobs are numbered as in the steps. */
async function leftovers(
  steps: readonly Step[],
  bases: Bases,
): Promise<{ of: { base: number; ranges: ByteRange[] }[]; bytes: number }> {
  const of: { base: number; ranges: ByteRange[] }[] = [];
  let bytes = 0;
  for (const [base, copied] of copiedRanges(steps)) {
    const size = (await bases.reader(base))?.size;
    if (size === undefined) continue;
    const ranges = [...complement(copied, size)];
    bytes += ranges.reduce((sum, { start, end }) => sum + end - start, 0);
    of.push({ base, ranges });
  }
  return { of, bytes };
}

/** By base, ascending. */
function copiedRanges(steps: readonly Step[]): Map<number, ByteRange[]> {
  const ranges = new Map<number, ByteRange[]>();
  for (const step of steps) {
    if (step.base === null) continue;
    const own = ranges.get(step.base) ?? [];
    own.push({ start: step.offset, end: step.offset + step.length });
    ranges.set(step.base, own);
  }
  for (const own of ranges.values()) own.sort((a, b) => a.start - b.start);
  return ranges;
}

function* complement(ranges: readonly ByteRange[], size: number): Generator<ByteRange, void, undefined> {
  let position = 0;
  for (const { start, end } of ranges) {
    if (start > position) yield { start: position, end: start };
    position = Math.max(position, end);
  }
  if (position < size) yield { start: position, end: size };
}

function withOwnBases(steps: readonly Step[], digests: readonly Digest[]): DeltaPlan | undefined {
  const numbers = new Map<number, number>();
  const own: Step[] = [];
  const bases: Digest[] = [];
  for (const step of steps) {
    if (step.base === null) {
      own.push(step);
      continue;
    }
    const number = numbers.get(step.base) ?? bases.length;
    const digest = digests[step.base];
    if (digest !== undefined && number === bases.length) {
      numbers.set(step.base, number);
      bases.push(digest);
    }
    own.push({ ...step, base: number });
  }
  if (bases.length > limits.delta.bases) return undefined;
  const size = steps.reduce((sum, { length }) => sum + length, 0);
  return { size, bases, steps: own, fresh: freshBytes(own) };
}
