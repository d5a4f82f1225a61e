/**
 * A YAML file read against a schema: every fault with its line.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { type Document, isCollection, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { AirlockError, systemCode } from '../errors.ts';
import { limits } from '../limits.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import type { Override } from './environment.ts';
import { formatSize } from './values.ts';

/**
 * @returns its text; undefined if it is not there and not `required`
 * @throws config.invalid if it is no file or cannot be read; file.not-found
 */
export async function readConfigText(file: string, { required }: { required: boolean }): Promise<string | undefined> {
  const { O_RDONLY, O_NONBLOCK } = constants;
  let handle: FileHandle;
  try {
    handle = await open(file, O_RDONLY | O_NONBLOCK); // a pipe that nobody writes to would never open otherwise
  } catch (cause) {
    const code = systemCode(cause);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw unreadable(file, code ?? String(cause), cause);
    if (required) {
      throw new AirlockError('file.not-found', `There is no configuration file ${quoteUnsafe(file)}.`, { cause });
    }
    return undefined;
  }
  try {
    return await readText(handle, file);
  } finally {
    await handle.close();
  }
}

/** @throws config.invalid if it is no file, too large, or no UTF-8 */
async function readText(handle: FileHandle, file: string): Promise<string> {
  const stats = await handle.stat();
  if (!stats.isFile()) throw unreadable(file, stats.isDirectory() ? 'it is a folder' : 'it is no regular file');
  const most = limits.config.bytes;
  const tooLarge = () => unreadable(file, `it is larger than ${formatSize(most)}`);
  if (stats.size > most) throw tooLarge();
  const buffer = Buffer.alloc(stats.size + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
    length += bytesRead;
    if (bytesRead === 0) break;
    if (length === buffer.length) throw unreadable(file, 'it is being written to');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
  } catch (cause) {
    throw unreadable(file, 'it is not UTF-8', cause);
  }
}

function unreadable(file: string, why: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'config.invalid',
    `The configuration file ${quoteUnsafe(file)} cannot be used: ${why}. Name a YAML file with --config FILE.`,
    { cause },
  );
}

export interface Fault {
  /** Undefined where it does not stand in the file. */
  readonly line?: number;
  /** The variable of the environment that is meant. */
  readonly variable?: string;
  readonly message: string;
}

/** A file that was read. */
export interface ReadYaml<T> {
  readonly value: T;
  /** Where a key stands: a line of the file, or a variable. */
  place(keys: readonly PropertyKey[]): Pick<Fault, 'line' | 'variable'>;
}

/**
 * @param text YAML; a key with nothing behind it has its default
 * @param name of the file, for messages
 * @param overrides take the place of what the file says
 * @param named keys whose sections are named by the user: one with nothing behind its name is there all the same
 * @throws config.invalid with the line of each fault, in the order of lines; faults of overrides come first
 */
export function parseYaml<T extends z.ZodType>(
  text: string,
  name: string,
  schema: T,
  { overrides = [], named = [] }: { readonly overrides?: readonly Override[]; readonly named?: readonly string[] } = {},
): ReadYaml<z.output<T>> {
  const lines = new LineCounter();
  const document = readYaml(text, name, lines);
  const lineAt = (offset: number) => lines.linePos(offset).line;
  const broken = document.errors.map(({ pos, message }) => ({
    line: lineAt(pos[0]),
    // Not what it quotes of the file, which may be a secret: "password: |hunter2".
    message: (message.split('\n', 1)[0] ?? '').replace(/(?<=\S): .*(?= at line )/, ''),
  }));
  if (broken.length > 0) throw invalid(name, broken);
  const place = (keys: readonly PropertyKey[]) => {
    const override = overrides.find(({ path }) => path.every((key, depth) => key === keys[depth]));
    return override === undefined ? { line: lineAt(offsetOf(document, keys)) } : { variable: override.variable };
  };
  const value = withOverrides(withoutNulls(toValue(document, name, lineAt), named) ?? {}, overrides);
  const result = schema.safeParse(value);
  if (result.success) return { value: result.data, place };
  throw invalid(
    name,
    result.error.issues.flatMap((issue): Fault[] =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => ({
            ...place([...issue.path, key]),
            message: `there is no key ${[...issue.path, key].join('.')}`,
          }))
        : [{ ...place(issue.path), message: `${issue.path.join('.') || 'the file'}: ${inWords(issue.message)}` }],
    ),
  );
}

