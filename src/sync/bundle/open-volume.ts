import { isAirlockError } from '../../errors.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import type { FoundFolder } from './find-bundles.ts';
import type { ManifestVolume } from './manifest.ts';
import { sha256OfSource } from './put-file.ts';
import type { VerifiedBundle } from './verify-bundle.ts';

/** A volume on a medium, or the parity volume. Whoever opened it closes it. */
export interface OpenVolume {
  readonly name: string;
  /** For messages. */
  readonly where: string;
  readonly file: ByteSource & { close(): Promise<void> };
}

/**
 * Opens one of the right size; which bytes it has shows when it is read.
 * @returns undefined if there is none
 * @throws source.lost, interrupted
 */
export async function openVolume(
  { name, size }: ManifestVolume,
  folders: readonly FoundFolder[],
): Promise<OpenVolume | undefined> {
  for (const { carrier, volumes } of folders) {
    if (!volumes.includes(name)) continue;
    const file = await carrier.open(name);
    if (file?.size === size) return { name, where: carrier.where, file };
    await file?.close();
  }
  return undefined;
}

/**
 * Reads volumes from beginning to end.
 * @param onBytes may throw to stop
 * @returns those that have other bytes than were signed, or cannot be read
 * @throws interrupted, and what `onBytes` throws
 */
export async function damagedAmong(
  opened: Iterable<OpenVolume>,
  targets: VerifiedBundle['volumes'],
  onBytes: (bytes: number) => void,
): Promise<OpenVolume[]> {
  const damaged: OpenVolume[] = [];
  for (const volume of opened) {
    const digest = await sha256OfSource(volume.file, onBytes).catch((error: unknown) => {
      if (isAirlockError(error, 'source.lost')) return undefined;
      throw error;
    });
    if (digest !== targets.get(volume.name)?.sha256) damaged.push(volume);
  }
  return damaged;
}
