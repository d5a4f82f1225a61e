import type { Command } from 'commander';
import { type App, openApp, rebuild } from '../app.ts';
import { parseDuration } from '../config.ts';
import { AirlockError, EXIT } from '../errors.ts';
import { deleteVersion } from '../repo/upkeep/delete-version.ts';
import { examine } from '../repo/upkeep/doctor.ts';
import { prune } from '../repo/upkeep/prune.ts';
import { verify } from '../repo/upkeep/verify.ts';
import { action, appAction, appOptions, type Result, type Session } from './command.ts';
import { formatBytes } from './format.ts';
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
  appAction<[string[], { version?: string; force?: boolean }]>(command, async ({ catalog }, _session, words, flags) => {
    const said = readWords(words, { version: 'value', force: 'flag' });
    const version = Array.isArray(said.version) ? (said.version as readonly string[])[0] : flags.version;
    if (version === undefined)
      throw new AirlockError('usage.invalid', 'Say which: "airlock delete system software version VERSION".');
    if (!(await confirm(`Delete ${version}?`, { force: said.force === true || flags.force === true }))) {
      return { json: { removed: [] }, text: 'Nothing was deleted.' };
    }
    const deleted = await deleteVersion(catalog, version);
    const bytes = deleted.removed.reduce((sum, { size }) => sum + size, 0);
    return {
      json: deleted,
      text: [
        ...deleted.removed.map(({ repository, path }) => `✔ ${repository}/${path}`),
        `Deleted ${deleted.version}. "airlock prune" frees its ${formatBytes(bytes)} after the grace period; until then "airlock repo publish" can bring it back.`,
      ].join('\n'),
    };
  });
}

function verifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .description('hash everything that is stored, and put what is wrong into quarantine; goes on where it was stopped')
    .option('--repair', 'also take what is damaged out of the published revisions')
    .option('--restart', 'begin anew')
    .addHelpText('after', '\nExample:\n  airlock verify');
  appAction<[{ repair?: boolean; restart?: boolean }]>(
    command,
    async ({ blobs, catalog }, { signal, progress }, flags) => {
      const report = await verify(blobs, catalog, { ...flags, signal, progress, now: Date.now });
      const lines = report.damage.map(
        ({ digest, what, artifacts, quarantined }) =>
          `✖ ${artifacts.join(', ') || 'nothing published'}: ${digest} is ${what}${quarantined === null ? '' : `, kept in ${quarantined}`}. Import it again.`,
      );
      const resumed = report.resumed === 0 ? '' : ` (${report.resumed} more by a run before that was stopped)`;
      return {
        json: report,
        text: [
          ...lines,
          `Checked ${report.checked} blobs, ${formatBytes(report.bytes)}${resumed}: ${report.damage.length === 0 ? 'all are right' : `${report.damage.length} are not`}.`,
        ].join('\n'),
        exitCode: report.damage.length === 0 ? EXIT.done : EXIT.unverified,
      };
    },
  );
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
  appAction<[{ dryRun?: boolean; grace?: string }]>(command, async ({ blobs, catalog, config }, _session, flags) => {
    const grace = flags.grace === undefined ? config.prune.grace : parseDuration(flags.grace);
    if (grace === undefined)
      throw new AirlockError(
        'usage.invalid',
        `--grace takes a duration such as 0, 30min, 24h or 7d, not ${JSON.stringify(flags.grace)}.`,
      );
    const dryRun = flags.dryRun ?? false;
    const report = await prune(blobs, catalog, { dryRun, before: new Date(Date.now() - grace) });
    const verb = dryRun ? 'Would free' : 'Freed';
    return {
      json: { dryRun, ...report },
      text: `${verb} ${formatBytes(report.bytes)} in ${report.removed.length} blobs.`,
    };
  });
}

function doctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description('look over the data directory')
    .option('--rebuild-catalog', 'make the catalog anew from the stored blobs and revisions; the old one is kept')
    .addHelpText('after', '\nExamples:\n  airlock doctor\n  airlock doctor --rebuild-catalog');
  action<[{ rebuildCatalog?: boolean }]>(command, async (session, { rebuildCatalog }) => {
    if (rebuildCatalog === true) return await rebuilt(session);
    const app = await openApp(appOptions(session.options));
    try {
      return await examined(app);
    } finally {
      await app.close();
    }
  });
}

async function rebuilt({ options, progress }: Session): Promise<Result> {
  const report = await rebuild(options.data, progress);
  return {
    json: report,
    text: `Made the catalog anew: ${report.repositories} repositories, ${report.revisions} revisions, ${report.blobs} blobs. Each file is hashed before it is first served; "airlock verify" does it now.`,
  };
}

async function examined({ blobs, catalog, log }: App): Promise<Result> {
  const report = await examine(blobs, catalog, log);
  return {
    json: report,
    text: [
      ...report.findings.map(({ severity, message }) => `${severity}: ${message}`),
      `${report.blobs} blobs, ${formatBytes(report.bytes)}; ${formatBytes(report.freeBytes)} free. ${report.healthy ? 'Healthy.' : 'Not healthy.'}`,
    ].join('\n'),
    exitCode: report.healthy ? EXIT.done : EXIT.unverified,
  };
}
