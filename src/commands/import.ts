import path from 'node:path';
import type { Command } from 'commander';
import type { App } from '../app.ts';
import { AirlockError, EXIT, isAirlockError } from '../errors.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { SIGNATURE_POLICIES } from '../repo/formats/rpm/signature-policy.ts';
import { hunt, USUAL_PLACES } from '../repo/ingest/hunt.ts';
import { importFile } from '../repo/ingest/import-file.ts';
import { importImage, isImageName } from '../repo/ingest/import-image.ts';
import type { IngestOptions, IngestOutcome } from '../repo/ingest/ingest-file.ts';
import type { PackagePolicy } from '../repo/packages/iso-packages.ts';
import { appAction, type Result, type Session } from './command.ts';
import { formatBytes } from './format.ts';
import { packagePolicy } from './package-policy.ts';
import { confirm } from './prompt.ts';
import { readWords } from './words.ts';

interface StrengthFlags {
  readonly requireChecksum?: boolean;
  readonly requireSignature?: boolean;
}

interface IsoFlags extends StrengthFlags {
  readonly filepath?: string;
  readonly hunt?: string[] | true;
  readonly checkRpmSignature?: string;
  readonly acceptWeakDigests?: boolean;
  readonly force?: boolean;
  readonly verbose?: boolean;
}

/** `import iso`, `import file`. */
export function importCommands(parent: Command): void {
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
    .option(
      '--check-rpm-signature <policy>',
      `signatures of the packages inside: ${SIGNATURE_POLICIES.join(', ')} (default: required)`,
    )
    .option('--accept-weak-digests', 'let in packages that nothing better than SHA-1 or MD5 covers')
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
    const chosen = await chooseImages(app, session, wants);
    if (!(await confirm(question(chosen.files), { force: wants.force }))) {
      const { files, skipped } = chosen;
      return { json: { imported: [], failed: [], notTried: files, skipped }, text: 'Nothing was imported.' };
    }
    return await importAll(app, session, chosen, flags, wants);
  });
}

interface IsoWants {
  readonly filepath: string | undefined;
  readonly hunt: readonly string[] | undefined;
  /** What was said of the signatures of RPMs. */
  readonly policy: PackagePolicy;
  readonly force: boolean;
  readonly verbose: boolean;
}

