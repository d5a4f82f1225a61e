/** `bundle inspect | verify`, and `import bundle`. */
import path from 'node:path';
import type { Command } from 'commander';
import type { App } from '../app.ts';
import { EXIT } from '../errors.ts';
import { writeFileDurably } from '../repo/blobs/durable.ts';
import { blobPath } from '../repo/blobs/layout.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { parseCommand } from '../sync/bundle/command-words.ts';
import { type ImportBundleReport, importBundle } from '../sync/bundle/import-bundle.ts';
import {
  type InspectContext,
  type InspectedBundle,
  inspectBundles,
  type VerifiedFile,
  type VerifiedVolumes,
  verifyVolumes,
} from '../sync/bundle/inspect-bundle.ts';
import { PARITY } from '../sync/bundle/names.ts';
import { reportPage } from '../sync/bundle/report-page.ts';
import type { Scanner, ScanReport } from '../sync/bundle/scan.ts';
import { keepHeapSmall } from '../sync/bundle/small-heap.ts';
import { SiteTrust } from '../sync/trust/site-trust.ts';
import { appAction } from './command.ts';
import { requireFolderOf } from './destination.ts';
import { formatBytes } from './format.ts';
import { type PlaceFlags, placeOptions, withPlaces } from './places.ts';

export function bundleCommands(program: Command): void {
  const bundle = program.command('bundle').description('look at bundles on media');

  const inspect = bundle
    .command('inspect')
    .argument('<dirs...>', 'folders of bundles, or folders that hold them; or sftp://USER@HOST/PATH')
    .description('say what a medium holds, and whether this site would take it')
    .addHelpText('after', '\nExample:\n  airlock bundle inspect /media/stick');
  appAction<[string[], PlaceFlags]>(placeOptions(inspect), async (app, { signal, progress }, dirs, flags) => {
    keepHeapSmall();
    const found = await withPlaces(dirs, { flags, signal }, (places) => {
      return inspectBundles(siteContext(app), places, (line) => progress.note(line));
    });
    return { json: found, text: found.map(describeInspected).join('\n\n') };
  });

  const verify = bundle
    .command('verify')
    .argument('<dirs...>', 'folders of bundles, or folders that hold them; or sftp://USER@HOST/PATH')
    .option('--accept-expired', 'go on though the signatures have expired')
    .description('check the signatures of the newest bundle, and read every volume')
    .addHelpText(
      'after',
      '\nExample:\n  airlock bundle verify /media/disc1 /media/disc2\n\nExit code 4: something is damaged. 5: a volume is missing.',
    );
  appAction<[string[], PlaceFlags & { acceptExpired?: boolean }]>(
    placeOptions(verify),
    async (app, { signal, progress }, dirs, flags) => {
      keepHeapSmall();
      const options = { signal, progress, acceptExpired: flags.acceptExpired ?? false };
      const report = await withPlaces(dirs, { flags, signal }, (places) => {
        return verifyVolumes(siteContext(app), places, options);
      });
      const statuses = new Set(report.volumes.filter((each) => !isSpare(each)).map(({ status }) => status));
      return {
        json: report,
        text: [
          ...report.volumes.map(
            ({ name, where, status }) =>
              `${status === 'good' ? '✔' : '✖'} ${name}: ${status}${where === null ? '' : ` (${quoteUnsafe(where)})`}`,
          ),
          `${report.bundle}: ${describeVerdict(report)}`,
        ].join('\n'),
        exitCode: statuses.has('damaged') ? EXIT.unverified : statuses.has('missing') ? EXIT.incomplete : EXIT.done,
      };
    },
  );
}

/** All volumes do without the parity volume, which may well have stayed at home. */
function isSpare({ name, status }: VerifiedFile): boolean {
  return name === PARITY && status === 'missing';
}

function describeVerdict({ site, volumes, rebuildable }: VerifiedVolumes): string {
  if (volumes.every((each) => each.status === 'good' || isSpare(each))) return 'all is well';
  const again = `airlock export --site ${site} --resume --to DIR`;
  return rebuildable === null
    ? `write again what is damaged or missing: ${again}`
    : `an import rebuilds ${rebuildable} with ${PARITY}; to have it whole again: ${again}`;
}

/** `import bundle` */
export function importBundleCommand(parent: Command): void {
  const command = parent
    .command('bundle')
    .argument('<dirs...>', 'folders of a bundle, or folders that hold it or some of it; or sftp://USER@HOST/PATH')
    .description('take in a bundle from an export station: all of it, or nothing')
    .option('--accept-expired', 'take it though its signatures have expired; the report says so')
    .option('--report <file>', 'also write the report as a page to print (HTML)')
    .option('--scan <command>', 'a program that looks at all new files before anybody sees them')
    .addHelpText('after', IMPORT_HELP);
  appAction<[string[], PlaceFlags & ImportFlags]>(
    placeOptions(command),
    async (app, { signal, progress }, dirs, flags) => {
      if (flags.report !== undefined) await requireFolderOf(flags.report);
      const context = { packages: await app.ingest(), trust: siteTrust(app), now: () => new Date() };
      keepHeapSmall();
      const options = { signal, progress, acceptExpired: flags.acceptExpired ?? false, ...scannerOf(app, flags) };
      const report = await withPlaces(dirs, { flags, signal }, (places) => importBundle(context, places, options));
      if (flags.report !== undefined) await writeFileDurably(path.resolve(flags.report), reportPage(report));
      return { json: report, text: describeImport(report).join('\n') };
    },
  );
}

