/** Writes the files of a bundle onto one medium, whatever of it is there already. */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { heard } from '../../repo/staging.ts';
import type { Carrier } from '../carriers/carrier.ts';
import type { DeltaFiles } from '../delta/delta-files.ts';
import type { MetadataFiles } from '../trust/bundle-metadata.ts';
import { REVOCATIONS } from '../trust/revocations.ts';
import { siteTarget } from '../trust/site-role.ts';
import { putProgram, requireSigned } from './carried-program.ts';
import type { ExportContext, ExportOptions } from './export.ts';
import type { ExportRecord, ExportState } from './export-state.ts';
import { readCarried } from './find-bundles.ts';
import { laidSource } from './laid-source.ts';
import type { LaidVolume } from './layout.ts';
import type { Manifest, ManifestVolume } from './manifest.ts';
import { bundleName, COMMIT, isDeltaEntry, MANIFEST, METADATA, README, SUMS } from './names.ts';
import { writeParity } from './parity.ts';
import { type PutOptions, putBytes, putFile, putSource, sha256OnMedium } from './put-file.ts';
import { readmeText } from './readme.ts';
import { type OpenEntry, writeVolume } from './write-volume.ts';

/** What came of it. */
export interface Written {
  readonly bundle: string;
  readonly sequence: number;
  /** Where it was written. */
  readonly folder: string;
  readonly written: readonly string[];
  /** Volumes that were there already, on this medium. */
  readonly present: readonly string[];
  /** SHA-256 of the manifest. */
  readonly manifest: string;
}

/** A bundle that was begun. */
interface Begun {
  readonly record: ExportRecord;
  readonly state: ExportState;
  readonly head: Pick<Manifest, 'site' | 'sequence' | 'created' | 'volumes' | 'parity' | 'repositories'>;
  readonly volumes: readonly LaidVolume[];
  readonly deltas: DeltaFiles | undefined;
}

type Sink = (bytes: Uint8Array) => Promise<void>;

export class MediumWriter {
  readonly #context: ExportContext;
  readonly #options: ExportOptions;
  readonly #begun: Begun;
  /** All volumes, and the parity volume after them, as in `ExportState`. */
  readonly #files: readonly ManifestVolume[];
  readonly #carrier: Carrier;
  readonly #onBytes: (bytes: number) => void;
  readonly #written: string[] = [];
  readonly #present: string[] = [];

  constructor(context: ExportContext, options: ExportOptions, begun: Begun) {
    this.#context = context;
    this.#options = options;
    this.#begun = begun;
    const { site, sequence, volumes, parity } = begun.head;
    this.#files = parity === undefined ? volumes : [...volumes, parity];
    this.#carrier = options.to.folder(bundleName(site, sequence));
    this.#onBytes = heard(options);
  }

