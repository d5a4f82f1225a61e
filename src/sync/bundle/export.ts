/**
 * `export`: writes the next bundle for a site, or goes on with the one that was begun. Every file is durable under
 * another name before it has its own, and `COMMIT` comes last: a medium that was pulled holds an incomplete bundle, which
 * is never imported.
 */
import { statfs } from 'node:fs/promises';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Catalog } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { StagingOptions } from '../../repo/staging.ts';
import { heard } from '../../repo/staging.ts';
import type { TrustedBlobs } from '../../repo/trusted-blobs.ts';
import type { Carrier } from '../carriers/carrier.ts';
import { holdingsOf } from '../receipts.ts';
import { sha256 } from '../trust/metadata.ts';
import type { MetadataFiles, Publisher } from '../trust/publisher.ts';
import { REVOCATIONS } from '../trust/revocations.ts';
import { siteTarget } from '../trust/site-role.ts';
import { ExportRecord, type ExportState, exclusively } from './export-state.ts';
import { readCarried } from './find-bundles.ts';
import { type LaidVolume, layOut } from './layout.ts';
import { FORMAT, type Manifest, manifestLines } from './manifest.ts';
import { type Medium, parseMedium, volumeSize } from './medium-size.ts';
import { bundleName, COMMIT, MANIFEST, METADATA, README, SUMS } from './names.ts';
import { type Plan, planBundle } from './plan.ts';
import { putBytes, putFile, sha256Of } from './put-file.ts';
import { readmeText } from './readme.ts';
import { writeVolume } from './write-volume.ts';

export interface ExportContext {
  readonly dataDir: string;
  readonly catalog: Catalog;
  readonly blobs: TrustedBlobs;
  readonly publisher: Publisher;
  /** The list of revoked content, as it goes into the bundle. */
  readonly revocations: () => Promise<Buffer>;
  readonly now: () => Date;
}

export interface ExportOptions extends StagingOptions {
  readonly site: string;
  /** The bundle gets a folder in it. Stays the caller's. */
  readonly to: Carrier;
  readonly repositories?: readonly string[];
  readonly medium?: Medium;
  /** As if the site had nothing. */
  readonly full?: boolean;
  readonly readback: boolean;
}

/** What is, or would be, written. */
export interface ExportPlan {
  readonly site: string;
  readonly base: Plan['base'];
  readonly repositories: readonly { readonly name: string; readonly entries: number }[];
  readonly volumes: readonly { readonly name: string; readonly size: number }[];
  readonly bytes: Plan['bytes'] & {
    /** All files of the bundle together, and what the site needs free. */
    readonly medium: number;
    readonly site: number;
  };
  /** Discs of the medium's size that it fills; 1 where the size is not known. */
  readonly media: number;
}

