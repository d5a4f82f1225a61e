/** The new bytes of a plan, compressed, and the recipe that goes with them. */
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { limits } from '../../limits.ts';
import type { BlobReader, ByteSource, Digest } from '../../repo/blobs/blob-store.ts';
import { readDictionary } from './apply-delta.ts';
import { Bases } from './bases.ts';
import type { DeltaPlan } from './plan-delta.ts';
import type { Copy, Pack, Recipe } from './recipe.ts';
import type { Step } from './steps.ts';

const compress = promisify(zstdCompress);

/** Zstandard's: what is new in images mostly is compressed already. */
const LEVEL = 6;

/** How a dictionary begins that is more than content (RFC 8878, section 5): Zstandard would read it as such. */
const FORMATTED = Buffer.from([0x37, 0xa4, 0x30, 0xec]);

/** Share of a blob that a delta must save to be worth its while. */
const LEAST_SAVING = 0.1;

/** Bytes of a recipe in a manifest, roughly: for each step, and for each base. */
const STEP_BYTES = 24;
const BASE_BYTES = 80;

export interface PackedDelta {
  readonly recipe: Recipe;
  /** Bytes that were written: those of the packs, one after the other. */
  readonly stored: number;
}

export interface PackOptions {
  /** As PlanOptions.open. */
  readonly open: (digest: Digest) => Promise<BlobReader | undefined>;
  /** Takes packs one after the other; the bytes are its own. */
  readonly write: (bytes: Uint8Array) => Promise<void>;
}

/**
 * Writes the packs.
 * @param blob the one that was planned for, unchanged
 * @returns undefined if the delta saves less than a tenth: what was written is then of no use, and the blob goes whole
 * @throws what the sources, `open` and `write` throw
 */
export async function packDelta(
  plan: DeltaPlan,
  blob: ByteSource,
  { open, write }: PackOptions,
): Promise<PackedDelta | undefined> {
  const most = plan.size * (1 - LEAST_SAVING) - plan.steps.length * STEP_BYTES - plan.bases.length * BASE_BYTES;
  const bases = new Bases(plan.bases, open);
  const packs: Pack[] = [];
  // Made once: V8 tidies up all it holds each time that so much memory beside its own was taken.
  const rooms = {
    raw: Buffer.allocUnsafeSlow(Math.min(plan.fresh, limits.delta.pack)),
    dictionary: Buffer.allocUnsafeSlow(limits.delta.dictionary),
  };
  let stored = 0;
  try {
    for (const content of cutIntoPacks(plan.steps)) {
      const raw = await readRuns(blob, content.runs, rooms.raw);
      const dictionary = await storedHere(content.dictionary, bases);
      const { bytes, parts } = await smallest(raw, dictionary, { bases, room: rooms.dictionary });
      stored += bytes.length;
      if (stored > most || packs.length === limits.delta.packs) return undefined;
      packs.push({ raw: raw.length, stored: bytes.length, dictionary: parts });
      await write(bytes);
    }
  } finally {
    await bases.close();
  }
  if (stored > most) return undefined;
  const steps = plan.steps.map((step): Recipe['steps'][number] =>
    step.base === null ? [step.length] : [step.base, step.offset, step.length],
  );
  return { recipe: { bases: [...plan.bases], steps, packs }, stored };
}

/** What one pack is to hold. */
interface Content {
  /** Of the blob. */
  readonly runs: { start: number; end: number }[];
  /** Stretches of bases that stand where these runs would. */
  readonly dictionary: Copy[];
}

function* cutIntoPacks(steps: readonly Step[]): Generator<Content, void, undefined> {
  let content: Content = { runs: [], dictionary: [] };
  let filled = 0;
  let position = 0;
  for (const [index, step] of steps.entries()) {
    if (step.base === null) {
      addNeighbours(content.dictionary, steps, index);
      for (let done = 0; done < step.length; ) {
        const part = Math.min(step.length - done, limits.delta.pack - filled);
        content.runs.push({ start: position + done, end: position + done + part });
        done += part;
        filled += part;
        if (filled < limits.delta.pack) continue;
        yield content;
        content = { runs: [], dictionary: [] };
        filled = 0;
        if (done < step.length) addNeighbours(content.dictionary, steps, index);
      }
    }
    position += step.length;
  }
  if (filled > 0) yield content;
}