function inWords(message: string): string {
  return message.endsWith('received null') ? 'has nothing behind it; write it out, or take it away' : message;
}

/** What is no section in the file is left as it is: the schema says so. */
function withOverrides(value: unknown, overrides: readonly Override[]): unknown {
  if (!isSection(value)) return value;
  for (const { path, value: given } of overrides) {
    let section: Record<string, unknown> | undefined = value;
    for (const name of path.slice(0, -1)) {
      if (section !== undefined && section[name] === undefined) section[name] = {};
      const inner: unknown = section?.[name];
      section = isSection(inner) ? inner : undefined;
    }
    const last = path.at(-1);
    if (section !== undefined && last !== undefined) section[last] = given;
  }
  return value;
}

function isSection(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function readYaml(text: string, name: string, lineCounter: LineCounter): Document {
  try {
    return parseDocument(text, { lineCounter });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause; // the stack's end
    throw invalid(name, [{ line: 1, message: 'the file is nested too deeply' }]);
  }
}

/** @throws config.invalid for aliases that lead nowhere or in a circle, that are many, or multiply what there is */
function toValue(document: Document, name: string, lineAt: (offset: number) => number): unknown {
  const faults: Fault[] = [];
  const anchors = new Set<string>();
  const most = limits.config.aliases;
  let aliases = 0;
  visit(document, {
    Value(_key, { anchor }) {
      if (anchor !== undefined) anchors.add(anchor);
    },
    Alias(_key, { source, range }, above) {
      aliases += 1;
      const isCircle = above.some((node) => isCollection(node) && node.anchor === source);
      const line = lineAt(range?.[0] ?? 0);
      if (aliases > most) faults.push({ line, message: `there are more than ${most} aliases; write them out` });
      else if (isCircle) faults.push({ line, message: 'this alias leads to what it stands in' });
      else if (!anchors.has(source)) faults.push({ line, message: NO_ANCHOR });
      return aliases > most ? visit.BREAK : undefined;
    },
  });
  if (faults.length > 0) throw invalid(name, faults);
  try {
    return document.toJS({ maxAliasCount: most });
  } catch (cause) {
    throw invalid(name, [{ line: 1, message: cause instanceof Error ? cause.message : String(cause) }]);
  }
}

/** Its name is not told: it may be a secret that was meant as a text. */
const NO_ANCHOR = 'there is no such anchor before this; put quotes around a text that begins with *';

/** `log:` with nothing below is a section without settings. @param named as parseYaml */
function withoutNulls(value: unknown, named: readonly string[] = []): unknown {
  if (Array.isArray(value)) return value.map((each) => withoutNulls(each));
  if (!isSection(value)) return value;
  const kept = Object.entries(value).filter(([, each]) => each !== null);
  return Object.fromEntries(
    kept.map(([key, each]) => [
      key,
      named.includes(key) && isSection(each) ? mapValues(each, (entry) => withoutNulls(entry)) : withoutNulls(each),
    ]),
  );
}

function mapValues(section: Record<string, unknown>, map: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(section).map(([key, value]) => [key, map(value)]));
}

/** Where the value of a key begins, or the innermost section around it that stands in the file. */
function offsetOf(document: Document, keys: readonly PropertyKey[]): number {
  for (let depth = keys.length; depth > 0; depth -= 1) {
    const node: unknown = document.getIn(keys.slice(0, depth), true);
    const range = node !== null && typeof node === 'object' && 'range' in node ? node.range : undefined;
    if (Array.isArray(range)) return range[0];
  }
  return 0;
}

/** @returns config.invalid, with the faults that do not stand in the file, and then the others in the order of their lines */
export function invalid(name: string, faults: readonly Fault[]): AirlockError {
  const all = faults.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0));
  const ordered = all.slice(0, limits.config.faults);
  const more = all.length > ordered.length ? `\nand ${all.length - ordered.length} more` : '';
  const text = ordered.map((fault) => describeFault(name, fault)).join('\n') + more;
  return new AirlockError('config.invalid', `The configuration is not usable:\n${text}`, {
    details: { faults: ordered },
  });
}

/** `airlock.yaml:3: …`, `AIRLOCK_LISTEN: …` */
export function describeFault(name: string, { line, variable, message }: Fault): string {
  const where = variable ?? (line === undefined ? undefined : `${name}:${line}`);
  return where === undefined ? message : `${where}: ${message}`;
}
