/**
 * The bytes of a bundle on their way into the store. Each blob is recorded once it is stored, so that a second run goes on
 * where the first one ended; until something is published nobody sees any of it, and `prune` takes what was given up.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { BlobRecords } from '../../repo/blob-records.ts';
import type { BlobStat, BlobWriter, Digest } from '../../repo/blobs/blob-store.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { readAhead } from '../../repo/blobs/read-ahead.ts';
import { sliceReader, sliceStat } from '../../repo/blobs/slice-reader.ts';
import { heard, type Leases, leased, requireSpace, type StagingOptions, type Stores } from '../../repo/staging.ts';
import { TrustedBlobs } from '../../repo/trusted-blobs.ts';
import { bringDelta } from './bring-delta.ts';
import { damagedVolume } from './damaged-volume.ts';
import { isCarried, type Manifest, type ManifestBlob, type ManifestCarried, neededBytes } from './manifest.ts';
import type { VolumeSet } from './volume-set.ts';

type InVolumes = Extract<ManifestBlob, { in: 'volumes' }>;
type InBlob = Extract<ManifestBlob, { in: 'blob' }>;

/** What of a bundle is not here yet. */
export interface MissingBlobs {
  /** To be read, in the order in which they lie. */
  readonly carried: readonly ManifestCarried[];
  /** Slices of what is here or will be. */
  readonly slices: readonly InBlob[];
}

const PARTIAL = 'bundles.partial';

/**
 * Finds what is not here, and protects what is from `prune`.
 * @throws bundle.base-missing if the bundle counts on something that is not here any more
 */
export async function findMissing(stores: Stores, manifest: Manifest, leases: Leases): Promise<MissingBlobs> {
  const carried: ManifestCarried[] = [];
  const slices: InBlob[] = [];
  const lost: Extract<ManifestBlob, { in: 'site' }>[] = [];
  const trusted = new TrustedBlobs({ ...stores, openBlobs: 1 });
  try {
    for (const blob of manifest.blobs.values()) {
      if (await isPublished(stores, blob.digest)) continue;
      if ((await leased(stores, blob.digest, leases)) !== undefined) continue;
      if (isCarried(blob)) carried.push(blob);
      else if (blob.in === 'blob') slices.push(blob);
      else if (!(await isStillGood(trusted, blob.digest))) lost.push(blob);
    }
  } finally {
    trusted.close();
  }
  if (lost.length > 0) throw baseMissing(manifest, lost);
  const place = ({ pieces: [first] }: ManifestCarried) => [first?.volume ?? 0, first?.offset ?? 0] as const;
  carried.sort((a, b) => place(a)[0] - place(b)[0] || place(a)[1] - place(b)[1]);
  return { carried, slices };
}

/**
 * Brings everything that is missing.
 * @throws space.insufficient before anything is read; blob.digest-mismatch naming the volume; as bringDelta; source.lost,
 *   interrupted
 */
export async function bringBlobs(
  stores: Stores,
  manifest: Manifest,
  { carried, slices }: MissingBlobs,
  { volumes, options }: { volumes: VolumeSet; options: StagingOptions },
): Promise<void> {
  const bytes = carried.reduce((sum, blob) => sum + neededBytes(blob), 0);
  await requireSpace(stores.blobs, bytes - (await bytesOfPartial(stores, carried)));
  const record = new BlobRecords(stores);
  options.progress.start('import', bytes);
  try {
    for (const blob of carried) {
      const brought =
        blob.in === 'delta' ? bringDelta(stores, blob, { volumes, options }) : bringOne(stores, blob, volumes, options);
      await record.add(await brought);
    }
    await record.flush();
    await recordSlices(stores, manifest, slices, options);
  } finally {
    await record.flush().catch(() => undefined); // what failed is told already
    options.progress.stop();
  }
}

async function bringOne(
  stores: Stores,
  blob: InVolumes,
  volumes: VolumeSet,
  options: StagingOptions,
): Promise<BlobStat> {
  const writer = await openWriter(stores, blob);
  const [first] = writer.have();
  let done = first?.start === 0 ? Math.min(first.end, blob.size) : 0;
  const onBytes = heard(options);
  onBytes(done);
  try {
    let from = 0;
    for (const { volume, offset, length } of blob.pieces) {
      const skip = Math.min(length, Math.max(0, done - from));
      const { file } = volumes.volume(volume);
      for await (const bytes of readAhead(file, { start: offset + skip, end: offset + length }, limits.chunk)) {
        await writer.writeAt(done, bytes);
        done += bytes.byteLength;
        onBytes(bytes.byteLength);
      }
      from += length;
    }
    return await writer.commit(blob);
  } catch (error) {
    await end(stores, writer, error);
    throw isAirlockError(error, 'blob.digest-mismatch', 'blob.size-mismatch', 'blob.incomplete')
      ? damagedVolume(blob, volumes, error)
      : error;
  }
}