export interface ExportReport extends ExportPlan {
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

/** What the default medium is good for: any. */
const DEFAULT_MEDIUM = 'fat32';
/** FAT, as Linux tells it (statfs(2)). */
const MSDOS_SUPER_MAGIC = 0x4d44;

/** Says what would be written. @throws as planBundle; usage.invalid */
export async function planExport(context: ExportContext, options: ExportOptions): Promise<ExportPlan> {
  const prepared = await prepare(context, options);
  return describe(prepared.plan, prepared.manifest, options);
}

/**
 * Writes a new bundle.
 * @throws key.missing, key.not-found; medium.full naming what to do; source.lost,
 *   interrupted: `resumeExport` goes on then
 */
export async function exportBundle(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  await context.publisher.root();
  return await exclusively(context.dataDir, options.site, () => begin(context, options));
}

async function begin(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  const { plan, volumes, manifest: draft } = await prepare(context, options);
  await requireFileSize(options.to.where, volumes);
  await context.publisher.ensureSite(options.site);
  const sequence = await context.publisher.takeSequence(options.site);
  const manifest = { ...draft, sequence };
  const record = new ExportRecord(context.dataDir, options.site);
  const state = await record.begin(manifest, await context.revocations());
  const report = await new Export(context, options, record, { state, manifest, volumes }).run();
  return { ...describe(plan, manifest, options), ...report };
}

/** Goes on with the newest bundle for the site: writes what `to` and the finished media before lack. */
export async function resumeExport(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  return await exclusively(context.dataDir, options.site, () => goOn(context, options));
}

async function goOn(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  const record = new ExportRecord(context.dataDir, options.site);
  const { state, manifest } = await record.load(options.site);
  const volumes = laidVolumes(manifest);
  await requireFileSize(options.to.where, volumes);
  const report = await new Export(context, options, record, { state, manifest, volumes }).run();
  const bytes = { whole: 0, held: 0, slices: 0 };
  for (const { in: where, size } of manifest.blobs)
    bytes[where === 'volumes' ? 'whole' : where === 'site' ? 'held' : 'slices'] += size;
  return { ...describe({ bytes, base: manifest.base }, manifest, options), ...report };
}

async function prepare(
  { catalog, dataDir, now }: ExportContext,
  options: ExportOptions,
): Promise<{ plan: Plan; volumes: LaidVolume[]; manifest: Manifest }> {
  const { site, repositories = [] } = options;
  const holdings = options.full === true ? undefined : await holdingsOf(dataDir, site);
  const plan = await planBundle(catalog, { holdings, repositories });
  const medium = options.medium ?? parseMedium(DEFAULT_MEDIUM);
  const draft = (volumes: readonly LaidVolume[]): Manifest => ({
    format: FORMAT.name,
    major: FORMAT.major,
    minor: FORMAT.minor,
    site,
    sequence: 1,
    created: now().toISOString(),
    base: plan.base,
    volumes: volumes.map(({ name, size }) => ({ name, size })),
    repositories: [...plan.repositories],
    blobs: [...inVolumes(plan, volumes), ...plan.others],
  });
  const beside = lengthOf(manifestLines(draft([]))) + plan.items.length * 256 + limits.bundle.mediumReserve;
  const volumes = layOut(plan.items, volumeSize(medium, beside));
  if (volumes.length > limits.bundle.volumes) {
    throw new AirlockError('usage.invalid', `${volumes.length} volumes would be needed. Choose a larger --medium.`);
  }
  const manifest = draft(volumes);
  if (lengthOf(manifestLines(manifest)) > limits.bundle.manifestBytes) {
    throw new AirlockError(
      'usage.invalid',
      'One bundle cannot hold so many files. Export some of the repositories at a time: --repository NAME.',
    );
  }
  return { plan, volumes, manifest };
}

function* inVolumes({ items }: Plan, volumes: readonly LaidVolume[]): Generator<Manifest['blobs'][number]> {
  const pieces = Map.groupBy(
    volumes.flatMap(({ entries }) => entries),
    ({ digest }) => digest,
  );
  for (const { digest, size } of items) {
    const own = pieces.get(digest) ?? [];
    yield {
      in: 'volumes',
      digest,
      size,
      pieces: own.map(({ volume, entry, offset, length }) => ({ volume, entry, offset, length })),
    };
  }
}

/** The layout of a manifest: the same as it was made with. */
function laidVolumes({ volumes, blobs }: Manifest): LaidVolume[] {
  const laid = volumes.map(({ name, size }) => ({ name, size, entries: [] as LaidVolume['entries'][number][] }));
  for (const each of blobs) {
    if (each.in !== 'volumes') continue;
    let from = 0;
    for (const piece of each.pieces) {
      laid[piece.volume - 1]?.entries.push({ ...piece, digest: each.digest, from });
      from += piece.length;
    }
  }
  for (const { entries } of laid) entries.sort((a, b) => a.offset - b.offset);
  return laid;
}

interface Begun {
  readonly state: ExportState;
  readonly manifest: Manifest;
  readonly volumes: readonly LaidVolume[];
}

class Export {
  readonly #context: ExportContext;
  readonly #options: ExportOptions;
  readonly #record: ExportRecord;
  readonly #begun: Begun;
  readonly #carrier: Carrier;
  readonly #onBytes: (bytes: number) => void;
  readonly #written: string[] = [];
  readonly #present: string[] = [];

  constructor(context: ExportContext, options: ExportOptions, record: ExportRecord, begun: Begun) {
    this.#context = context;
    this.#options = options;
    this.#record = record;
    this.#begun = begun;
    const { site, sequence } = begun.manifest;
    this.#carrier = options.to.folder(bundleName(site, sequence));
    this.#onBytes = heard(options);
  }

