import path from 'node:path';
import type { Command } from 'commander';
import type { App } from '../app.ts';
import { AirlockError, EXIT, isAirlockError } from '../errors.ts';
import { hunt, USUAL_PLACES } from '../repo/ingest/hunt.ts';
import { importFile } from '../repo/ingest/import-file.ts';
import { importImage } from '../repo/ingest/import-image.ts';
import type { IngestOptions, IngestOutcome } from '../repo/ingest/ingest-file.ts';
import { appAction, type Result, type Session } from './command.ts';
import { formatBytes } from './format.ts';
import { confirm } from './prompt.ts';
import { readWords } from './words.ts';

const RPM_POLICIES = ['required', 'allow-unsigned', 'disabled'];

interface StrengthFlags {
  readonly requireChecksum?: boolean;
  readonly requireSignature?: boolean;
}

interface IsoFlags extends StrengthFlags {
  readonly filepath?: string;
  readonly hunt?: string[] | true;
  readonly checkRpmSignature?: string;
  readonly force?: boolean;
  readonly verbose?: boolean;
}

/** `import iso`, `import file`. */
export function importCommands(program: Command): void {
  const parent = program.command('import').description('bring software into the repositories');
  isoCommand(parent);
  fileCommand(parent);
}

function isoCommand(parent: Command): void {
  const command = parent
    .command('iso')
    .description('import vendor images (ISO, tar, qcow2) with their checksum and signature files')
    .usage('[check-rpm-signature POLICY] [force] [verbose] {hunt [DIR...] | filepath FILE}')
    .argument('[words...]', 'hunt [DIR...] or filepath FILE, and the words below; the same as flags')
    .option(
      '--hunt [dir...]',
      `search these folders (default: ${USUAL_PLACES.join(', ')}) for 128T*.iso, SSR*.iso and SSR*.tar`,
    )
    .option('--filepath <file>', 'import this image')
    .option('--check-rpm-signature <policy>', `signatures of the RPMs inside package ISOs: ${RPM_POLICIES.join(', ')}`)
    .option('--require-checksum', 'refuse an image without a checksum file')
    .option('--require-signature', 'refuse an image without a checksum file signed by a known key')
    .option('--force', 'do not ask')
    .option('--verbose', 'say more')
    .addHelpText(
      'after',
      '\nExamples:\n  airlock import iso hunt /media/stick\n  airlock import iso force filepath /media/stick/SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso',
    );
  appAction<[string[], IsoFlags]>(command, async (app, session, words, flags) => {
    const said = readWords(words, {
      hunt: 'values',
      filepath: 'value',
      'check-rpm-signature': 'value',
      force: 'flag',
      verbose: 'flag',
    });
    const wants = mergeIsoFlags(said, flags);
    const files = await chooseImages(app, session, wants);
    if (wants.policy !== undefined) {
      session.progress.note(
        'check-rpm-signature has no effect in this version: images are checked as wholes, the RPMs in them are not.',
      );
    }
    const question = `${files.map((file) => `  ${file}\n`).join('')}Importing reads ${files.length === 1 ? 'this image' : 'these images'} whole, which may take minutes. Go on?`;
    if (!(await confirm(question, { force: wants.force })))
      return { json: { imported: [], failed: [] }, text: 'Nothing was imported.' };
    return await importAll(app, session, files, flags, wants.verbose);
  });
}

interface IsoWants {
  readonly filepath: string | undefined;
  readonly hunt: readonly string[] | undefined;
  /** What was said of the signatures of RPMs. */
  readonly policy: string | undefined;
  readonly force: boolean;
  readonly verbose: boolean;
}

function mergeIsoFlags(said: ReturnType<typeof readWords>, flags: IsoFlags): IsoWants {
  const values = (word: string) => (Array.isArray(said[word]) ? (said[word] as readonly string[]) : undefined);
  const folders = values('hunt') ?? (flags.hunt === true ? [] : flags.hunt);
  const filepath = values('filepath')?.[0] ?? flags.filepath;
  const policy = values('check-rpm-signature')?.[0] ?? flags.checkRpmSignature;
  if (policy !== undefined && !RPM_POLICIES.includes(policy)) {
    throw new AirlockError(
      'usage.invalid',
      `check-rpm-signature takes ${RPM_POLICIES.join(', ')}, not ${JSON.stringify(policy)}.`,
    );
  }
  if ((folders === undefined) === (filepath === undefined)) {
    throw new AirlockError(
      'usage.invalid',
      'Say either "hunt [DIR...]" or "filepath FILE". "airlock import iso --help" shows examples.',
    );
  }
  return {
    filepath,
    hunt: folders,
    policy,
    force: said.force === true || flags.force === true,
    verbose: said.verbose === true || flags.verbose === true,
  };
}

