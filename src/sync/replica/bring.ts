/**
 * Bytes on their way from the HA twin into our store: several files at once, each proven by its digest before it exists.
 * A large one that broke off is gone on with, also after this process was killed; a slice of an image that is here, or
 * comes along, is looked for there and not fetched.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { BlobRecords } from '../../repo/blob-records.ts';
import type { BlobStat, BlobWriter, Digest } from '../../repo/blobs/blob-store.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { sliceReader, sliceStat } from '../../repo/blobs/slice-reader.ts';
import type { Place } from '../../repo/catalog/artifact.ts';
import { heard, type Leases, leased, requireSpace, type StagingOptions, type Stores } from '../../repo/staging.ts';
import type { Peer } from './peer.ts';

/** Bytes that are needed here. */
export interface Wanted {
  readonly digest: Digest;
  readonly size: number;
  /** Where they lie at the twin, if they are a slice. */
  readonly within: Place | null;
}

type WantedSlice = Wanted & { readonly within: Place };

/** Bytes that the twin cannot give, or gives wrong, and why. */
export type Unavailable = ReadonlyMap<Digest, AirlockError>;

/**
 * Brings what is not here. What is stored stays, whatever happens to the rest.
 * @param leases gains what must not be pruned until something refers to it
 * @returns what did not come
 * @throws space.insufficient before anything is fetched; upstream.*, interrupted
 */
export async function bring(
  stores: Stores,
  peer: Peer,
  wanted: Iterable<Wanted>,
  { leases, options }: { leases: Leases; options: StagingOptions },
): Promise<Unavailable> {
  const missing = new Map<Digest, Wanted>();
  for (const each of wanted) {
    if (!missing.has(each.digest) && (await leased(stores, each.digest, leases)) === undefined)
      missing.set(each.digest, each);
  }
  const slices: WantedSlice[] = [];
  const files: Wanted[] = [];
  for (const each of missing.values()) {
    if (isSlice(each) && (missing.has(each.within.container) || (await isHere(stores, each.within.container)))) {
      slices.push(each);
    } else files.push(each);
  }
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  if (bytes > 0) await requireSpace(stores.blobs, bytes);
  options.progress.start('replicate', bytes);
  try {
    const failed = await fetchAll(stores, peer, files, options);
    const strayed = await recordSlices(stores, slices, options);
    return new Map([...failed, ...(await fetchAll(stores, peer, strayed, options))]);
  } finally {
    options.progress.stop();
  }
}

function isSlice(wanted: Wanted): wanted is WantedSlice {
  return wanted.within !== null;
}

async function isHere({ blobs, catalog }: Stores, digest: Digest): Promise<boolean> {
  const record = await catalog.blob(digest);
  return record?.stamp != null && (await blobs.stat(digest))?.stamp === record.stamp;
}

/** Of failures that concern more than one file, the first ends all of them; what can be resumed is kept. */
async function fetchAll(
  stores: Stores,
  peer: Peer,
  files: readonly Wanted[],
  options: StagingOptions,
): Promise<Unavailable> {
  const broken = new AbortController();
  const signal = AbortSignal.any([options.signal, broken.signal]);
  const record = new BlobRecords(stores);
  const waiting = files.values();
  const unavailable = new Map<Digest, AirlockError>();
  const failures: unknown[] = [];
  const work = async () => {
    for (const each of waiting) {
      try {
        await record.add(await fetchOne(stores, peer, each, { ...options, signal }));
      } catch (error) {
        if (isAirlockError(error, ...OF_ONE_FILE)) {
          unavailable.set(each.digest, error);
          continue;
        }
        failures.push(error);
        broken.abort();
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limits.replica.parallel, files.length) }, work));
  await record.flush();
  if (failures.length > 0) throw failures[0];
  return unavailable;
}

const OF_ONE_FILE = ['blob.missing', 'blob.digest-mismatch', 'blob.size-mismatch', 'upstream.unusable'] as const;

