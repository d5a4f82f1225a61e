import type { Command } from 'commander';
import { type App, openApp, rebuild } from '../app.ts';
import { parseDuration } from '../config/values.ts';
import { AirlockError, EXIT } from '../errors.ts';
import type { LostRevision } from '../repo/catalog/revision-log.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import type { Relocated } from '../repo/packages/relocate.ts';
import { type AffectedPackages, deleteVersion, findDeletion } from '../repo/upkeep/delete-version.ts';
import { examine } from '../repo/upkeep/doctor.ts';
import { prune, type Waiting } from '../repo/upkeep/prune.ts';
import { describeDamage, verify } from '../repo/upkeep/verify.ts';
import { action, appAction, appOptions, type Result, type Session } from './command.ts';
import { formatBytes, formatTime } from './format.ts';
import { confirm } from './prompt.ts';
import { readWords } from './words.ts';

/** `delete system software version`, `verify`, `prune`, `doctor`. */
export function upkeepCommands(program: Command): void {
  deleteCommand(program);
  verifyCommand(program);
  pruneCommand(program);
  doctorCommand(program);
}

function deleteCommand(program: Command): void {
  const command = program
    .command('delete')
    .description('delete things')
    .command('system')
    .command('software')
    .description('take a release out of the repositories')
    .usage('[force] version VERSION')
    .argument('[words...]', 'version VERSION; any spelling that fits one release')
    .option('--version <version>', 'the same as a flag')
    .option('--force', 'do not ask')
    .addHelpText('after', '\nExample:\n  airlock delete system software version 6.3.0-107.r1.el7');
  appAction<[string[], { version?: string; force?: boolean }]>(
    command,
    async ({ catalog, makeRoom, ingest }, _session, words, flags) => {
      const said = readWords(words, { version: 'value', force: 'flag' });
      const version = Array.isArray(said.version) ? (said.version as readonly string[])[0] : flags.version;
      if (version === undefined)
        throw new AirlockError('usage.invalid', 'Say which: "airlock delete system software version VERSION".');
      makeRoom();
      const deletion = await findDeletion(catalog, version);
      const list = deletion.entries.map(({ repository, path }) => `  ${quoteUnsafe(`${repository}/${path}`)}\n`);
      const also = deletion.packages.map(describePackages).map((line) => `  ${line}\n`);
      const question = `${[...list, ...also].join('')}Delete ${quoteUnsafe(deletion.version)}, these ${list.length} files?`;
      if (!(await confirm(question, { force: said.force === true || flags.force === true }))) {
        return {
          json: { version: deletion.version, removed: [], packages: [], revisions: {} },
          text: 'Nothing was deleted.',
        };
      }
      const deleted = await deleteVersion(await ingest(), deletion);
      const bytes = deleted.removed.reduce((sum, { size }) => sum + size, 0);
      return {
        json: deleted,
        text: [
          ...deleted.removed.map(({ repository, path }) => `✔ ${quoteUnsafe(`${repository}/${path}`)}`),
          ...deleted.packages.map((each) => `✔ ${describePackages(each)}`),
          `Deleted ${quoteUnsafe(deleted.version)}. "airlock prune" frees its ${formatBytes(bytes)} after the grace period, "airlock prune --grace 0" at once; until then "airlock repo publish" can bring it back.`,
        ].join('\n'),
      };
    },
  );
}

function describePackages({ repository, removed, kept }: AffectedPackages): string {
  const stay = kept === 0 ? '' : `; ${kept} that something else brought, too, stay`;
  return `${removed.length} packages of ${repository}${stay}`;
}

function verifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .description('hash everything that is stored, and put what is wrong into quarantine; goes on where it was stopped')
    .option('--repair', 'also take what is damaged out of the published revisions')
    .option('--restart', 'begin anew')
    .addHelpText('after', '\nExample:\n  airlock verify');
  appAction<[{ repair?: boolean; restart?: boolean }]>(command, async ({ ingest }, { signal, progress }, flags) => {
    const report = await verify(await ingest(), { ...flags, signal, progress, now: Date.now });
    const lines = report.damage.map(describeDamage);
    const repaired = report.withdrawn.map((path) => `${quoteUnsafe(path)} was taken out of what is published.`);
    for (const [name, revision] of Object.entries(report.revisions)) {
      const isLess = report.withdrawn.some((path) => path.startsWith(`${name}/`));
      const what = isLess ? '. Import what is missing to bring it back.' : ', and its metadata is written anew.';
      repaired.push(`${name} is at revision ${revision} now${what}`);
    }
    if (flags.repair === true && repaired.length === 0) repaired.push('Nothing had to be taken out.');
    const resumed = report.resumed === 0 ? '' : ` (${report.resumed} more by a run before that was stopped)`;
    return {
      json: report,
      text: [
        ...lines,
        ...repaired,
        `Checked ${report.checked} blobs, ${formatBytes(report.bytes)}${resumed}: ${report.damage.length === 0 ? 'all are right' : `${report.damage.length} are damaged or missing`}.`,
      ].join('\n'),
      exitCode: report.damage.length === 0 ? EXIT.done : EXIT.unverified,
    };
  });
}

