import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ArtifactSource } from '../repo/artifact-source.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';
import { digestFor, parseChecksumFile } from '../repo/formats/checksums.ts';

/**
 * The digest that the vendor's checksum file beside an image states (vendor.md A1).
 * @returns null where there is none, or where it cannot be had or says nothing of this file
 */
export async function digestFromSidecar(source: ArtifactSource, path: string): Promise<Digest | null> {
  try {
    const bytes = await readSmall(source, `${path}.sha256sum`, limits.checksumFile);
    if (bytes === undefined) return null;
    return digestFor(parseChecksumFile(bytes), path.slice(path.lastIndexOf('/') + 1)) ?? null;
  } catch (error) {
    if (isAirlockError(error)) return null;
    throw error;
  }
}

/** Reads a small file whole. @returns undefined where there is none, or it is larger than `most` */
export async function readSmall(source: ArtifactSource, path: string, most: number): Promise<Buffer | undefined> {
  const artifact = await source.open(path);
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
