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
import { requireComplete } from '../../repo/packages/lacking.ts';
import type { StagingOptions } from '../../repo/staging.ts';
import type { TrustedBlobs } from '../../repo/trusted-blobs.ts';
import type { Carrier } from '../carriers/carrier.ts';
import { DeltaFiles } from '../delta/delta-files.ts';
import type { Publisher } from '../trust/publisher.ts';
import type { CarriedProgram } from './carried-program.ts';
import { describe, type ExportPlan, laidVolumes, prepare } from './export-plan.ts';
import { ExportRecord, exclusively } from './export-state.ts';
import type { LaidVolume } from './layout.ts';
import type { Medium } from './medium-size.ts';
import { MediumWriter, type Written } from './medium-writer.ts';
import { readManifest } from './read-manifest.ts';

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
  /** Also write a parity volume: with it any one volume may be lost. */
  readonly parity?: boolean;
  readonly readback: boolean;
  /** Carried along. */
  readonly program?: CarriedProgram;
  /** Told what will be written, before anything is. */
  readonly onPlan?: (plan: ExportPlan) => void;
}

export interface ExportReport extends ExportPlan, Written {}

/** FAT, as Linux tells it (statfs(2)). */
const MSDOS_SUPER_MAGIC = 0x4d44;

/** Says what would be written. @throws as `prepare` */
export async function planExport(context: ExportContext, options: ExportOptions): Promise<ExportPlan> {
  const { draft, manifestBytes } = await prepare(context, options);
  return await describe(draft, manifestBytes, options);
}

/**
 * Writes a new bundle.
 * @throws key.missing, key.not-found, trust.expired before anything is written; blob.missing; medium.full naming what to do; source.lost,
 *   interrupted: `resumeExport` goes on then
 */
export async function exportBundle(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  await context.publisher.root();
  return await exclusively(context.dataDir, options.site, () => begin(context, options));
}

async function begin(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  await requireComplete(context.catalog, options.repositories);
  const { draft, volumes, deltas, manifestBytes } = await prepare(context, options);
  const plan = await describe(draft, manifestBytes, options);
  options.onPlan?.(plan);
  await requireFileSize(options.to.where, volumes);
  await context.publisher.ensureSite(options.site);
  const manifest = { ...draft, sequence: await context.publisher.takeSequence(options.site) };
  await deltas.files?.forgetOthers();
  const record = new ExportRecord(context.dataDir, options.site);
  const state = await record.begin(manifest, await context.revocations());
  const writer = new MediumWriter(context, options, { record, state, head: manifest, volumes, deltas: deltas.files });
  return { ...plan, ...(await run(writer, options)) };
}

/** What was broken off is gone on with by another command than the one that began it. */
async function run(writer: MediumWriter, { site, to }: ExportOptions): Promise<Written> {
  try {
    return await writer.run();
  } catch (error) {
    if (!isAirlockError(error, 'source.lost', 'interrupted')) throw error;
    const what = error.code === 'interrupted' ? 'Interrupted. What was written stays.' : error.message;
    const command = `airlock export --site ${site} --resume --to ${quoteUnsafe(to.where)}`;
    const { details } = error;
    throw new AirlockError(error.code, `${what} "${command}" goes on with this bundle.`, { cause: error, details });
  }
}

/** Goes on with the newest bundle for the site: writes what `to` and the finished media before lack. */
export async function resumeExport(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  return await exclusively(context.dataDir, options.site, () => goOn(context, options));
}

async function goOn(context: ExportContext, options: ExportOptions): Promise<ExportReport> {
  const { dataDir } = context;
  const record = new ExportRecord(dataDir, options.site);
  const state = await record.load();
  if (state.metadata === null) await context.publisher.ensureSite(options.site); // it is still to be signed
  await using file = await record.openManifest();
  const manifest = await readManifest(file);
  if (options.parity === true && manifest.parity === undefined) throw noParity();
  const volumes = laidVolumes(manifest);
  await requireFileSize(options.to.where, volumes);
  const receipt = manifest.base?.receipt;
  const deltas = receipt === undefined ? undefined : await DeltaFiles.open(dataDir, options.site, receipt);
  const writer = new MediumWriter(context, options, { record, state, head: manifest, volumes, deltas });
  const written = await run(writer, options);
  return { ...(await describe(manifest, file.size, options)), ...written };
}

function noParity(): AirlockError {
  return new AirlockError(
    'usage.invalid',
    'The bundle that was begun has no parity volume, and its signature speaks of none. Export without --resume to write a new bundle with --parity.',
  );
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
