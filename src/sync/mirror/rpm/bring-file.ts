import type { BlobStat } from '../../../repo/blobs/blob-store.ts';
import { digestFor } from '../../../repo/formats/repodata/checksum-types.ts';
import { commit, leased } from '../../../repo/staging.ts';
import type { WantedFile } from './fetch.ts';
import type { Root, Run } from './run.ts';

/** Brings one file into the store, unless it is there. @throws as Fetcher.fetch */
export async function bringFile(
  { site, fetcher, leases }: Run,
  roots: readonly Root[],
  wanted: WantedFile,
): Promise<BlobStat> {
  const digest = digestFor(wanted.checksum);
  const present = digest === undefined ? undefined : await leased(site.ingest, digest, leases);
  if (present !== undefined) return present;
  const writer = await fetcher.fetch(roots, wanted, () => site.ingest.blobs.create());
  try {
    return await commit(site.ingest, writer, leases);
  } finally {
    await writer.cancel();
  }
}