  async run(): Promise<Pick<ExportReport, 'bundle' | 'sequence' | 'folder' | 'written' | 'present' | 'manifest'>> {
    const { site, sequence } = this.#begun.manifest;
    const bundle = bundleName(site, sequence);
    const full = await this.#writeVolumes();
    await this.#hashOthers();
    const manifest = await this.#writeRest(await this.#sign());
    const left = this.#begun.state.volumes.filter(({ medium }) => medium === null).map(({ name }) => name);
    if (full !== undefined && left.length > 0) throw this.#nextMedium(full, left);
    return { bundle, sequence, folder: this.#carrier.where, written: this.#written, present: this.#present, manifest };
  }

  /** @returns why it stopped, if the medium is full; it then holds one volume at least */
  async #writeVolumes(): Promise<AirlockError | undefined> {
    const { volumes, state } = this.#begun;
    const listed = new Set(await this.#listedHere());
    await this.#carrier.remove(COMMIT); // until all of this medium is right again, it is incomplete
    for (const [index, volume] of volumes.entries()) {
      const known = state.volumes[index];
      if (known === undefined || (known.medium !== null && !listed.has(volume.name))) continue;
      if (await this.#isHere(volume.name, known.sha256)) {
        this.#present.push(volume.name);
        continue;
      }
      try {
        await this.#requireRoom(volume);
        known.sha256 = await this.#writeVolume(volume);
        await this.#record.save(state);
        this.#written.push(volume.name);
      } catch (error) {
        if (!isAirlockError(error, 'medium.full') || this.#onMedium().length === 0) throw error;
        return error;
      }
    }
    return undefined;
  }

  async #writeVolume(volume: LaidVolume): Promise<string> {
    const { progress, readback } = this.#options;
    progress.start(volume.name, readback ? 2 * volume.size : volume.size);
    try {
      return await putFile(this.#carrier, volume.name, (sink) => this.#fill(volume, sink), {
        readback,
        onRead: this.#onBytes,
      });
    } finally {
      progress.stop();
    }
  }

  #fill(volume: LaidVolume, sink: (bytes: Uint8Array) => Promise<void>): Promise<string> {
    const created = new Date(this.#begun.manifest.created);
    return writeVolume(this.#context.blobs, volume, { created, sink, onBytes: this.#onBytes });
  }

  /** Of volumes for the media after this one: the metadata on each medium speaks of all of them. */
  async #hashOthers(): Promise<void> {
    const { volumes, state } = this.#begun;
    for (const [index, volume] of volumes.entries()) {
      const known = state.volumes[index];
      if (known === undefined || known.sha256 !== null) continue;
      this.#options.progress.start(`${volume.name} (for the next medium)`, volume.size);
      known.sha256 = await this.#fill(volume, async () => undefined);
      this.#options.progress.stop();
      await this.#record.save(state);
    }
  }