async function chooseImages(app: App, session: Session, wants: IsoWants): Promise<string[]> {
  if (wants.filepath !== undefined) return [path.resolve(wants.filepath)];
  const folders = wants.hunt === undefined || wants.hunt.length === 0 ? USUAL_PLACES : wants.hunt;
  const { images, skipped } = await hunt(folders, [app.dataDir]);
  const named = new Set(wants.hunt?.map((folder) => path.resolve(folder)));
  for (const { folder, why } of skipped) {
    if (named.has(folder) || wants.verbose) session.progress.note(`not searched: ${folder} (${why})`);
  }
  if (images.length > 0) return images;
  throw new AirlockError(
    'file.not-found',
    `No 128T*.iso, SSR*.iso or SSR*.tar below ${folders.join(', ')}. Check that the medium is mounted, and that the files have their original names.`,
  );
}

/** Each image by itself: one that fails does not keep the others out. */
async function importAll(
  app: App,
  session: Session,
  files: readonly string[],
  flags: StrengthFlags,
  verbose: boolean,
): Promise<Result> {
  const context = await app.ingest();
  const imported: IngestOutcome[] = [];
  const failed: { file: string; error: AirlockError }[] = [];
  const lines: string[] = [];
  for (const file of files) {
    try {
      const outcome = await importImage(context, file, ingestOptions(session, flags));
      imported.push(outcome);
      lines.push(...outcomeLines(outcome, verbose));
    } catch (error) {
      if (!(error instanceof AirlockError) || files.length === 1) throw error;
      failed.push({ file, error });
      lines.push(`✖ ${path.basename(file)}\n  error (${error.code}): ${error.message}`);
      if (isAirlockError(error, 'interrupted', 'space.insufficient')) break;
    }
  }
  const summary =
    failed.length === 0 ? 'Import success' : `${failed.length} of ${files.length} images were not imported.`;
  return {
    json: { imported: imported.map(describeOutcome), failed: failed.map(({ file, error }) => ({ file, error })) },
    text: [...lines, summary].join('\n'),
    exitCode: failed[0]?.error.exitCode ?? EXIT.done,
  };
}

function fileCommand(parent: Command): void {
  const command = parent
    .command('file')
    .description('import any file under a path of a repository')
    .argument('<file>')
    .requiredOption('--repository <name>', 'a repository of kind file; made if it is not there')
    .requiredOption('--path <path>', 'where clients find it: /repos/<name>/<path>')
    .option('--replace', 'replace other bytes under this path')
    .option('--require-checksum', 'refuse a file without a checksum file')
    .option('--require-signature', 'refuse a file without a checksum file signed by a known key')
    .addHelpText(
      'after',
      '\nExample:\n  airlock import file --repository tools --path memtest/memtest.iso /media/stick/memtest86+.iso',
    );
  appAction<[string, StrengthFlags & { repository: string; path: string; replace?: boolean }]>(
    command,
    async (app, session, file, flags) => {
      const outcome = await importFile(await app.ingest(), file, flags, ingestOptions(session, flags));
      return { json: describeOutcome(outcome), text: [...outcomeLines(outcome, false), 'Import success'].join('\n') };
    },
  );
}

function ingestOptions(
  { signal, progress }: Session,
  { requireChecksum, requireSignature }: StrengthFlags,
): IngestOptions {
  return { signal, progress, requireChecksum: requireChecksum ?? false, requireSignature: requireSignature ?? false };
}

function describeOutcome({ outcome, file, repository, path: to, artifact, warnings }: IngestOutcome): unknown {
  const { digest, size, verification } = artifact;
  return { outcome, file, repository, path: to, digest, size, verification, warnings };
}

const VERIFIED = { signature: 'verified by signature', checksum: 'verified by checksum', unverified: 'unverified' };
const DONE = {
  imported: 'imported',
  upgraded: 'was here already, and is better vouched for now',
  present: 'is here already: nothing to do',
};

function outcomeLines(
  { outcome, repository, path: to, artifact, warnings }: IngestOutcome,
  verbose: boolean,
): string[] {
  const key = artifact.verification.checks.find(({ check, result }) => check === 'signature' && result === 'passed');
  const by = key === undefined ? '' : ` (key ${key.fingerprint ?? key.keyId})`;
  return [
    `✔ ${repository}/${to} ${DONE[outcome]}: ${formatBytes(artifact.size)}, ${VERIFIED[artifact.verification.status]}${by}`,
    ...(verbose ? [`  ${artifact.digest}`] : []),
    ...warnings.map((warning) => `  warning: ${warning}`),
  ];
}