  async run(): Promise<Written> {
    const { site, sequence } = this.#begun.head;
    const bundle = bundleName(site, sequence);
    const { program } = this.#options;
    const { state } = this.#begun;
    if (program !== undefined && state.metadata !== null) requireSigned(program, state.program);
    const full = await this.#writeVolumes();
    await this.#hashOthers();
    const manifest = await this.#writeRest(await this.#sign());
    const left = state.volumes.filter(({ medium }) => medium === null).map(({ name }) => name);
    if (full !== undefined && left.length > 0) throw this.#nextMedium(full, left);
    return { bundle, sequence, folder: this.#carrier.where, written: this.#written, present: this.#present, manifest };
  }

  /** @returns why it stopped, if the medium is full; it then holds one volume at least */
  async #writeVolumes(): Promise<AirlockError | undefined> {
    const { state } = this.#begun;
    const { files, unfinished } = await this.#carrier.list();
    const listed = new Set(await this.#listedHere(files.map(({ name }) => name)));
    await this.#carrier.remove(COMMIT); // until all of this medium is right again, it is incomplete
    for (const [index, file] of this.#files.entries()) {
      const { name } = file;
      const known = state.volumes[index];
      if (known === undefined || (known.medium !== null && !listed.has(name))) continue;
      if (await this.#isHere(name, known.sha256)) {
        this.#present.push(name);
        continue;
      }
      try {
        await this.#carrier.remove(name);
        // Where nothing fits, not even a folder is made; what was begun is opened to see how much of it is there.
        if (!unfinished.includes(name)) await this.#requireRoom(file);
        await this.#writeFile(file, index);
        this.#written.push(name);
      } catch (error) {
        if (!isAirlockError(error, 'medium.full') || this.#onMedium().length === 0) throw error;
        return error;
      }
    }
    return undefined;
  }

  async #writeFile({ name, size }: ManifestVolume, index: number): Promise<void> {
    const { progress, readback } = this.#options;
    const { record, state } = this.#begun;
    const volume = this.#begun.volumes[index];
    try {
      const fill = (sink: Sink) => {
        progress.start(name, (volume === undefined ? this.#allBytes() : size) + (readback ? size : 0));
        return volume === undefined ? this.#fillParity(sink) : this.#fill(volume, sink);
      };
      const onBegin = (held: number) => this.#requireRoom({ name, size: Math.max(0, size - held) });
      // From here on a run that was broken off only has to read it back.
      const onWritten = async (sha256: string) => {
        const known = state.volumes[index];
        if (known === undefined) return;
        if (known.sha256 !== null && known.sha256 !== sha256) throw changed(name);
        known.sha256 = sha256;
        await record.save(state);
      };
      await putFile(this.#carrier, name, fill, { ...this.#putting, onRead: this.#onBytes, onBegin, onWritten });
    } finally {
      progress.stop();
    }
  }

  get #putting(): PutOptions {
    const { readback, progress } = this.#options;
    return { readback, onLost: ({ message }) => progress.note(`${message} Connecting again.`) };
  }

  #fill(volume: LaidVolume, sink: Sink): Promise<string> {
    const created = new Date(this.#begun.head.created);
    return writeVolume(this.#open, volume, { created, sink, onBytes: this.#onBytes });
  }

  /** On the way, all volumes are hashed: those that are not on a medium yet, and the others once more. */
  async #fillParity(sink: Sink): Promise<string> {
    const { volumes, state, head } = this.#begun;
    const created = new Date(head.created);
    const sources = volumes.map((volume) => laidSource(this.#open, volume, created));
    const digests = await writeParity(sources, { sink, onBytes: this.#onBytes });
    for (const [index, digest] of digests.volumes.entries()) {
      const known = state.volumes[index];
      if (known === undefined) continue;
      if (known.sha256 !== null && known.sha256 !== digest) throw changed(known.name);
      known.sha256 = digest;
    }
    return digests.parity;
  }

  readonly #open: OpenEntry = (digest, entry) => {
    const { deltas } = this.#begun;
    return deltas !== undefined && isDeltaEntry(entry) ? deltas.read(digest) : this.#context.blobs.open(digest);
  };

  /** Of volumes for the media after this one: the metadata on each medium speaks of all of them. */
  async #hashOthers(): Promise<void> {
    const { volumes, state, head } = this.#begun;
    const parity = state.volumes[volumes.length];
    if (head.parity !== undefined && parity?.sha256 === null) {
      this.#options.progress.start(`${parity.name} (for the next medium)`, this.#allBytes());
      parity.sha256 = await this.#fillParity(async () => undefined);
      this.#options.progress.stop();
      await this.#begun.record.save(state);
    }
    for (const [index, volume] of volumes.entries()) {
      const known = state.volumes[index];
      if (known === undefined || known.sha256 !== null) continue;
      this.#options.progress.start(`${volume.name} (for the next medium)`, volume.size);
      known.sha256 = await this.#fill(volume, async () => undefined);
      this.#options.progress.stop();
      await this.#begun.record.save(state);
    }
  }

  async #sign(): Promise<MetadataFiles> {
    const { record, state, head } = this.#begun;
    if (state.metadata !== null) return await record.loadMetadata(state.metadata);
    const { site, sequence } = head;
    const { program } = this.#options;
    const own = [await record.target(MANIFEST), await record.target(REVOCATIONS)];
    const targets = [
      ...own.map(({ name, size, sha256 }) => siteTarget(site, name, size, sha256)),
      ...state.volumes.map(({ name, sha256 }, index) =>
        siteTarget(site, name, this.#files[index]?.size ?? 0, sha256 ?? ''),
      ),
      ...(program === undefined ? [] : [siteTarget(site, program.name, program.size, program.sha256)]),
    ];
    const files = await this.#context.publisher.signBundle(site, sequence, targets);
    await record.saveMetadata(files);
    state.metadata = [...files.keys()];
    if (program !== undefined) state.program = program.sha256;
    await record.save(state);
    return files;
  }

  /** @returns SHA-256 of the manifest */
  async #writeRest(metadata: MetadataFiles): Promise<string> {
    const { record, state, head } = this.#begun;
    const { program } = this.#options;
    const options = this.#putting;
    const sums = new Map(state.volumes.map(({ name, sha256: digest }) => [name, digest ?? '']));
    for (const [name, bytes] of metadata) {
      sums.set(`${METADATA}/${name}`, await putBytes(this.#carrier, `${METADATA}/${name}`, [bytes], options));
    }
    for (const name of [MANIFEST, REVOCATIONS]) {
      await using file = await record.open(name);
      sums.set(name, await putSource(this.#carrier, name, file, options));
    }
    if (program !== undefined) {
      await putProgram(this.#carrier, program, options);
      sums.set(program.name, program.sha256);
    }
    const here = this.#onMedium();
    const readme = Buffer.from(readmeText(head, here, program?.name));
    sums.set(README, await putBytes(this.#carrier, README, [readme], options));
    const lines = [...sums].map(([name, digest]) => `${digest}  ${name}\n`);
    await putBytes(this.#carrier, SUMS, [Buffer.from(lines.join(''))], options);
    await this.#carrier.sync();
    const commit = {
      bundle: bundleName(head.site, head.sequence),
      manifest: sums.get(MANIFEST),
      volumes: here,
    };
    await putBytes(this.#carrier, COMMIT, [Buffer.from(`${JSON.stringify(commit)}\n`)], options);
    await this.#carrier.sync();
    await this.#options.to.sync();
    const medium = Math.max(0, ...state.volumes.map((known) => known.medium ?? 0)) + 1;
    for (const known of state.volumes) if (here.includes(known.name)) known.medium ??= medium;
    await record.save(state);
    return sums.get(MANIFEST) ?? '';
  }

  #allBytes(): number {
    return this.#begun.volumes.reduce((sum, { size }) => sum + size, 0);
  }

  #onMedium(): string[] {
    return [...this.#present, ...this.#written].sort();
  }

  /**
   * Volumes that this medium was to hold when it was finished: it still has some of them, or its COMMIT tells.
   * @param names of the files that lie here
   */
  async #listedHere(names: readonly string[]): Promise<string[]> {
    const { volumes } = this.#begun.state;
    const told = await this.#listedInCommit();
    const media = new Set(volumes.filter(({ name }) => names.includes(name)).map(({ medium }) => medium));
    return [...told, ...volumes.filter(({ medium }) => media.has(medium)).map(({ name }) => name)];
  }

  async #listedInCommit(): Promise<string[]> {
    const bytes = await readCarried(this.#carrier, COMMIT, limits.bundle.mediumReserve);
    try {
      const { volumes } = JSON.parse(bytes?.toString('utf8') ?? '{}') as { volumes?: unknown };
      return Array.isArray(volumes) ? volumes.map(String) : [];
    } catch {
      return [];
    }
  }

  async #isHere(name: string, digest: string | null): Promise<boolean> {
    return (
      digest !== null && (await sha256OnMedium(this.#carrier, name, { onRead: () => this.#onBytes(0) })) === digest
    );
  }

  /** @param size bytes that are still to be written */
  async #requireRoom({ name, size }: ManifestVolume): Promise<void> {
    const { size: beside } = await this.#begun.record.target(MANIFEST);
    const needed = size + limits.bundle.mediumReserve + beside + (this.#options.program?.size ?? 0);
    const free = (await this.#options.to.freeSpace()) ?? Number.POSITIVE_INFINITY;
    if (free >= needed) return;
    throw new AirlockError(
      'medium.full',
      `${name} needs ${needed} bytes at ${quoteUnsafe(this.#options.to.where)}, and ${free} are free. Free some, use a larger medium, or choose smaller volumes with --medium SIZE.`,
      { details: { needed, free } },
    );
  }

  #nextMedium(cause: AirlockError, left: readonly string[]): AirlockError {
    const { site } = this.#begun.head;
    const here = this.#onMedium();
    return new AirlockError(
      'medium.full',
      `This medium is full and finished: it holds ${here.join(', ')}. Put in the next one and run "airlock export --site ${site} --resume --to DIR": it gets ${left.join(', ')}.`,
      { cause, details: { written: here, left, folder: this.#carrier.where } },
    );
  }
}

function changed(name: string): AirlockError {
  return new AirlockError(
    'blob.damaged',
    `${name} would get other bytes now than it got before: something that is published changed on the disk. Run "airlock verify", then export again.`,
    { details: { volume: name } },
  );
}
