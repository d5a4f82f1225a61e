import type { Command } from 'commander';
import type { App } from '../app.ts';
import { AirlockError, EXIT, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { quote, quoteUnsafe } from '../repo/formats/quote.ts';
import { readSmallFile } from '../repo/ingest/medium.ts';
import { approvePolicy, rejectPolicy } from '../repo/policies/approve.ts';
import type { BroughtPolicy } from '../repo/policies/bring.ts';
import { comparePolicies } from '../repo/policies/compare.ts';
import { diffText } from '../repo/policies/diff-text.ts';
import { importPolicy } from '../repo/policies/import-policy.ts';
import { readableText } from '../repo/policies/json-text.ts';
import { type LintReport, lint } from '../repo/policies/lint.ts';
import { parseReference, policyName, versionPath } from '../repo/policies/policy-name.ts';
import { whyRejected } from '../repo/policies/tell.ts';
import {
  allVersions,
  newestVersion,
  type PolicyVersion,
  readVersion,
  requireVersion,
} from '../repo/policies/versions.ts';
import { appAction, type Session } from './command.ts';
import { formatBytes, formatTable } from './format.ts';
import { describe, exitCodeOf, outcomeDocument, outcomeLine } from './policy-outcome.ts';
import { readWords } from './words.ts';

/** `policy list | show | diff | lint | approve | reject | fetch`. */
export function policyCommands(program: Command): void {
  const parent = program.command('policy').description('policy texts of clouds, and what their versions allow');
  listCommand(parent);
  showCommand(parent);
  diffCommand(parent);
  lintCommand(parent);
  approveCommand(parent);
  rejectCommand(parent);
  fetchCommand(parent);
}

function listCommand(parent: Command): void {
  const command = parent
    .command('list')
    .description('list the policies and their versions, held and rejected ones included')
    .option('--release <release>', 'only versions that go with this release')
    .addHelpText('after', '\nExample:\n  airlock policy list --release 6.9.161');
  appAction<[{ release?: string }]>(command, async ({ catalog }, _session, { release }) => {
    const all = await allVersions(catalog);
    const versions = all.filter(({ releases }) => release === undefined || releases.includes(release));
    const served = new Map<string, number | undefined>();
    for (const { name } of versions) {
      if (!served.has(name)) served.set(name, (await newestVersion(catalog, name))?.version);
    }
    const listed = versions.map((version) => ({ version, isNewest: served.get(version.name) === version.version }));
    const nothing =
      all.length === 0
        ? 'No policies here yet. "airlock import policy NAME FILE" imports one, "airlock policy fetch NAME" fetches one.'
        : `No policy goes with release ${release}. "airlock policy list" lists all.`;
    return {
      json: listed.map(({ version, isNewest }) => ({ ...describe(version), newest: isNewest })),
      text: listed.length === 0 ? nothing : formatTable(COLUMNS, listed.map(row)),
    };
  });
}

const COLUMNS = ['Policy', 'Date', 'Source', 'Size', 'Format', 'Allows more', 'State', 'Releases'];

function row({ version: each, isNewest }: { version: PolicyVersion; isNewest: boolean }): string[] {
  const { name, version, at, source, size, format, widening, releases } = each;
  return [
    versionPath(name, version),
    at.slice(0, 10),
    source,
    formatBytes(size),
    format,
    widening ?? 'first',
    stateOf(each, isNewest),
    releases.join(', '),
  ];
}

function stateOf({ held, rejected }: PolicyVersion, isNewest: boolean): string {
  if (rejected !== null) return rejected.reason === null ? 'rejected' : `rejected: ${quoteUnsafe(rejected.reason)}`;
  if (held === null) return isNewest ? 'newest' : 'published';
  return held.widens ? 'held: look at it, and approve it or reject it' : 'held: waits for its other parts';
}

function showCommand(parent: Command): void {
  const command = parent
    .command('show')
    .argument('<policy>', 'NAME: the newest published text; NAME@N: one version')
    .description('show a policy text')
    .addHelpText(
      'after',
      '\nThe very bytes are served at /repos/policies/NAME and /repos/policies/NAME@N.\n\nExample:\n  airlock policy show aviatrix-app-policy@3',
    );
  appAction<[string]>(command, async (app, { options, progress }, reference) => {
    const version = await requireVersion(app.catalog, parseReference(reference));
    if (options.json !== true) noteState(version, progress);
    const { text, encoding } = readableText(await readVersion(app, version));
    return {
      json: { ...describe(version), encoding, text },
      text: text.replaceAll('\r\n', '\n').replace(/\n$/, ''),
    };
  });
}

/** On standard error: the text itself is what somebody may want in a file. */
function noteState(version: PolicyVersion, progress: Session['progress']): void {
  const path = versionPath(version.name, version.version);
  if (version.rejected !== null) progress.note(`${path} ${whyRejected(version)}, and is not published`);
  else if (version.held !== null) progress.note(`${path} is held and not published`);
}

function diffCommand(parent: Command): void {
  const command = parent
    .command('diff')
    .argument('<older>', 'NAME or NAME@N')
    .argument('<newer>', 'NAME or NAME@N')
    .description('show what the newer text allows and denies that the older does not, and the other way round')
    .addHelpText('after', '\nExample:\n  airlock policy diff aviatrix-app-policy@3 aviatrix-app-policy@4');
  appAction<[string, string]>(command, async (app, _session, first, second) => {
    const [older, newer] = [await textOf(app, first), await textOf(app, second)];
    const diff = comparePolicies(older.bytes, newer.bytes);
    const title = `${older.name} → ${newer.name}`;
    return { json: { older: older.name, newer: newer.name, ...diff }, text: `${title}\n${diffText(diff)}` };
  });
}

function lintCommand(parent: Command): void {
  const command = parent
    .command('lint')
    .argument('<policy>', 'a policy that is here (NAME or NAME@N), or a file (./FILE where both are)')
    .description('tell what AWS would refuse in a policy; exit code 4 if anything')
    .addHelpText('after', '\nExample:\n  airlock policy lint ./aviatrix-application-iam-policy.json');
  appAction<[string]>(command, async (app, session, what) => {
    const { name, bytes } = (await ofPolicy(app, what)) ?? (await ofFile(session, what));
    const report = lint(bytes);
    const isBad = report.findings.some(({ level }) => level === 'error');
    return {
      json: { policy: name, ...report },
      text: [`${quoteUnsafe(name)}: ${summaryOf(report)}`, ...findingLines(report)].join('\n'),
      exitCode: isBad ? EXIT.unverified : EXIT.done,
    };
  });
}

async function textOf(app: App, reference: string): Promise<{ name: string; bytes: Buffer }> {
  const version = await requireVersion(app.catalog, parseReference(reference));
  return { name: versionPath(version.name, version.version), bytes: await readVersion(app, version) };
}

/** @returns undefined where there is no such policy; it may be a file */
async function ofPolicy(app: App, what: string): Promise<{ name: string; bytes: Buffer } | undefined> {
  try {
    return await textOf(app, what);
  } catch (error) {
    if (isAirlockError(error, 'policy.not-found', 'path.invalid', 'usage.invalid')) return undefined;
    throw error;
  }
}

async function ofFile({ signal }: Session, file: string): Promise<{ name: string; bytes: Buffer }> {
  const bytes = await readSmallFile(file, limits.policy.bytes, { otherwise: 'policy.limit', signal });
  if (bytes !== undefined) return { name: file, bytes };
  throw new AirlockError(
    'policy.not-found',
    `There is neither a policy nor a file ${quote(file)}. "airlock policy list" shows the policies.`,
  );
}

const FORMATS = { aws: 'an AWS policy', json: 'JSON', text: 'text' } as const;

function summaryOf({ format, characters, findings }: LintReport): string {
  const errors = findings.filter(({ level }) => level === 'error').length;
  const counts = [counted(errors, 'error'), counted(findings.length - errors, 'warning')].filter((each) => each !== '');
  const found = counts.length === 0 ? 'nothing found' : counts.join(', ');
  return `${FORMATS[format]}, ${characters} characters without white space; ${found}`;
}

function counted(count: number, what: string): string {
  return count === 0 ? '' : `${count} ${what}${count === 1 ? '' : 's'}`;
}

function findingLines({ findings }: LintReport): string[] {
  return findings.map(({ level, rule, message }) => `  ${level} (${rule}): ${message}`);
}

function approveCommand(parent: Command): void {
  const command = parent
    .command('approve')
    .argument('<policy>', 'NAME@N')
    .description('publish a version that is held because it makes more possible')
    .option('--rejected', 'also one that was rejected')
    .addHelpText('after', '\nExample:\n  airlock policy approve aviatrix-app-policy@4');
  appAction<[string, { rejected?: boolean }]>(command, async (app, _session, text, { rejected = false }) => {
    const brought = await approvePolicy(app, ...lookedAt(text), { rejected, revoked: await app.revoked() });
    return { json: outcomeDocument(brought), text: outcomeLine(brought), exitCode: exitCodeOf(brought) };
  });
}

function rejectCommand(parent: Command): void {
  const command = parent
    .command('reject')
    .argument('<policy>', 'NAME@N')
    .description('refuse a version that is held: it is never published, and the same text is not taken again')
    .option('--reason <text>', 'why, for people')
    .addHelpText(
      'after',
      '\nIt stays in the list, as rejected. A text that differs from it is a new version, compared with what is published.\n\nExample:\n  airlock policy reject aviatrix-app-policy@4 --reason "grants iam:PassRole on all roles"',
    );
  appAction<[string, { reason?: string }]>(command, async (app, _session, text, { reason = null }) => {
    if (reason !== null && reason.length > limits.policy.reason) {
      throw new AirlockError('usage.invalid', `The reason is longer than ${limits.policy.reason} characters.`);
    }
    const brought = await rejectPolicy(app, ...lookedAt(text), reason);
    return { json: outcomeDocument(brought), text: outcomeLine(brought) };
  });
}

/** @throws usage.invalid where it does not say which version, path.invalid */
function lookedAt(text: string): [name: string, version: number] {
  const { name, version } = parseReference(text);
  if (version !== undefined) return [name, version];
  throw new AirlockError('usage.invalid', `Name the version that you have looked at: ${name}@N.`);
}

function fetchCommand(parent: Command): void {
  const command = parent
    .command('fetch')
    .argument('<name>', 'a policy that a rule of an upstream brings (mirror: in airlock.yaml)')
    .description('ask its site for the text now; it becomes a new version if its bytes are new')
    .option('--dry-run', 'only tell what would come')
    .addHelpText(
      'after',
      '\nThe parts of one policy (…-expanded-1, …-expanded-2) are fetched together, and come together or not at all.\n\nExample:\n  airlock policy fetch aviatrix-app-policy',
    );
  appAction<[string, { dryRun?: boolean }]>(command, async (app, { progress, signal }, name, { dryRun = false }) => {
    const { fetchPolicy } = await import('../app/sync.ts');
    const report = await fetchPolicy(app, policyName(name), { dryRun, progress, signal });
    const { policies, failures, warnings, bytes, requests } = report;
    const [failure] = failures;
    if (failure !== undefined) {
      throw new AirlockError(failure.code, failure.message, { details: { path: failure.path, failures, warnings } });
    }
    return {
      json: { dryRun, policies: policies.map(outcomeDocument), warnings, bytes, requests },
      text: fetchedText(name, policies, dryRun),
    };
  });
}

function fetchedText(name: string, policies: readonly BroughtPolicy[], isDryRun: boolean): string {
  const said = isDryRun ? 'Would be done:\n' : '';
  if (policies.length > 0) return `${said}${policies.map(outcomeLine).join('\n')}`;
  return `✔ The text of ${name} is what its site held when it was last asked: nothing new.`;
}

/** `import policy`. */
export function importPolicyCommand(parent: Command): void {
  const command = parent
    .command('policy')
    .description('import a policy text; it becomes a new version if its bytes are new')
    .usage('NAME FILE [--release R] [force]')
    .argument('<name>', 'such as aviatrix-app-policy')
    .argument('<file>')
    .argument('[words...]', 'release R, force; the same as flags')
    .option('--release <release>', 'a release that this text goes with')
    .option('--hold-widening', 'hold a version that makes more possible, until "policy approve"')
    .option('--force', 'take an empty text')
    .option('--require-checksum', 'refuse a file without a checksum file')
    .option('--require-signature', 'refuse a file without a checksum file signed by a known key')
    .addHelpText(
      'after',
      '\nExample:\n  airlock import policy aviatrix-app-policy /media/stick/IAM_access_policy_for_CloudN.txt --release 6.9.161',
    );
  appAction<[string, string, string[], ImportFlags]>(command, async (app, session, name, file, words, flags) => {
    const brought = await importPolicy(await app.ingest(), name, file, {
      ...importOptions(words, flags),
      signal: session.signal,
    });
    const report = lint(await readVersion(app, brought.version));
    return {
      json: { ...outcomeDocument(brought), file, lint: report },
      text: [outcomeLine(brought), ...findingLines(report)].join('\n'),
    };
  });
}

interface ImportFlags {
  readonly release?: string;
  readonly holdWidening?: boolean;
  readonly force?: boolean;
  readonly requireChecksum?: boolean;
  readonly requireSignature?: boolean;
}

function importOptions(words: readonly string[], flags: ImportFlags) {
  const said = readWords(words, { release: 'value', force: 'flag' });
  const named = [...(Array.isArray(said.release) ? (said.release as string[]) : []), flags.release];
  return {
    releases: named.filter((each) => each !== undefined),
    holdWidening: flags.holdWidening ?? false,
    force: said.force === true || flags.force === true,
    requireChecksum: flags.requireChecksum ?? false,
    requireSignature: flags.requireSignature ?? false,
  };
}
