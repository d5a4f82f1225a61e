/**
 * A scanner of the site's own over what a bundle brings, before anybody sees it.
 *
 * It gets the files where they are stored, as further arguments: gigabytes are not copied, nothing has to be cleared away,
 * and the stamp of a file tells whether it was touched. The files are called by their digests; what they will be called when
 * they are published stands on its standard input. A file is there once, whatever is published of it: packages lie in images.
 */
import { existsSync } from 'node:fs';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { quote, quoteUnsafe } from '../../repo/formats/quote.ts';
import type { StagingOptions, Stores } from '../../repo/staging.ts';
import type { CommandWords } from './command-words.ts';
import type { Manifest } from './manifest.ts';
import { bundleName } from './names.ts';
import { OutputTail, runScanner } from './run-scanner.ts';

export interface Scanner {
  readonly command: CommandWords;
  /** Where a blob lies that is stored by itself. */
  readonly fileOf: (digest: Digest) => string;
}

/** What a scanner said. */
export interface ScanReport {
  readonly command: readonly string[];
  /** Files that it was given: all that was not published here before. None: it was not run. */
  readonly files: number;
  readonly bytes: number;
  /** The end of it. */
  readonly output: string;
  /** It had said more before that. */
  readonly cut: boolean;
}

/** A file as it was before the scanner got it. */
interface NewFile {
  readonly digest: Digest;
  readonly size: number;
  readonly stamp: string;
}

/**
 * Shows a scanner everything of a bundle that would become visible, all of which is stored by now.
 * @throws scan.refused unless it ends with 0 each time, and leaves the files alone; interrupted
 */
export async function scanNew(
  stores: Stores,
  manifest: Manifest,
  scanner: Scanner,
  options: StagingOptions,
): Promise<ScanReport> {
  const { command } = scanner;
  const files = await newFiles(stores, manifest, scanner);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const words = [command.program, ...command.args];
  if (files.length > 0) options.progress.note(`${files.length} files go to ${quoteUnsafe(command.program)}`);
  const output = new OutputTail();
  const environment = { AIRLOCK_BUNDLE: bundleName(manifest.site, manifest.sequence) };
  for (const batch of batchesOf(files, scanner)) {
    const paths = batch.map(({ digest }) => scanner.fileOf(digest));
    const lines = namesOf(manifest, scanner, new Set(batch.map(({ digest }) => digest)));
    const { signal } = options;
    const refusal = await runScanner(command, { files: paths, lines, environment, output, signal });
    const touched = await touchedOf(stores, batch);
    if (touched.length > 0) throw changed(touched, command);
    if (refusal !== undefined) throw refused(refusal, { command: words, files: batch.length, output });
  }
  return { command: words, files: files.length, bytes, output: output.text(), cut: output.isCut };
}

/** The files that hold what nobody can see yet, each once. */
async function newFiles({ blobs, catalog }: Stores, manifest: Manifest, { fileOf }: Scanner): Promise<NewFile[]> {
  const found = new Map<Digest, NewFile>();
  const add = async (digest: Digest): Promise<void> => {
    if (found.has(digest) || (await catalog.entriesOf(digest)).length > 0) return;
    // Where it lies, its record says; what the manifest says of slices was proven for those that came just now only.
    const container = existsSync(fileOf(digest)) ? undefined : (await catalog.blob(digest))?.within?.container;
    if (container !== undefined) return await add(container);
    const stat = await blobs.stat(digest);
    if (stat === undefined) throw vanished(digest);
    found.set(digest, stat);
  };
  for (const digest of manifest.blobs.keys()) await add(digest);
  return [...found.values()];
}

/** As many at once as the system surely takes for one command. */
function* batchesOf(files: readonly NewFile[], { fileOf }: Scanner): Generator<NewFile[]> {
  let batch: NewFile[] = [];
  let length = 0;
  for (const file of files) {
    length += Buffer.byteLength(fileOf(file.digest)) + 1;
    if (batch.length > 0 && length > limits.scan.arguments) {
      yield batch;
      [batch, length] = [[], Buffer.byteLength(fileOf(file.digest)) + 1];
    }
    batch.push(file);
  }
  if (batch.length > 0) yield batch;
}

/** A line of JSON for each path under which one of these files will be published. */
function* namesOf(
  manifest: Manifest,
  { fileOf }: Scanner,
  among: ReadonlySet<Digest>,
): Generator<string, void, undefined> {
  for (const { name } of manifest.repositories) {
    for (const { path, artifact } of manifest.entriesOf(name)) {
      const { digest, size } = artifact;
      if (!among.has(digest)) continue;
      yield `${JSON.stringify({ file: fileOf(digest), digest, size, repository: name, path })}\n`;
    }
  }
}

async function touchedOf({ blobs }: Stores, files: readonly NewFile[]): Promise<Digest[]> {
  const touched: Digest[] = [];
  for (const { digest, stamp } of files) {
    if ((await blobs.stat(digest))?.stamp !== stamp) touched.push(digest);
  }
  return touched;
}

function refused(
  how: string,
  { command, files, output }: { command: readonly string[]; files: number; output: OutputTail },
): AirlockError {
  const said = output.text().trimEnd();
  const last = said.split('\n').slice(-limits.scan.lines);
  const words =
    said === ''
      ? ' It said nothing.'
      : ` Its last lines:\n${last.map((line) => `  ${quoteUnsafe(line, 200)}`).join('\n')}`;
  return new AirlockError(
    'scan.refused',
    `The scanner ${quote(command.join(' '))} does not accept the bundle: ${how}, and nothing is imported. Find out what it found; if it failed itself, put that right and run the same command again. "airlock prune" frees the room.${words}`,
    { details: { command, how, files, output: said, cut: output.isCut } },
  );
}

function changed(touched: readonly Digest[], { program }: CommandWords): AirlockError {
  return new AirlockError(
    'scan.refused',
    `${quoteUnsafe(program)} changed, moved or deleted ${touched.length} of the files that it was to look at, and nothing is imported. Have it only look (no "--remove", no "--move"), and run the same command again: what was touched is read from the medium once more.`,
    { details: { touched: touched.slice(0, limits.bundle.named) } },
  );
}

function vanished(digest: Digest): AirlockError {
  return new AirlockError('blob.missing', `${digest} was stored just now, and is gone. Run the same command again.`, {
    details: { digest },
  });
}
