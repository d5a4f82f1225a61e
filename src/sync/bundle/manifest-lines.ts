/**
 * A manifest as text: JSON in which every volume, entry and blob stands in a line of its own. So it can be written, read
 * and looked through with common tools without anybody holding all of it.
 */
import { isAirlockError } from '../../errors.ts';
import { type LocalBytes, linesOf } from './local-bytes.ts';
import { invalidManifest, type ManifestDraft, type ManifestEntry, manifestParts } from './manifest.ts';

const VOLUMES = '"volumes":[';
const REPOSITORIES = '],"repositories":[';
const BLOBS = '],"blobs":[';
const ENTRIES = ',"entries":[';

/** Its lines, without line feeds. */
export async function* manifestLines(draft: ManifestDraft): AsyncGenerator<string, void, undefined> {
  const { volumes, repositories, blobs, entriesOf, ...head } = draft;
  yield `{${inner(head)},`;
  yield VOLUMES;
  yield* listed(volumes);
  yield REPOSITORIES;
  for (const [index, { name, kind, revision }] of repositories.entries()) {
    yield `${index === 0 ? '' : ','}{${inner({ name, kind, revision })}${ENTRIES}`;
    yield* listed(entriesOf(name));
    yield ']}';
  }
  yield BLOBS;
  yield* listed(blobs.values());
  yield ']}';
}

/** Bytes that the line of an entry takes, with what stands around it. */
export function lineBytes(item: unknown): number {
  return Buffer.byteLength(JSON.stringify(item)) + 2;
}

async function* listed(items: Iterable<unknown> | AsyncIterable<unknown>): AsyncGenerator<string, void, undefined> {
  let before: string | undefined;
  for await (const item of items) {
    if (before !== undefined) yield `${before},`;
    before = JSON.stringify(item);
  }
  if (before !== undefined) yield before;
}

function inner(value: object): string {
  return JSON.stringify(value).slice(1, -1);
}

type Kind = keyof typeof manifestParts;
type Parts = { readonly [K in Kind]: ReturnType<(typeof manifestParts)[K]['parse']> };

/** What a line says. */
export type ManifestPart = { readonly [K in Kind]: { readonly kind: K; readonly value: Parts[K] } }[Kind] & {
  /** Where the line after it begins. */
  readonly next: number;
};

/**
 * Reads a manifest in order, each line by itself.
 * @throws bundle.invalid for what is not laid out as manifests are, or a value that cannot be
 */
export function* manifestPartsOf(source: LocalBytes): Generator<ManifestPart, void, undefined> {
  const lines = new Lines(source);
  const [head, afterHead] = lines.next();
  if (!head.startsWith('{') || !head.endsWith(',')) throw notLaidOut();
  yield { kind: 'head', value: part('head', `${head.slice(0, -1)}}`), next: afterHead };
  lines.require(VOLUMES);
  let line = '';
  let next = 0;
  for ([line, next] = lines.next(); !line.startsWith(']'); [line, next] = lines.next()) {
    yield { kind: 'volume', value: part('volume', line), next };
  }
  if (line !== REPOSITORIES) throw notLaidOut();
  for ([line, next] = lines.next(); line !== BLOBS; [line, next] = lines.next()) {
    if (!line.endsWith(ENTRIES)) throw notLaidOut();
    const text = `${line.slice(line.startsWith(',') ? 1 : 0, -ENTRIES.length)}}`;
    yield { kind: 'repository', value: part('repository', text), next };
    for ([line, next] = lines.next(); line !== ']}'; [line, next] = lines.next()) {
      yield { kind: 'entry', value: part('entry', line), next };
    }
  }
  for ([line, next] = lines.next(); line !== ']}'; [line, next] = lines.next()) {
    yield { kind: 'blob', value: part('blob', line), next };
  }
  if (!lines.isAtEnd()) throw notLaidOut();
}

/** Entries of a repository. @param start where the line after the repository's own begins */
export function* manifestEntries(source: LocalBytes, start: number): Generator<ManifestEntry, void, undefined> {
  for (const { text } of linesOf(source, start)) {
    if (text === ']}') return;
    yield part('entry', text);
  }
}

/** Lines, and where the line after each begins. */
class Lines {
  readonly #lines: ReturnType<typeof linesOf>;

  constructor(source: LocalBytes) {
    this.#lines = linesOf(source);
  }

  next(): [text: string, next: number] {
    const line = this.#take();
    if (line === undefined) throw invalidManifest('it ends too early');
    return [line.text, line.next];
  }

  require(text: string): void {
    if (this.next()[0] !== text) throw notLaidOut();
  }

  isAtEnd(): boolean {
    return this.#take() === undefined;
  }

  #take() {
    try {
      return this.#lines.next().value ?? undefined;
    } catch (error) {
      throw error instanceof RangeError ? invalidManifest(error.message) : error;
    }
  }
}

function part<K extends Kind>(kind: K, line: string): Parts[K] {
  const text = line.endsWith('},') ? line.slice(0, -1) : line;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalidManifest(`a line of it is no JSON (${cause instanceof Error ? cause.message : String(cause)})`);
  }
  const result = manifestParts[kind].safeParse(value);
  if (result.success) return result.data as Parts[K];
  const [issue] = result.error.issues;
  throw invalidManifest(`${kind} ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it is not as it should be'}`);
}

function notLaidOut(): Error {
  return invalidManifest('its lines are not laid out as those of a manifest');
}

/** What a manifest claims in its first line, of which nothing is verified. @returns undefined if that cannot be read */
export function headOf(start: Buffer): ReturnType<typeof manifestParts.head.parse> | undefined {
  const line = start.subarray(0, start.indexOf(0x0a)).toString('utf8');
  try {
    return part('head', `${line.slice(0, -1)}}`);
  } catch (error) {
    if (isAirlockError(error, 'bundle.invalid')) return undefined;
    throw error;
  }
}
