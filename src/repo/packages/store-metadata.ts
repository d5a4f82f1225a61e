/** The three metadata files of a repository, written into the store. */
import { isAirlockError } from '../../errors.ts';
import type { BlobReader, BlobStat } from '../blobs/blob-store.ts';
import { COMPRESSION, compressionFor } from '../formats/repodata/compression.ts';
import { METADATA_KINDS, type MetadataKind } from '../formats/repodata/metadata-kinds.ts';
import type { RepomdRecord } from '../formats/repodata/repomd.ts';
import { type PackageList, writeMetadata } from '../formats/repodata/write-metadata.ts';
import { commit, type Leases, type Stores } from '../staging.ts';

export interface StoreMetadataOptions {
  readonly repository: string;
  /** Paths of what the published repomd.xml names: what has not changed is copied from there. */
  readonly former: readonly string[];
  /** Gains what is stored. */
  readonly leases: Leases;
}

export interface StoredMetadata {
  readonly record: RepomdRecord;
  readonly stat: BlobStat;
}

/**
 * Writes all three at once: while one is hashed, the next is decompressed, and a third waits for the disk.
 * @returns them in the order of METADATA_KINDS, stored
 * @throws what the store and the catalog throw. Nothing is under way any more then.
 */
export async function storeMetadata(
  store: Stores,
  list: PackageList,
  options: StoreMetadataOptions,
): Promise<StoredMetadata[]> {
  const work = METADATA_KINDS.map((kind) => storeKind(store, kind, list, options));
  await Promise.allSettled(work);
  return await Promise.all(work);
}

async function storeKind(
  store: Stores,
  kind: MetadataKind,
  list: PackageList,
  { repository, former, leases }: StoreMetadataOptions,
): Promise<StoredMetadata> {
  const compression = compressionFor(/-(el\d+)-/.exec(repository)?.[1] ?? '');
  const writeOnce = async (previous: BlobReader | undefined): Promise<StoredMetadata> => {
    const writer = await store.blobs.create();
    try {
      let position = 0;
      const sink = async (bytes: Uint8Array): Promise<void> => {
        await writer.writeAt(position, bytes);
        position += bytes.byteLength;
      };
      const { copied: _, ...written } = await writeMetadata(kind, list, { compression, previous, sink });
      const record = { type: kind, extension: COMPRESSION[compression].extension, ...written };
      return { record, stat: await commit(store, writer, leases) };
    } finally {
      await writer.cancel();
    }
  };
  const path = former.find((each) => each.includes(`-${kind}.xml`));
  const previous = path === undefined ? undefined : await openProven(store, repository, path);
  try {
    return await writeOnce(previous);
  } catch (error) {
    if (previous === undefined || !isAirlockError(error, 'blob.damaged')) throw error;
    return await writeOnce(undefined);
  } finally {
    await previous?.close();
  }
}

/** What is published at a path, if nobody touched it since it was proven. */
async function openProven(
  { blobs, catalog }: Stores,
  repository: string,
  path: string,
): Promise<BlobReader | undefined> {
  const digest = (await catalog.lookup(repository, path))?.artifact.digest;
  if (digest === undefined) return undefined;
  const [record, stored] = [await catalog.blob(digest), await blobs.stat(digest)];
  const isProven = record?.stamp != null && stored?.stamp === record.stamp;
  return isProven ? await blobs.open(digest) : undefined;
}
