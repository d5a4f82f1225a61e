/** `export`: a bundle for a site. */
import path from 'node:path';
import type { Command } from 'commander';
import ownPackage from '../../package.json' with { type: 'json' };
import { completeRepositories } from '../app/complete-repositories.ts';
import type { App } from '../app.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { programToCarry } from '../sync/bundle/carried-program.ts';
import {
  type ExportContext,
  type ExportReport,
  exportBundle,
  planExport,
  resumeExport,
} from '../sync/bundle/export.ts';
import type { ExportPlan } from '../sync/bundle/export-plan.ts';
import { parseMedium } from '../sync/bundle/medium-size.ts';
import { keepHeapSmall } from '../sync/bundle/small-heap.ts';
import type { Carrier } from '../sync/carriers/carrier.ts';
import { publishedRevocations } from '../sync/trust/published-revocations.ts';
import { Publisher } from '../sync/trust/publisher.ts';
import { siteName } from '../sync/trust/site-name.ts';
import { appAction, type Result, type Session } from './command.ts';
import { formatBytes } from './format.ts';
import { type PlaceFlags, placeOptions, withPlace } from './places.ts';

interface ExportFlags extends PlaceFlags {
  readonly site: string;
  readonly to: string;
  readonly repository?: string[];
  readonly medium?: string;
  readonly full?: boolean;
  readonly resume?: boolean;
  readonly parity?: boolean;
  readonly dryRun?: boolean;
  readonly readback: boolean;
  readonly withAirlock?: string | true;
}

const EXPORT_HELP = `
Example:
  airlock export --site north --to /media/stick --medium fat32
  airlock export --site north --to /media/disc2 --resume
  airlock export --site north --to sftp://drop@host/bundles --identity key --known-hosts known_hosts

The folder must be there. --medium limits one file; a medium that is full ends
the command with exit code 5, and --resume goes on with the next one.`;

export function exportCommand(program: Command): void {
  const command = program
    .command('export')
    .description('write a signed bundle for an air-gapped site: what it lacks, as far as its receipts prove')
    .requiredOption('--site <name>', 'for whom; a new site is added')
    .requiredOption('--to <dir>', 'a folder of the medium, or sftp://USER@HOST/PATH; the bundle gets a folder in it')
    .option('--repository <names...>', 'only these repositories (default: all)')
    .option('--medium <medium>', 'fat32, exfat, dvd, dvd-dl, bd, or a size such as 700MiB (default: fat32)')
    .option('--full', 'everything, as if the site had nothing')
    .option('--parity', 'also write a parity volume: any one volume may then be lost or damaged')
    .option('--resume', 'go on with the bundle that was begun, or write again what is damaged')
    .option('--dry-run', 'only tell what would be written')
    .option('--no-readback', 'do not read back what was written')
    .option('--with-airlock [file]', 'also carry Airlock itself: what "npm run package" made (default: that in dist/)')
    .addHelpText('after', EXPORT_HELP);
  appAction<[ExportFlags]>(placeOptions(command), (app, session, flags) => {
    const { signal } = session;
    return withPlace(flags.to, { flags, signal }, (to) => run(app, session, flags, to));
  });
}

async function run(app: App, { signal, progress }: Session, flags: ExportFlags, to: Carrier): Promise<Result> {
  keepHeapSmall();
  const context = exportContext(app);
  const options = {
    site: siteName(flags.site),
    to,
    ...(flags.repository === undefined ? {} : { repositories: flags.repository }),
    ...(flags.medium === undefined ? {} : { medium: parseMedium(flags.medium) }),
    full: flags.full ?? false,
    parity: flags.parity ?? false,
    readback: flags.readback,
    ...(flags.withAirlock === undefined ? {} : { program: await programToCarry(packageFile(flags.withAirlock)) }),
    signal,
    progress,
  };
  if (flags.resume !== true) {
    await completeRepositories(app, flags.repository, { signal, progress, dryRun: flags.dryRun ?? false });
  }
  if (flags.dryRun === true) {
    const plan = await planExport(context, options);
    return { json: { dryRun: true, ...plan }, text: describePlan(plan).join('\n') };
  }
  const onPlan = (plan: ExportPlan) => {
    for (const line of describePlan(plan)) progress.note(line);
  };
  const report =
    flags.resume === true ? await resumeExport(context, options) : await exportBundle(context, { ...options, onPlan });
  return { json: report, text: describeReport(report) };
}

/** By default that of this version, where `npm run package` puts it. */
function packageFile(named: string | true): string {
  if (named !== true) return path.resolve(named);
  const name = `airlock-${ownPackage.version}-${process.platform}-${process.arch}.tar.gz`;
  return path.join(import.meta.dirname, '..', '..', 'dist', name);
}

function exportContext(app: App): ExportContext {
  const { dataDir, catalog, blobs } = app;
  const now = () => new Date();
  return {
    dataDir,
    catalog,
    blobs: new TrustedBlobs({ catalog, blobs }),
    publisher: new Publisher({ dataDir, now }),
    revocations: () => publishedRevocations(dataDir),
    now,
  };
}

function describePlan({ site, base, repositories, volumes, parity, bytes, media, free }: ExportPlan): string[] {
  const files = repositories.map(({ name, entries }) => `${name} (${entries} files)`).join(', ');
  const held =
    base === null ? 'no receipt of the site was accepted yet' : `its receipt for sequence ${base.sequence} counts`;
  const deltas =
    bytes.made === 0
      ? ''
      : ` and ${formatBytes(bytes.deltas)} of deltas, from which it makes ${formatBytes(bytes.made)}`;
  const room = free === null ? '' : ` (${formatBytes(free)} are)`;
  return [
    `For ${site}: ${files === '' ? 'nothing is published' : files}; ${held}.`,
    `${formatBytes(bytes.whole)} to carry${deltas}; ${formatBytes(bytes.held)} are there already, ${formatBytes(bytes.slices)} lie in images.`,
    `${volumes.length} volumes on ${media} ${media === 1 ? 'medium' : 'media'}, ${formatBytes(bytes.medium)} in all; ${formatBytes(bytes.room)} must be free there${room}. The site needs ${formatBytes(bytes.site)} free.`,
    ...(parity === null ? [] : [describeParity(parity, volumes.length)]),
  ];
}

function describeParity({ name, size }: NonNullable<ExportPlan['parity']>, volumes: number): string {
  const what = volumes === 1 ? 'a second copy of the only volume' : 'makes up for any one volume';
  return `${name} (${formatBytes(size)}): ${what}. Best kept on a medium of its own.`;
}

function describeReport({ bundle, folder, written, present }: ExportReport): string {
  const kept = present.length === 0 ? '' : ` (${present.length} were there already)`;
  return [
    `✔ ${bundle}: ${written.length} volumes written${kept} to ${quoteUnsafe(folder)}`,
    'Export success. At the site: airlock import bundle DIR. Send its receipt back, and the next bundle leaves out what is there.',
  ].join('\n');
}