  async #sign(): Promise<MetadataFiles> {
    const { state, manifest } = this.#begun;
    if (state.metadata !== null) return await this.#record.loadMetadata(state.metadata);
    const { site, sequence } = manifest;
    const own = await Promise.all(
      [MANIFEST, REVOCATIONS].map(async (name) => ({ name, bytes: await this.#record.read(name) })),
    );
    const targets = [
      ...own.map(({ name, bytes }) => siteTarget(site, name, bytes.length, sha256(bytes))),
      ...state.volumes.map(({ name, sha256: digest }, index) =>
        siteTarget(site, name, manifest.volumes[index]?.size ?? 0, digest ?? ''),
      ),
    ];
    const files = await this.#context.publisher.signBundle(site, sequence, targets);
    await this.#record.saveMetadata(files);
    state.metadata = [...files.keys()];
    await this.#record.save(state);
    return files;
  }

  /** @returns SHA-256 of the manifest */
  async #writeRest(metadata: MetadataFiles): Promise<string> {
    const { state, manifest } = this.#begun;
    const options = { readback: this.#options.readback };
    const sums = new Map(state.volumes.map(({ name, sha256: digest }) => [name, digest ?? '']));
    for (const [name, bytes] of metadata) {
      sums.set(`${METADATA}/${name}`, await putBytes(this.#carrier, `${METADATA}/${name}`, [bytes], options));
    }
    for (const name of [MANIFEST, REVOCATIONS]) {
      sums.set(name, await putBytes(this.#carrier, name, [await this.#record.read(name)], options));
    }
    const here = this.#onMedium();
    const readme = Buffer.from(readmeText(manifest, here));
    sums.set(README, await putBytes(this.#carrier, README, [readme], options));
    const lines = [...sums].map(([name, digest]) => `${digest}  ${name}\n`);
    await putBytes(this.#carrier, SUMS, [Buffer.from(lines.join(''))], options);
    await this.#carrier.sync();
    const commit = {
      bundle: bundleName(manifest.site, manifest.sequence),
      manifest: sums.get(MANIFEST),
      volumes: here,
    };
    await putBytes(this.#carrier, COMMIT, [Buffer.from(`${JSON.stringify(commit)}\n`)], options);
    await this.#carrier.sync();
    await this.#options.to.sync();
    const medium = Math.max(0, ...state.volumes.map((known) => known.medium ?? 0)) + 1;
    for (const known of state.volumes) if (here.includes(known.name)) known.medium ??= medium;
    await this.#record.save(state);
    return sums.get(MANIFEST) ?? '';
  }

  #onMedium(): string[] {
    return [...this.#present, ...this.#written].sort();
  }

  /** Volumes that this medium was to hold when it was finished: it still has some of them, or its COMMIT tells. */
  async #listedHere(): Promise<string[]> {
    const { volumes } = this.#begun.state;
    const names = (await this.#carrier.list()).files.map(({ name }) => name);
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
    return digest !== null && (await sha256Of(this.#carrier, name, () => this.#onBytes(0))) === digest;
  }

  async #requireRoom({ name, size }: LaidVolume): Promise<void> {
    await this.#carrier.remove(name);
    const needed = size + limits.bundle.mediumReserve + lengthOf(manifestLines(this.#begun.manifest));
    const free = (await this.#options.to.freeSpace()) ?? Number.POSITIVE_INFINITY;
    if (free >= needed) return;
    throw new AirlockError(
      'medium.full',
      `${name} needs ${needed} bytes at ${quoteUnsafe(this.#options.to.where)}, and ${free} are free. Free some, use a larger medium, or choose smaller volumes with --medium SIZE.`,
      { details: { needed, free } },
    );
  }

  #nextMedium(cause: AirlockError, left: readonly string[]): AirlockError {
    const { site } = this.#begun.manifest;
    const here = this.#onMedium();
    return new AirlockError(
      'medium.full',
      `This medium is full and finished: it holds ${here.join(', ')}. Put in the next one and run "airlock export --site ${site} --resume --to DIR": it gets ${left.join(', ')}.`,
      { cause, details: { written: here, left, folder: this.#carrier.where } },
    );
  }
}

function describe(
  { bytes, base }: Pick<Plan, 'bytes' | 'base'>,
  manifest: Manifest,
  { medium = parseMedium(DEFAULT_MEDIUM) }: ExportOptions,
): ExportPlan {
  const volumes = manifest.volumes.reduce((sum, { size }) => sum + size, 0);
  const beside = lengthOf(manifestLines(manifest)) + limits.bundle.mediumReserve;
  return {
    site: manifest.site,
    base,
    repositories: manifest.repositories.map(({ name, entries }) => ({ name, entries: entries.length })),
    volumes: manifest.volumes,
    bytes: { ...bytes, medium: volumes + beside, site: bytes.whole + limits.spaceReserve },
    media: Number.isFinite(medium.capacity) ? Math.max(1, manifest.volumes.length) : 1,
  };
}

function lengthOf(lines: Iterable<string>): number {
  let length = 0;
  for (const line of lines) length += Buffer.byteLength(line) + 1;
  return length;
}

/** FAT takes no file of 4 GiB: better said before hours of writing. */
async function requireFileSize(to: string, volumes: readonly LaidVolume[]): Promise<void> {
  const large = volumes.find(({ size }) => size > limits.bundle.fatFile);
  if (large === undefined || (await statfs(to).catch(() => undefined))?.type !== MSDOS_SUPER_MAGIC) return;
  throw new AirlockError(
    'usage.invalid',
    `${quoteUnsafe(to)} is a FAT file system, which takes no file of 4 GiB, and ${large.name} would be larger. Use --medium fat32.`,
  );
}
