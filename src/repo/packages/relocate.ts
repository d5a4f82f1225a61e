/**
 * What happens to the packages of an image when the image goes: those that something still refers to are found in
 * another image, or get a file of their own.
 */
import { limits } from '../../limits.ts';
import type { BlobStore, Digest } from '../blobs/blob-store.ts';
import { sliceStat } from '../blobs/slice-reader.ts';
import type { Place } from '../catalog/artifact.ts';
import type { BlobRecord, Catalog } from '../catalog/catalog.ts';
import { type StagingOptions, stage } from '../staging.ts';

export interface Relocated {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** `moved`: it lies in another image, too. `copied`: into a file of its own. */
  readonly how: 'moved' | 'copied';
}

/**
 * Takes every slice out of a blob that is about to go. Interrupted, it has done what it has done.
 * @param going all blobs that are about to go: none of them takes a slice
 * @throws space.insufficient, blob.damaged if the bytes of a slice are wrong, interrupted
 */
export async function* relocateSlices(
  blobs: BlobStore,
  catalog: Catalog,
  container: Digest,
  going: ReadonlySet<Digest>,
  options: StagingOptions,
): AsyncGenerator<Relocated, void, undefined> {
  let after: Digest | undefined;
  do {
    const page = await catalog.slicesOf(container, {
      limit: limits.catalog.page,
      ...(after === undefined ? {} : { after }),
    });
    for (const slice of page) {
      const isMoved = await moveSlice(blobs, catalog, slice, going);
      if (!isMoved) await copy(blobs, catalog, slice, options);
      yield { digest: slice.digest, size: slice.size, how: isMoved ? 'moved' : 'copied' };
    }
    after = page.at(-1)?.digest;
  } while (after !== undefined);
}

/**
 * Points a slice at another image that brought the same bytes.
 * @param without images that are of no use for that
 * @returns false if there is none
 */
export async function moveSlice(
  blobs: BlobStore,
  catalog: Catalog,
  slice: BlobRecord,
  without: ReadonlySet<Digest> = new Set(),
): Promise<boolean> {
  for (const { origins = [] } of await catalog.artifactsOf(slice.digest)) {
    for (const { within } of origins) {
      if (within === null || within.container === slice.within?.container || without.has(within.container)) continue;
      if (await moveTo(blobs, catalog, slice, within)) return true;
    }
  }
  return false;
}

/** @returns false if the image is not here, or was touched since it was proven */
async function moveTo(blobs: BlobStore, catalog: Catalog, slice: BlobRecord, within: Place): Promise<boolean> {
  const stored = await blobs.stat(within.container).catch(() => undefined);
  if (stored === undefined) return false;
  return await catalog.transaction(async (tx) => {
    // The bytes of an image go after its record, so they are there as long as this is going on, and after it.
    if ((await tx.blob(within.container))?.stamp !== stored.stamp) return false;
    await tx.recordBlob(sliceStat(stored, { ...slice, start: within.start }), within);
    return true;
  });
}

async function copy(blobs: BlobStore, catalog: Catalog, slice: BlobRecord, options: StagingOptions): Promise<void> {
  await catalog.lease(slice.digest);
  const reader = await blobs.open(slice.digest);
  try {
    const writer = await stage(blobs, reader, options);
    try {
      const stat = await writer.commit({ digest: slice.digest, size: slice.size });
      await catalog.transaction(async (tx) => {
        await tx.recordBlob(stat, null);
        await tx.release([slice.digest]);
      });
    } finally {
      await writer.cancel();
    }
  } finally {
    await reader.close();
  }
}
