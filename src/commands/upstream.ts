import type { Command } from 'commander';
import { isSyncing, syncUpstream, upstreamOf } from '../app/sync.ts';
import type { App } from '../app.ts';
import type { MirrorRuleConfig } from '../config/mirror.ts';
import { EXIT } from '../errors.ts';
import { limits } from '../limits.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { prune } from '../repo/upkeep/prune.ts';
import { lastSync, type PastSync, pastSyncs } from '../sync/mirror/history.ts';
import { type SyncReport, unreachable } from '../sync/mirror/mirror.ts';
import type { RuleReport } from '../sync/mirror/rule.ts';
import { appAction, type Result, type Session, wholeNumber } from './command.ts';
import { formatBytes, formatTable, formatTime } from './format.ts';

/** `upstream list | sync | history`. */
export function upstreamCommands(program: Command): void {
  const parent = program.command('upstream').description("mirror vendors' sites, as the configuration says");
  listCommand(parent);
  syncCommand(parent);
  historyCommand(parent);
}

function listCommand(parent: Command): void {
  const command = parent
    .command('list')
    .description('list the upstreams, their rules, and when each was mirrored last')
    .addHelpText('after', '\nExample:\n  airlock upstream list');
  appAction(command, async (app) => {
    const all = await Promise.all(
      Object.entries(app.config.upstreams).map(async ([name, { url, mirror }]) => {
        const isRunning = isSyncing(app.dataDir, name);
        const last = (await lastSync(app.catalog, name, { isRunning })) ?? null;
        return { name, url, rules: mirror.map(ruleName), last };
      }),
    );
    const rows = all.map(({ name, url, rules, last }) => [
      name,
      url,
      rules.join(', ') || 'none',
      last === null ? 'never' : `${formatTime(last.startedAt)}: ${last.outcome}`,
    ]);
    const text =
      rows.length === 0
        ? 'The configuration names no upstreams.'
        : formatTable(['Upstream', 'URL', 'Rules', 'Last sync'], rows);
    return { json: all, text };
  });
}

function ruleName(rule: MirrorRuleConfig): string {
  return rule.kind === 'policy' ? `policy ${rule.name}` : `${rule.kind} ${rule.path}`;
}

function syncCommand(parent: Command): void {
  const command = parent
    .command('sync')
    .argument('<name>', 'an upstream of the configuration')
    .description('bring what its rules say; exit code 5 if something did not come, 8 if the site cannot be reached')
    .option('--dry-run', 'only tell what would come and go')
    .addHelpText(
      'after',
      '\nWhat did not come is tried again by the next sync, and what broke off is gone on with.\n\nExamples:\n  airlock upstream sync ssr --dry-run\n  airlock upstream sync ssr',
    );
  appAction<[string, { dryRun?: boolean }]>(command, async (app, session, name, { dryRun = false }) => {
    const { progress, signal } = session;
    if (!dryRun) app.makeRoom();
    const onForecast = (forecast: SyncReport['forecast']) => dryRun || progress.note(forecastLine(forecast));
    const report = await syncUpstream(app, name, { dryRun, progress, signal, onForecast });
    if (report.outcome === 'unreachable') throw unreachable(report);
    const freed = dryRun ? 0 : await freeOld(app, session, report);
    return describeSync(report, freed);
  });
}

/** What was taken out longer ago than the grace period goes, so that mirroring alone does not fill the disk. */
async function freeOld({ blobs, catalog, config }: App, { progress, signal }: Session, { rules }: SyncReport) {
  if (rules.every(({ added, removed }) => added.length === 0 && removed.length === 0)) return 0;
  const now = new Date();
  const before = new Date(now.getTime() - config.prune.grace);
  return (await prune(blobs, catalog, { dryRun: false, now, before, signal, progress })).bytes;
}

function forecastLine({ files, bytes, free }: SyncReport['forecast']): string {
  const needed = bytes === 0 ? 0 : bytes + limits.spaceReserve;
  return `To come: ${files} ${files === 1 ? 'file' : 'files'}, ${formatBytes(bytes)}; needed: ${formatBytes(needed)}, free: ${formatBytes(free)}.`;
}