function pruneCommand(program: Command): void {
  const command = program
    .command('prune')
    .description('free what no revision refers to')
    .option('--dry-run', 'only tell')
    .option(
      '--grace <duration>',
      'keep what was deleted less than this ago: 0, 30min, 24h, 7d (default: prune.grace of the configuration)',
    )
    .addHelpText('after', '\nExample:\n  airlock prune --dry-run');
  appAction<[{ dryRun?: boolean; grace?: string }]>(command, async (app, { signal, progress }, flags) => {
    const { blobs, catalog, config } = app;
    const grace = flags.grace === undefined ? config.prune.grace : parseDuration(flags.grace);
    if (grace === undefined)
      throw new AirlockError(
        'usage.invalid',
        `--grace takes a duration such as 0, 30min, 24h or 7d, not ${JSON.stringify(flags.grace)}.`,
      );
    const dryRun = flags.dryRun ?? false;
    if (!dryRun) app.makeRoom();
    const now = new Date();
    const before = new Date(now.getTime() - grace);
    const report = await prune(blobs, catalog, { dryRun, now, before, signal, progress });
    const verb = dryRun ? 'Would free' : 'Freed';
    const lines = [`${verb} ${formatBytes(report.bytes)} in ${report.removed.length} blobs.`];
    const copied = report.relocated.filter(({ how }) => how === 'copied');
    if (copied.length > 0) lines.push(describeCopied(copied));
    if (report.waiting.since !== null) lines.push(describeWaiting(report.waiting, grace));
    return { json: { dryRun, ...report }, text: lines.join('\n') };
  });
}

function describeCopied(copied: readonly Relocated[]): string {
  const bytes = copied.reduce((sum, { size }) => sum + size, 0);
  return `${copied.length} packages of deleted images are still needed and got files of their own: ${formatBytes(bytes)}.`;
}

function describeWaiting({ blobs, bytes, since }: Waiting, grace: number): string {
  const [first, last] = (since ?? []).map((date) => formatTime(new Date(date.getTime() + grace)));
  const until = first === last ? `${first}` : `${first} (the first of them) and ${last} (the last)`;
  return `${formatBytes(bytes)} in ${blobs} blobs wait until ${until}; "airlock prune --grace 0" frees them now.`;
}

function doctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description('look over the data directory')
    .option('--rebuild-catalog', 'make the catalog anew from the stored blobs and revisions; the old one is kept')
    .option('--skip-damaged', 'with --rebuild-catalog: go on without revision files that cannot be read')
    .addHelpText('after', '\nExamples:\n  airlock doctor\n  airlock doctor --rebuild-catalog');
  action<[{ rebuildCatalog?: boolean; skipDamaged?: boolean }]>(command, async (session, flags) => {
    if (flags.rebuildCatalog === true) return await rebuilt(session, flags.skipDamaged ?? false);
    if (flags.skipDamaged === true)
      throw new AirlockError('usage.invalid', '--skip-damaged only goes with --rebuild-catalog.');
    const app = await openApp(appOptions(session.options));
    try {
      return await examined(app, session);
    } finally {
      await app.close();
    }
  });
}

async function rebuilt({ options, progress, signal }: Session, skipDamaged: boolean): Promise<Result> {
  const { dataDir } = appOptions(options);
  const report = await rebuild(dataDir, { progress, signal, skipDamaged });
  return {
    json: report,
    text: [
      ...report.lost.flatMap(describeLost),
      `Made the catalog anew: ${report.repositories} repositories, ${report.revisions} revisions, ${report.blobs} blobs. Each file is hashed before it is first served; "airlock verify" does it now.`,
      ...(report.kept === null ? [] : [`The old catalog is kept in ${report.kept}; delete it when all is well.`]),
    ].join('\n'),
  };
}

function describeLost({ repository, revision, why, kept, paths }: LostRevision): string[] {
  const file = kept === null ? '' : ` Its file is kept in ${kept}.`;
  const seen = paths.length === 0 ? '' : ' As far as it could be read, it had put:';
  return [
    `✖ Revision ${revision} of ${repository} is lost (${why}), and empty now.${file} Import again what it brought.${seen}`,
    ...paths.map((path) => `    ${quoteUnsafe(path)}`),
  ];
}

async function examined({ blobs, catalog, log }: App, { signal }: Session): Promise<Result> {
  const report = await examine(blobs, catalog, log, signal);
  return {
    json: report,
    text: [
      ...report.findings.map(({ severity, message }) => `${severity}: ${message}`),
      `${report.blobs} blobs, ${formatBytes(report.bytes)}; ${formatBytes(report.freeBytes)} free. ${report.healthy ? 'Healthy.' : 'Not healthy.'}`,
    ].join('\n'),
    exitCode: report.healthy ? EXIT.done : EXIT.unverified,
  };
}
