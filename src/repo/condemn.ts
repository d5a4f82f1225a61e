import { isAirlockError, systemCode } from '../errors.ts';
import type { BlobStat, BlobStore, Digest } from './blobs/blob-store.ts';
import type { Stores } from './staging.ts';

interface Condemned {
  /** Where the bytes are kept for a person to look at; null if there were none, or the disk does not let them be moved. */
  readonly quarantined: string | null;
}

/**
 * Takes a blob out of sight, if it still is what was looked at: others may have stored a good copy meanwhile, and nobody
 * can record one while this goes on.
 * @param seen the copy that was found wrong; undefined if there was none
 * @returns undefined if the catalog let go of it meanwhile; `changed` if others replaced the copy
 */
export async function condemn(
  { blobs, catalog }: Stores,
  digest: Digest,
  seen: Pick<BlobStat, 'stamp'> | undefined,
): Promise<Condemned | 'changed' | undefined> {
  return await catalog.transaction(async (tx) => {
    if ((await tx.blob(digest)) === undefined) return undefined;
    if ((await stampOf(blobs, digest)) !== seen?.stamp) return 'changed';
    const quarantined = seen === undefined ? null : await quarantine(blobs, digest);
    await tx.forgetBlob(digest);
    return { quarantined };
  });
}

/** A disk that cannot tell a stamp has none to tell. */
export async function stampOf(blobs: BlobStore, digest: Digest): Promise<string | undefined> {
  try {
    return (await blobs.stat(digest))?.stamp;
  } catch (error) {
    if (systemCode(error) === 'EIO') return undefined;
    throw error;
  }
}

/** On a failing disk the copy may have to stay where it is: it is forgotten all the same. */
async function quarantine(blobs: BlobStore, digest: Digest): Promise<string | null> {
  try {
    return (await blobs.quarantine(digest)) ?? null;
  } catch (error) {
    if (systemCode(error) === undefined && !isAirlockError(error, 'space.insufficient')) throw error;
    return null;
  }
}