function mergeIsoFlags(said: ReturnType<typeof readWords>, flags: IsoFlags): IsoWants {
  const values = (word: string) => (Array.isArray(said[word]) ? (said[word] as readonly string[]) : undefined);
  const folders = values('hunt') ?? (flags.hunt === true ? [] : flags.hunt);
  const filepath = values('filepath')?.[0] ?? flags.filepath;
  const policy = packagePolicy(values('check-rpm-signature')?.[0] ?? flags.checkRpmSignature, flags.acceptWeakDigests);
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

function question(files: readonly string[]): string {
  const list = files.map((file) => `  ${quoteUnsafe(file)}\n`).join('');
  return `${list}Importing reads ${files.length === 1 ? 'this image' : 'these images'} whole, which may take minutes. Go on?`;
}

interface Failure {
  readonly file: string;
  readonly error: AirlockError;
}

interface Chosen {
  readonly files: readonly string[];
  /** What a hunt passed over. */
  readonly skipped: readonly { readonly file: string; readonly why: string }[];
  /** Folders that the medium did not give out. */
  readonly lost: readonly Failure[];
}

async function chooseImages(app: App, session: Session, wants: IsoWants): Promise<Chosen> {
  if (wants.filepath !== undefined) return { files: [path.resolve(wants.filepath)], skipped: [], lost: [] };
  const isNamed = wants.hunt !== undefined && wants.hunt.length > 0;
  const folders = isNamed ? wants.hunt : USUAL_PLACES;
  const found = await hunt(folders, { signal: session.signal, except: [app.dataDir] });
  const files = found.files.filter((file) => isImageName(path.basename(file)));
  const skipped = [
    // Of the usual places most are missing somewhere.
    ...found.skipped.filter(({ isMissing }) => isNamed || wants.verbose || !isMissing),
    ...found.files
      .filter((file) => !files.includes(file))
      .map((file) => ({ file, why: 'not named as the vendor names images' })),
  ].map(({ file, why }) => ({ file, why }));
  for (const { file, why } of skipped) session.progress.note(`passed over: ${quoteUnsafe(file)} (${why})`);
  if (files.length > 0) return { files, skipped, lost: found.lost };
  if (found.lost[0] !== undefined) throw found.lost[0].error;
  throw new AirlockError(
    'file.not-found',
    `No 128T*.iso, SSR*.iso or SSR*.tar below ${folders.map((folder) => quoteUnsafe(folder)).join(', ')}. Check that the medium is mounted, and that the files have their original names.`,
  );
}

/** Each image by itself: one that fails does not keep the others out. */
async function importAll(
  app: App,
  session: Session,
  { files, skipped, lost }: Chosen,
  flags: StrengthFlags,
  { verbose, policy }: IsoWants,
): Promise<Result> {
  const context = await app.ingest();
  const imported: IngestOutcome[] = [];
  const failed: Failure[] = [...lost];
  const lines = lost.map(failureLines);
  let tried = 0;
  for (const file of files) {
    tried += 1;
    try {
      const outcome = await importImage(context, file, { ...ingestOptions(session, flags), policy });
      imported.push(outcome);
      lines.push(...outcomeLines(outcome, verbose));
    } catch (error) {
      if (files.length === 1 && lost.length === 0) throw error;
      const failure = { file, error: named(file, error) };
      failed.push(failure);
      lines.push(failureLines(failure));
      if (endsAll(failure)) break;
    }
  }
  const notTried = files.slice(tried);
  if (notTried.length > 0) lines.push('Not tried:', ...notTried.map((file) => `  ${quoteUnsafe(file)}`));
  return {
    json: { imported: imported.map(describeOutcome), failed, notTried, skipped },
    text: [...lines, summary(files.length, imported.length, failed.length)].join('\n'),
    exitCode: (failed.find(endsAll) ?? failed[0])?.error.exitCode ?? EXIT.done,
  };
}

/** What failed is no fault of the file: the next one would fail of it too. */
function endsAll({ error }: Failure): boolean {
  return isAirlockError(error, 'interrupted', 'space.insufficient');
}

function named(file: string, error: unknown): AirlockError {
  if (error instanceof AirlockError) return error;
  const why = quoteUnsafe(error instanceof Error ? error.message : String(error));
  const message = `${quoteUnsafe(path.basename(file))} could not be imported: ${why}. Nothing of it was imported.`;
  return new AirlockError('internal', message, { cause: error });
}

function failureLines({ file, error }: Failure): string {
  return `✖ ${quoteUnsafe(path.basename(file))}\n  error (${error.code}): ${error.message}`;
}

function summary(images: number, imported: number, failed: number): string {
  if (failed === 0) return 'Import success';
  const missing = images - imported;
  return missing === 0 ? 'Not all folders could be searched.' : `${missing} of ${images} images were not imported.`;
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
  completed: 'was here already; what was missing or damaged of it (packages, checksum and signature files) was added',
  present: 'is here already: nothing to do',
};

function outcomeLines(
  { outcome, repository, path: to, artifact, warnings }: IngestOutcome,
  verbose: boolean,
): string[] {
  const key = artifact.verification.checks.find(({ check, result }) => check === 'signature' && result === 'passed');
  const by = key === undefined ? '' : ` (key ${key.fingerprint ?? key.keyId})`;
  return [
    `✔ ${quoteUnsafe(`${repository}/${to}`)} ${DONE[outcome]}: ${formatBytes(artifact.size)}, ${VERIFIED[artifact.verification.status]}${by}`,
    ...(verbose ? [`  ${artifact.digest}`] : []),
    ...warnings.map((warning) => `  warning: ${warning}`),
  ];
}