interface ImportFlags {
  readonly acceptExpired?: boolean;
  readonly report?: string;
  readonly scan?: string;
}

const IMPORT_HELP = `
Example:
  airlock import bundle /media/stick
  airlock import bundle /media/disc1 /media/disc2 --report report.html
  airlock import bundle /media/stick --scan "clamscan --infected --alert-exceeds-max=yes"

Media may be read-only, and in any order. What an interrupted import has read is
not read again. The command of --scan is run without a shell; quotes keep words
together. It gets the new files as further arguments, in several turns if they
are many, and on its standard input lines of JSON that tell their names. Exit
code 0 accepts them. Anything else, or a file that was touched, ends the import
with exit code 7, and nothing has landed. Packages inside an image come as that
image.`;

/** @throws usage.invalid, file.not-found: before hours of reading */
function scannerOf({ dataDir }: App, { scan }: ImportFlags): { scanner?: Scanner } {
  if (scan === undefined) return {};
  return { scanner: { command: parseCommand(scan), fileOf: (digest) => blobPath(dataDir, digest) } };
}

function siteContext(app: App): InspectContext {
  return { trust: siteTrust(app), blobs: app.blobs };
}

export function siteTrust({ dataDir, catalog }: App): SiteTrust {
  return new SiteTrust({ dataDir, catalog, now: () => new Date() });
}

function describeInspected(found: InspectedBundle): string {
  const { bundle, site, created, committed, base, repositories, volumes, parity, bytes, needed, trust } = found;
  const missing = volumes.filter(({ where }) => where === null).map(({ name }) => name);
  return [
    `${bundle} for the site ${site}, made on ${created.slice(0, 10)}${committed ? '' : ' (not finished: COMMIT is missing)'}`,
    ...repositories.map(({ name, entries }) => `  ${name}: ${entries} files`),
    `  ${volumes.length} volumes, ${formatBytes(bytes)}${base === null ? '' : `, rests on sequence ${base}`}; the import needs ${formatBytes(needed)} free`,
    ...(missing.length === 0 ? [] : [`  not here: ${missing.join(', ')}`]),
    ...(parity === null ? [] : [`  ${parity.name} ${describeParity(parity, missing)}`]),
    trust.ok
      ? `  signed by a trusted key, until ${trust.expires.slice(0, 10)}${trust.landed ? '; it has landed here already' : ''}`
      : `  this site would refuse it (${trust.code}): ${trust.message}`,
  ].join('\n');
}

function describeParity({ where }: NonNullable<InspectedBundle['parity']>, missing: readonly string[]): string {
  if (where === null) return 'is not here';
  if (missing.length > 1) return `is here, and makes up for one volume, not for ${missing.length}`;
  return missing.length === 1 ? `is here: an import rebuilds ${missing[0]} with it` : 'is here, should a volume fail';
}

function describeImport(report: ImportBundleReport): string[] {
  const { bundle, outcome, signatures, boundSite, site, blobs, repositories, revoked, volumes, rebuilt, scan } = report;
  return [
    ...(boundSite ? [`This site is now called ${site}: the first bundle names it.`] : []),
    `✔ ${bundle}${outcome === 'present' ? ' is here already: nothing to do' : ''}, signed by ${signatures.keys.map((key) => key.slice(0, 16)).join(', ')}`,
    ...signatures.acceptedExpired.map((name) => `  warning: ${name} has expired, and was accepted because you said so`),
    ...report.warnings.map((warning) => `  warning: ${warning}`),
    ...volumes.map(({ name, where }) => `  from ${name} at ${quoteUnsafe(where)}`),
    ...(rebuilt === null
      ? []
      : [
          `  ${rebuilt.name} was ${rebuilt.why}, and was rebuilt with the parity volume: write it again before the media travel on`,
        ]),
    ...(scan === null ? [] : describeScan(scan)),
    ...repositories.map(({ repository, revision, added, replaced, unchanged }) => {
      return `  ${repository}, revision ${revision}: ${added.length} new, ${replaced.length} replaced, ${unchanged} unchanged`;
    }),
    ...repositories.flatMap(({ repository, added, replaced }) => [
      ...added.map(({ path: at, size }) => `    + ${quoteUnsafe(`${repository}/${at}`)} (${formatBytes(size)})`),
      ...replaced.map(({ path: at }) => `    ~ ${quoteUnsafe(`${repository}/${at}`)}`),
    ]),
    ...revoked.map(({ repository, path: at }) => `  revoked, and withdrawn: ${quoteUnsafe(`${repository}/${at}`)}`),
    `${formatBytes(blobs.bytes)} read for ${blobs.read} files, ${blobs.made} of them made from deltas; ${blobs.present} were here or lie in images`,
    'Import success. "airlock receipt write --to DIR" makes the next bundle smaller.',
  ];
}

function describeScan({ command, files, bytes, output, cut }: ScanReport): string[] {
  const said = output.trimEnd();
  return [
    `  ${files} new files (${formatBytes(bytes)}) accepted by ${quoteUnsafe(command.join(' '))}${said === '' ? '' : cut ? ', which said at its end:' : ', which said:'}`,
    ...(said === '' ? [] : said.split('\n').map((line) => `    ${quoteUnsafe(line)}`)),
  ];
}
