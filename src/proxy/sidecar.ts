import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ArtifactSource, OpenOptions } from '../repo/artifact-source.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';
import { digestFor, parseChecksumFile } from '../repo/formats/checksums.ts';
import type { Signatures } from './signatures.ts';

/** What somebody else than its source says of a content. */
export interface Stated {
  readonly digest: Digest;
  /** By a key that the configuration names for this upstream. */
  readonly isSigned: boolean;
}

/**
 * The digest that the vendor's checksum file beside an image states (vendor.md A1).
 * @returns null where there is none, or where it says nothing of this file; without keys, also where it cannot be had
 * @throws upstream.* with keys: upstream.signature for a checksum file with a wrong signature, and what fetching it failed with
 */
export async function digestFromSidecar(
  source: ArtifactSource,
  signatures: Signatures,
  path: string,
): Promise<Stated | null> {
  const sidecar = `${path}.sha256sum`;
  try {
    const bytes = await readSmall(source, sidecar, limits.checksumFile);
    if (bytes === undefined) return null;
    const isSigned = await signatures.isSigned(sidecar, bytes);
    const digest = digestFor(parseChecksumFile(bytes), path.slice(path.lastIndexOf('/') + 1));
    return digest === undefined ? null : { digest, isSigned };
  } catch (error) {
    if (isAirlockError(error) && !signatures.mayBeSigned(path)) return null;
    throw error;
  }
}

/** Reads a small file whole. @returns undefined where there is none, or it is larger than `most` */
export async function readSmall(
  source: ArtifactSource,
  path: string,
  most: number,
  options: OpenOptions = {},
): Promise<Buffer | undefined> {
  const artifact = await source.open(path, options);
  if (artifact === undefined) return undefined;
  try {
    const buffer = Buffer.alloc(Math.min(most, artifact.facts.size ?? most) + 1);
    let length = 0;
    while (length < buffer.length) {
      const read = await artifact.readAt(buffer.subarray(length), length);
      if (read === 0) return buffer.subarray(0, length);
      length += read;
    }
    return undefined;
  } finally {
    await artifact.close();
  }
}
