/**
 * The volumes of a bundle, on however many media, read in place. Entries are found by the manifest; the tar's own headers
 * are only compared with it.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { heard, type StagingOptions } from '../../repo/staging.ts';
import type { FoundFolder } from './find-bundles.ts';
import { carriedBytes, isCarried, type Manifest, type ManifestCarried } from './manifest.ts';
import { damagedAmong, type OpenVolume, openVolume } from './open-volume.ts';
import { beyondParity, type Lost, type RebuiltVolume, rebuildVolume } from './rebuild-volume.ts';
import { requireHeader } from './tar-header.ts';
import type { VerifiedBundle } from './verify-bundle.ts';

/** What of a bundle volumes are found and checked by. */
export type VolumesOf = Pick<VerifiedBundle, 'manifest' | 'volumes'>;

export interface VolumeSetOptions extends StagingOptions {
  readonly folders: readonly FoundFolder[];
}

/** Closes with `close`. */
export class VolumeSet {
  readonly #bundle: VolumesOf;
  readonly #options: VolumeSetOptions;
  readonly #open = new Map<number, OpenVolume>();
  /** Copies that turned out to be damaged, as `placeOf` names them. */
  readonly #bad = new Set<string>();
  #rebuilt: RebuiltVolume | undefined;

  private constructor(bundle: VolumesOf, options: VolumeSetOptions) {
    this.#bundle = bundle;
    this.#options = options;
  }

