/**
 * The volumes of a bundle, on however many media, read in place. Entries are found by the manifest; the tar's own headers
 * are only compared with it.
 */
import { AirlockError } from '../../errors.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { CarriedFile } from '../carriers/carrier.ts';
import type { FoundFolder } from './find-bundles.ts';
import { carriedBytes, isCarried, type Manifest, type ManifestCarried } from './manifest.ts';
import { requireHeader } from './tar-header.ts';

export interface OpenVolume {
  readonly name: string;
  readonly where: string;
  readonly file: CarriedFile;
}

/** Closes with `close`. */
export class VolumeSet {
  readonly #open: ReadonlyMap<number, OpenVolume>;

  private constructor(open: ReadonlyMap<number, OpenVolume>) {
    this.#open = open;
  }

  /**
   * Opens the volumes that hold any of these blobs, and compares their headers with the manifest.
   * @param needed blobs that will be read
   * @throws bundle.incomplete naming the volumes that are nowhere; bundle.invalid; source.lost
   */
  static async open(
    manifest: Manifest,
    needed: readonly ManifestCarried[],
    folders: readonly FoundFolder[],
  ): Promise<VolumeSet> {
    const numbers = new Set<number>();
    for (const { pieces } of needed) for (const { volume } of pieces) numbers.add(volume);
    const open = new Map<number, OpenVolume>();
    const set = new VolumeSet(open);
    try {
      const missing: string[] = [];
      for (const number of [...numbers].sort((a, b) => a - b)) {
        const listed = manifest.volumes[number - 1];
        if (listed === undefined) continue; // the manifest was checked: it lists all that it names
        const volume = await find(listed, folders);
        if (volume === undefined) missing.push(listed.name);
        else open.set(number, volume);
      }
      if (missing.length > 0) throw incomplete(manifest, missing);
      await set.#requireHeaders(manifest);
      return set;
    } catch (error) {
      await set.close();
      throw error;
    }
  }

  /** @param number from 1 on; one that holds a needed blob */
  volume(number: number): OpenVolume {
    const volume = this.#open.get(number);
    if (volume !== undefined) return volume;
    throw new AirlockError('internal', `Volume ${number} was not opened. Please report this.`);
  }

  /** What of a blob lies in volumes, wherever it was cut. */
  bytesOf(blob: ManifestCarried): ByteSource {
    return {
      size: carriedBytes(blob),
      readAt: async (into, position) => {
        let done = 0;
        let from = 0;
        for (const { volume, offset, length } of blob.pieces) {
          const skip = Math.max(0, position + done - from);
          from += length;
          if (skip >= length || done === into.byteLength) continue;
          const wanted = into.subarray(done, done + length - skip);
          const read = await this.volume(volume).file.readAt(wanted, offset + skip);
          done += read;
          if (read < wanted.byteLength) break;
        }
        return done;
      },
    };
  }

  /** Names and places, for the report. */
  places(): { readonly name: string; readonly where: string }[] {
    return [...this.#open.values()].map(({ name, where }) => ({ name, where }));
  }

  async close(): Promise<void> {
    for (const { file } of this.#open.values()) await file.close();
  }

  async #requireHeaders({ blobs }: Manifest): Promise<void> {
    const header = Buffer.alloc(512);
    for (const blob of blobs.values()) {
      if (!isCarried(blob)) continue;
      for (const { volume: number, entry, offset, length } of blob.pieces) {
        const volume = this.#open.get(number);
        if (volume === undefined) continue;
        const read = await volume.file.readAt(header, offset - header.length);
        requireHeader(
          header.subarray(0, read),
          { name: entry, size: length },
          `${volume.name} at ${quoteUnsafe(volume.where)}`,
        );
      }
    }
  }
}

/** One of the right size; which bytes it has shows when it is read. */
async function find(
  { name, size }: Manifest['volumes'][number],
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

function incomplete({ site, sequence, volumes }: Manifest, missing: readonly string[]): AirlockError {
  return new AirlockError(
    'bundle.incomplete',
    `Bundle ${sequence} has ${volumes.length} volumes, and ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing here, or cut short. Name the folders of all its media at once; if a medium is lost or damaged, write it again with "airlock export --site ${site} --resume --to DIR".`,
    { details: { missing, sequence } },
  );
}