/** Taken on one side of a run beyond its own length, and at most. */
const NEAR = 16 * 1024;
const FAR = 2 * 2 ** 20;

/** What stands in a base between the copies before and after a run; where that is no gap, what is next to each of them. */
function addNeighbours(dictionary: Copy[], steps: readonly Step[], index: number): void {
  const wanted = Math.min(FAR, NEAR + (steps[index]?.length ?? 0));
  const [before, after] = [steps[index - 1], steps[index + 1]];
  const from = before === undefined || before.base === null ? undefined : before.offset + before.length;
  const to = after === undefined || after.base === null ? undefined : after.offset;
  const gap = from === undefined || to === undefined || before?.base !== after?.base ? -1 : to - from;
  if (gap >= 0 && gap <= 2 * wanted) {
    if (gap > 0) dictionary.push([before?.base ?? 0, from ?? 0, gap]);
    return;
  }
  if (from !== undefined) dictionary.push([before?.base ?? 0, from, wanted]);
  if (to !== undefined && to > 0) dictionary.push([after?.base ?? 0, Math.max(0, to - wanted), Math.min(to, wanted)]);
}

/** Without what reaches beyond a base's end, stands there twice, or is too much; by base and offset. */
async function storedHere(parts: readonly Copy[], bases: Bases): Promise<Copy[]> {
  const sorted = parts.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
  const found: Copy[] = [];
  let room: number = limits.delta.dictionary;
  for (const [base, offset, length] of sorted) {
    const last = found.at(-1);
    const start = last !== undefined && last[0] === base ? Math.max(offset, last[1] + last[2]) : offset;
    const size = (await bases.reader(base))?.size ?? 0;
    const bytes = Math.min(offset + length, size, start + room) - start;
    if (bytes <= 0) continue;
    room -= bytes;
    if (last !== undefined && last[0] === base && last[1] + last[2] === start) last[2] += bytes;
    else if (found.length < limits.delta.dictionaryParts) found.push([base, start, bytes]);
  }
  return found;
}

async function readRuns(blob: ByteSource, runs: Content['runs'], room: Buffer): Promise<Buffer> {
  const size = runs.reduce((sum, { start, end }) => sum + end - start, 0);
  const raw = room.subarray(0, size);
  let filled = 0;
  for (const { start, end } of runs) filled += await blob.readAt(raw.subarray(filled, filled + end - start), start);
  if (filled !== size) throw new RangeError('the blob ended before its size');
  return raw;
}

/** With the dictionary, without, or not compressed at all. */
async function smallest(
  raw: Buffer,
  parts: Copy[],
  { bases, room }: { bases: Bases; room: Buffer },
): Promise<{ bytes: Buffer; parts: Copy[] }> {
  const plain = await compressed(raw);
  const dictionary = await readDictionary(parts, bases, room);
  const isUsable = dictionary.length > 0 && !dictionary.subarray(0, FORMATTED.length).equals(FORMATTED);
  const helped = isUsable ? await compressed(raw, dictionary) : plain;
  const best = helped.length < plain.length ? { bytes: helped, parts } : { bytes: plain, parts: [] };
  return best.bytes.length < raw.length ? best : { bytes: raw, parts: [] };
}

async function compressed(raw: Buffer, dictionary?: Buffer): Promise<Buffer> {
  return await compress(raw, {
    chunkSize: limits.chunk,
    params: {
      [constants.ZSTD_c_compressionLevel]: LEVEL,
      [constants.ZSTD_c_windowLog]: limits.delta.windowLog,
      [constants.ZSTD_c_contentSizeFlag]: 1,
    },
    ...(dictionary === undefined ? {} : { dictionary }),
  });
}