  /**
   * Opens the volumes that hold any of these blobs, and compares their headers with the manifest. If one of them is
   * missing, or damaged where that shows at once, it is rebuilt with the parity volume.
   * @param needed blobs that will be read
   * @throws bundle.incomplete naming the volumes that are nowhere; bundle.invalid, and what `mend` throws; source.lost,
   *   interrupted
   */
  static async open(
    bundle: VolumesOf,
    needed: readonly ManifestCarried[],
    options: VolumeSetOptions,
  ): Promise<VolumeSet> {
    const numbers = new Set<number>();
    for (const { pieces } of needed) for (const { volume } of pieces) numbers.add(volume);
    const set = new VolumeSet(bundle, options);
    try {
      await set.#openAll([...numbers].sort((a, b) => a - b));
      await set.#requireHeaders().catch(async (error: unknown) => {
        if (!(await set.mend(error))) throw error;
      });
      return set;
    } catch (error) {
      await set.close();
      throw error;
    }
  }

  /**
   * After something was read that is not what was signed, or could not be read: finds out which volumes are damaged, and
   * puts another copy in the place of each, or, of one, what parity makes of all others.
   * @returns false if that is not what went wrong, or nothing makes up for it
   * @throws blob.digest-mismatch naming what is damaged, if it is more than parity makes up for; interrupted
   */
  async mend(error: unknown): Promise<boolean> {
    const { manifest, volumes: targets } = this.#bundle;
    if (!isAirlockError(error, 'blob.digest-mismatch', 'bundle.invalid', 'source.lost')) return false;
    const suspects = this.#rebuilt?.sources ?? this.#suspects(error);
    if (manifest.parity === undefined && !suspects.some(({ name }) => this.#copies(name) > 1)) return false;
    const damaged = await this.#damagedAmong(suspects, targets);
    if (damaged.length === 0) return false;
    for (const each of damaged) this.#bad.add(placeOf(each));
    const lost = await this.#replaceBad();
    if (!(await this.#makeUpFor(lost))) {
      const isMore = this.#rebuilt !== undefined || lost.length > 1;
      // With several at once, a medium was pulled, more likely than not.
      if (manifest.parity === undefined || !isMore || isAirlockError(error, 'source.lost')) return false;
      throw beyondParity(manifest, this.#rebuilt === undefined ? lost : damaged, this.#rebuilt);
    }
    await this.#requireHeaders().catch(async (wrong: unknown) => {
      if (!(await this.mend(wrong))) throw wrong;
    });
    return true;
  }

  /** Opens another copy of each damaged volume. @returns those of which there is none */
  async #replaceBad(): Promise<OpenVolume[]> {
    const lost: OpenVolume[] = [];
    for (const [number, volume] of this.#open) {
      const listed = this.#bundle.manifest.volumes[number - 1];
      if (!this.#bad.has(placeOf(volume)) || listed === undefined) continue;
      const copy = await openVolume(listed, this.#folders());
      if (copy === undefined) lost.push(volume);
      else {
        this.#open.set(number, copy);
        await volume.file.close();
      }
    }
    return lost;
  }

  /** Rebuilds the one volume that has no good copy; from good copies of the others, if that had been done before. */
  async #makeUpFor([lost, ...others]: readonly OpenVolume[]): Promise<boolean> {
    const former = this.#rebuilt;
    if (others.length > 0 || (former !== undefined && lost !== undefined)) return false;
    const volume = former ?? lost;
    if (volume === undefined) return true;
    const number = this.#bundle.manifest.volumes.findIndex(({ name }) => name === volume.name) + 1;
    if ((await this.#rebuild(number, former?.why ?? 'damaged')) !== undefined) return false;
    await volume.file.close();
    return true;
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

  /** Which volume had to be rebuilt. */
  get rebuilt(): { readonly name: string; readonly why: Lost } | null {
    return this.#rebuilt === undefined ? null : { name: this.#rebuilt.name, why: this.#rebuilt.why };
  }

  /** Names and places of what was read, for the report. */
  places(): { readonly name: string; readonly where: string }[] {
    const read = [...this.#open.values(), ...(this.#rebuilt?.sources ?? [])].filter((each) => each !== this.#rebuilt);
    const places = new Map(read.map(({ name, where }) => [`${name} ${where}`, { name, where }]));
    return [...places.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async close(): Promise<void> {
    for (const { file } of this.#open.values()) await file.close();
  }

  async #openAll(numbers: readonly number[]): Promise<void> {
    const { manifest } = this.#bundle;
    const missing: number[] = [];
    for (const number of numbers) {
      const listed = manifest.volumes[number - 1];
      if (listed === undefined) continue; // the manifest was checked: it lists all that it names
      const volume = await openVolume(listed, this.#options.folders);
      if (volume === undefined) missing.push(number);
      else this.#open.set(number, volume);
    }
    const [first] = missing;
    if (first === undefined) return;
    const lacking = missing.length > 1 ? [] : await this.#rebuild(first, 'missing');
    if (lacking !== undefined) throw incomplete(manifest, missing, lacking);
  }

  /** Without copies that turned out to be damaged. */
  #folders(): FoundFolder[] {
    return this.#options.folders.map((folder) => {
      const { where } = folder.carrier;
      return { ...folder, volumes: folder.volumes.filter((name) => !this.#bad.has(placeOf({ name, where }))) };
    });
  }

  #copies(name: string): number {
    return this.#folders().filter(({ volumes }) => volumes.includes(name)).length;
  }

  /** @returns what would be needed, if it is not here; undefined: it was rebuilt */
  async #rebuild(number: number, why: Lost): Promise<readonly string[] | undefined> {
    const rebuilt = await rebuildVolume(this.#bundle.manifest, number, { why, folders: this.#folders() });
    if (!('file' in rebuilt)) return rebuilt;
    this.#rebuilt = rebuilt;
    this.#open.set(number, rebuilt);
    return undefined;
  }

  /** Volumes that an error names, or all. */
  #suspects(error: unknown): OpenVolume[] {
    const named = isAirlockError(error) ? error.details.volumes : undefined;
    return [...this.#open.values()].filter(({ name }) => !Array.isArray(named) || named.includes(name));
  }

  async #damagedAmong(suspects: readonly OpenVolume[], targets: VolumesOf['volumes']): Promise<OpenVolume[]> {
    const { progress } = this.#options;
    progress.start(
      'check',
      suspects.reduce((sum, { file }) => sum + file.size, 0),
    );
    try {
      return await damagedAmong(suspects, targets, heard(this.#options));
    } finally {
      progress.stop();
    }
  }

  async #requireHeaders(): Promise<void> {
    const header = Buffer.alloc(512);
    for (const blob of this.#bundle.manifest.blobs.values()) {
      if (!isCarried(blob)) continue;
      for (const { volume: number, entry, offset, length } of blob.pieces) {
        const volume = this.#open.get(number);
        if (volume === undefined) continue;
        const read = await volume.file.readAt(header, offset - header.length);
        requireHeader(header.subarray(0, read), { name: entry, size: length }, volume);
      }
    }
  }
}

/** No two folders of one import are at the same place. */
function placeOf({ name, where }: Pick<OpenVolume, 'name' | 'where'>): string {
  return `${name} ${where}`;
}

/** @param lacking what the only missing one would be rebuilt from, and is not here either */
function incomplete(
  { site, sequence, volumes, parity }: Manifest,
  numbers: readonly number[],
  lacking: readonly string[],
): AirlockError {
  const missing = numbers.map((number) => volumes[number - 1]?.name ?? '');
  const rebuild =
    parity === undefined
      ? ''
      : lacking.length > 0
        ? ` To rebuild it, ${lacking.join(', ')} would be needed, too.`
        : ` ${parity.name} makes up for one of them, not for more.`;
  return new AirlockError(
    'bundle.incomplete',
    `Bundle ${sequence} has ${volumes.length} volumes, and ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing here, or cut short.${rebuild} Name the folders of all its media at once; if a medium is lost or damaged, write it again with "airlock export --site ${site} --resume --to DIR".`,
    { details: { missing, sequence } },
  );
}