function describeSync(report: SyncReport, freed: number): Result {
  const { rules, dryRun, outcome, upstream, startedAt, endedAt, forecast } = report;
  const failures = rules.flatMap((rule) => rule.failures);
  const durationMs = endedAt.getTime() - startedAt.getTime();
  const bytes = rules.reduce((sum, rule) => sum + rule.bytes, 0);
  const requests = rules.reduce((sum, rule) => sum + rule.requests, 0);
  const cost = `${requests} requests, ${formatBytes(bytes)}, ${(durationMs / 1000).toFixed(1)} s`;
  const end = failures.length === 0 ? (dryRun ? 'Dry run' : 'Sync success') : `${failures.length} did not come`;
  const lines = [
    ...rules.flatMap((rule) => ruleLines(rule, dryRun)),
    ...(dryRun ? [forecastLine(forecast)] : []),
    ...(freed > 0 ? [`Freed ${formatBytes(freed)} that was taken out before.`] : []),
    `${end}: ${cost}.${failures.length > 0 ? ' The next sync tries again what did not come.' : ''}`,
  ];
  return {
    json: { upstream, dryRun, outcome, startedAt, endedAt, durationMs, forecast, bytes, requests, freed, rules },
    text: lines.join('\n'),
    exitCode: outcome === 'done' ? EXIT.done : EXIT.incomplete,
  };
}

function ruleLines({ rule, added, removed, waiting = 0, failures, warnings }: RuleReport, dryRun: boolean): string[] {
  const isQuiet = added.length === 0 && removed.length === 0 && failures.length === 0;
  const [plus, minus] = dryRun ? ['would bring', 'would remove'] : ['+', '-'];
  return [
    `${quoteUnsafe(rule)}:${isQuiet ? ' nothing new' : ''}`,
    ...named(added, (path) => `  ${plus} ${quoteUnsafe(path)}`),
    ...named(removed, (path) => `  ${minus} ${quoteUnsafe(path)}`),
    ...(waiting === 0 ? [] : [`  ${waiting} more come when somebody asks for them`]),
    ...failures.map(({ path, code, message }) => `  ✖ ${quoteUnsafe(path)}\n    error (${code}): ${message}`),
    ...named(warnings, (warning) => `  warning: ${warning}`),
  ];
}

/** Long lists are for programs. */
const SHOWN = 50;

function named(all: readonly string[], line: (each: string) => string): string[] {
  const more = all.length - SHOWN;
  return [...all.slice(0, SHOWN).map(line), ...(more > 0 ? [`  and ${more} more`] : [])];
}

function historyCommand(parent: Command): void {
  const command = parent
    .command('history')
    .argument('<name>', 'an upstream of the configuration')
    .description('tell of past syncs: when, how long, what changed, what failed; newest first')
    .option('--limit <n>', 'so many (default: 20)', wholeNumber)
    .addHelpText('after', '\nExample:\n  airlock upstream history ssr --limit 5');
  appAction<[string, { limit?: number }]>(command, async (app, _session, name, { limit = 20 }) => {
    upstreamOf(app.config, name);
    const past = await history(app, name, Math.min(limit, limits.mirror.history));
    const text =
      past.length === 0 ? `${name} was never mirrored. "airlock upstream sync ${name}" does it.` : pastLines(past);
    return { json: past, text };
  });
}

async function history({ catalog, dataDir }: App, name: string, limit: number): Promise<PastSync[]> {
  return await pastSyncs(catalog, name, { limit, isRunning: isSyncing(dataDir, name) });
}

function pastLines(past: readonly PastSync[]): string {
  return past
    .flatMap(({ startedAt, endedAt, outcome, only, counts, added, removed, failures, bytes }) => {
      const took = endedAt === null ? '' : `, ${((endedAt.getTime() - startedAt.getTime()) / 1000).toFixed(1)} s`;
      return [
        `${formatTime(startedAt)}: ${only === null ? '' : `${only} only: `}${outcome}${took}, ${counts.added} brought, ${counts.removed} removed, ${formatBytes(bytes)}`,
        ...named(added, (path) => `  + ${quoteUnsafe(path)}`),
        ...named(removed, (path) => `  - ${quoteUnsafe(path)}`),
        ...failures.slice(0, SHOWN).map(({ path, code, message }) => {
          return `  ✖ ${path === '' ? '' : `${quoteUnsafe(path)}: `}${message} (${code})`;
        }),
      ];
    })
    .join('\n');
}