/** What a run before left of a large blob takes its room already. */
async function bytesOfPartial(stores: Stores, carried: readonly ManifestCarried[]): Promise<number> {
  const blob = await partialOf(stores);
  if (blob === undefined || !carried.some(({ digest }) => digest === blob.digest)) return 0;
  const writer = await resumed(stores, blob);
  if (writer === undefined) return 0;
  const bytes = writer.have().reduce((sum, { start, end }) => sum + end - start, 0);
  await writer.suspend();
  return bytes;
}

/** The large blob that the run before could not finish. */
interface PartialBlob {
  readonly digest: string;
  readonly id: string;
}

async function partialOf({ catalog }: Stores): Promise<PartialBlob | undefined> {
  const text = await catalog.meta(PARTIAL);
  const known = text === undefined ? {} : (JSON.parse(text) as { digest?: unknown; id?: unknown });
  const { digest, id } = known;
  return typeof digest === 'string' && typeof id === 'string' ? { digest, id } : undefined;
}

async function resumed({ blobs }: Stores, { id }: PartialBlob): Promise<BlobWriter | undefined> {
  try {
    return await blobs.resume(id);
  } catch (error) {
    if (isAirlockError(error, 'blob.missing', 'blob.busy')) return undefined;
    throw error;
  }
}

/** Goes on with the large blob that the run before could not finish. */
async function openWriter(stores: Stores, { digest, size }: InVolumes): Promise<BlobWriter> {
  const { blobs, catalog } = stores;
  if (size <= limits.checkpointEvery) return await blobs.create();
  const partial = await partialOf(stores);
  const begun = partial?.digest === digest ? await resumed(stores, partial) : undefined;
  if (begun !== undefined) return begun;
  const writer = await blobs.create({ resumable: true });
  await catalog.setMeta(PARTIAL, JSON.stringify({ digest, id: writer.id }));
  return writer;
}

/** Wrong bytes are of no use; the others are gone on with. */
async function end({ catalog }: Stores, writer: BlobWriter, error: unknown): Promise<void> {
  const text = await catalog.meta(PARTIAL).catch(() => undefined);
  const isResumable =
    text?.includes(writer.id) === true && isAirlockError(error, 'interrupted', 'source.lost', 'space.insufficient');
  if (isResumable) await writer.suspend().catch(() => undefined);
  await writer.cancel();
}

/** Slices are proven where they lie: their containers are here. */
async function recordSlices(
  { blobs, catalog }: Stores,
  manifest: Manifest,
  slices: readonly InBlob[],
  options: StagingOptions,
): Promise<void> {
  for (const [of, own] of Map.groupBy(slices, (slice) => slice.of)) {
    const container = await blobs.open(of);
    try {
      for (const slice of own) {
        const found = await digestOf(sliceReader(container, slice), () => heard(options)(0));
        if (found !== slice.digest) throw wrongSlice(slice, manifest.blobs.get(of));
      }
      await catalog.transaction(async (tx) => {
        for (const slice of own)
          await tx.recordSlice(sliceStat(container, slice), { container: of, start: slice.start });
      });
    } finally {
      // The container is closed by the last slice's reader, or here: twice is harmless.
      await container.close();
    }
  }
}

/** True if it is stored and proven, and something that is published keeps it from `prune`: no lease is needed then. */
async function isPublished({ blobs, catalog }: Stores, digest: Digest): Promise<boolean> {
  const record = await catalog.blob(digest);
  if (record?.stamp == null || (await blobs.stat(digest))?.stamp !== record.stamp) return false;
  return (await catalog.entriesOf(digest)).length > 0;
}

/** Stored, but touched since it was proven: it is hashed again. */
async function isStillGood(trusted: TrustedBlobs, digest: Digest): Promise<boolean> {
  try {
    const reader = await trusted.open(digest);
    await reader.close();
    return true;
  } catch (error) {
    if (isAirlockError(error, 'blob.missing', 'blob.damaged')) return false;
    throw error;
  }
}

function wrongSlice({ digest }: InBlob, container: ManifestBlob | undefined): AirlockError {
  return new AirlockError(
    'blob.digest-mismatch',
    `${digest} does not lie in ${container?.digest ?? 'its image'} where the manifest says. Ask for a new bundle.`,
    { details: { digest } },
  );
}

function baseMissing(manifest: Manifest, lost: readonly { digest: Digest; since: number }[]): AirlockError {
  const since = Math.max(...lost.map(({ since: sequence }) => sequence));
  return new AirlockError(
    'bundle.base-missing',
    `Bundle ${manifest.sequence} needs what sequence ${since} brought, and ${lost.length} of its files are not here any more. Send a receipt ("airlock receipt write") and ask for a new bundle, or for a full one ("airlock export --full").`,
    { details: { since, missing: lost.slice(0, limits.bundle.named).map(({ digest }) => digest) } },
  );
}