async function fetchOne(stores: Stores, peer: Peer, wanted: Wanted, options: StagingOptions): Promise<BlobStat> {
  const { digest, size } = wanted;
  const writer = await openWriter(stores, wanted);
  const onBytes = heard(options);
  try {
    const [first] = writer.have();
    let done = first?.start === 0 ? Math.min(first.end, size) : 0;
    onBytes(done);
    if (done < size) {
      const { body, start } = await peer.blob(wanted, { start: done, signal: options.signal });
      try {
        done = start;
        for await (const bytes of body) {
          if (done + bytes.byteLength > size) throw peer.notThat(digest, `it goes on after its ${size} bytes`);
          await writer.writeAt(done, bytes);
          done += bytes.byteLength;
          onBytes(bytes.byteLength);
        }
      } finally {
        body.destroy();
      }
      if (done < size) throw endedEarly(peer, digest);
    }
    const stat = await writer.commit({ digest, size });
    await forgetPartial(stores, wanted);
    return stat;
  } catch (error) {
    if (isWorthKeeping(error)) await writer.suspend().catch(() => undefined);
    else await forgetPartial(stores, wanted);
    await writer.cancel();
    throw error;
  }
}

/** Wrong bytes are of no use; the others are gone on with. */
function isWorthKeeping(error: unknown): boolean {
  const codes = ['interrupted', 'upstream.unreachable', 'upstream.failed', 'space.insufficient'] as const;
  return isAirlockError(error, ...codes);
}

/** A writer that goes on where the last attempt ended, for files of which that spares something. */
async function openWriter({ blobs, catalog }: Stores, { digest, size }: Wanted): Promise<BlobWriter> {
  if (size <= limits.checkpointEvery) return await blobs.create();
  const id = await catalog.meta(partialKey(digest));
  if (id !== undefined) {
    try {
      return await blobs.resume(id);
    } catch (error) {
      if (!isAirlockError(error, 'blob.missing', 'blob.busy')) throw error;
    }
  }
  const writer = await blobs.create({ resumable: true });
  await catalog.setMeta(partialKey(digest), writer.id);
  return writer;
}

async function forgetPartial({ catalog }: Stores, { digest, size }: Wanted): Promise<void> {
  if (size > limits.checkpointEvery) await catalog.setMeta(partialKey(digest), undefined);
}

function partialKey(digest: Digest): string {
  return `replica.partial:${digest}`;
}

/**
 * Looks for slices where the twin says that they lie, and records those that are there.
 * @returns the others
 */
async function recordSlices(
  { blobs, catalog }: Stores,
  slices: readonly WantedSlice[],
  options: StagingOptions,
): Promise<Wanted[]> {
  const strayed: Wanted[] = [];
  for (const [of, own] of Map.groupBy(slices, ({ within }) => within.container)) {
    const container = await blobs.open(of).catch((error: unknown) => {
      if (isAirlockError(error, 'blob.missing')) return undefined;
      throw error;
    });
    if (container === undefined) {
      strayed.push(...own);
      continue;
    }
    try {
      const found: WantedSlice[] = [];
      for (const slice of own) {
        const { digest, size, within } = slice;
        const there = await digestOf(sliceReader(container, { digest, size, start: within.start }), () =>
          heard(options)(0),
        );
        if (there === digest && within.start + size <= container.size) found.push(slice);
        else strayed.push(slice);
      }
      await catalog.transaction(async (tx) => {
        for (const { digest, size, within } of found) {
          await tx.recordSlice(sliceStat(container, { digest, size, start: within.start }), within);
        }
      });
    } finally {
      await container.close();
    }
  }
  return strayed;
}

function endedEarly(peer: Peer, digest: Digest): AirlockError {
  return new AirlockError(
    'upstream.failed',
    `The peer ${peer.origin} broke off in the midst of ${digest}. What was fetched is kept, and gone on with.`,
    { details: { origin: peer.origin, digest } },
  );
}
