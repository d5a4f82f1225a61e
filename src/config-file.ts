/**
 * A YAML file read against a schema: every fault with its line.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { type Document, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { formatSize } from './config-values.ts';
import { AirlockError, systemCode } from './errors.ts';
import { limits } from './limits.ts';
import { quoteUnsafe } from './repo/formats/quote.ts';

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

interface Fault {
  readonly line: number;
  readonly message: string;
}

/**
 * @param text YAML; a key with nothing behind it has its default
 * @param name of the file, for messages
 * @throws config.invalid with the line of each fault, in the order of lines
 */
export function parseYaml<T extends z.ZodType>(text: string, name: string, schema: T): z.output<T> {
  const lines = new LineCounter();
  const document = readYaml(text, name, lines);
  const lineAt = (offset: number) => lines.linePos(offset).line;
  const broken = document.errors.map(({ pos, message }) => ({
    line: lineAt(pos[0]),
    message: message.split('\n', 1)[0] ?? '',
  }));
  if (broken.length > 0) throw invalid(name, broken);
  const result = schema.safeParse(withoutNulls(toValue(document, name, lineAt)) ?? {});
  if (result.success) return result.data;
  const lineOf = (keys: readonly PropertyKey[]) => lineAt(offsetOf(document, keys));
  throw invalid(
    name,
    result.error.issues.flatMap((issue): Fault[] =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => ({
            line: lineOf([...issue.path, key]),
            message: `there is no key ${[...issue.path, key].join('.')}`,
          }))
        : [{ line: lineOf(issue.path), message: `${issue.path.join('.') || 'the file'}: ${issue.message}` }],
    ),
  );
}

function readYaml(text: string, name: string, lineCounter: LineCounter): Document {
  try {
    return parseDocument(text, { lineCounter });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause; // the stack's end
    throw invalid(name, [{ line: 1, message: 'the file is nested too deeply' }]);
  }
}

/** @throws config.invalid for aliases that lead nowhere or multiply what there is */
function toValue(document: Document, name: string, lineAt: (offset: number) => number): unknown {
  const faults: Fault[] = [];
  visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document) !== undefined) return;
      const line = lineAt(alias.range?.[0] ?? 0);
      faults.push({ line, message: `there is no anchor &${alias.source} before this` });
    },
  });
  if (faults.length > 0) throw invalid(name, faults);
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw invalid(name, [{ line: 1, message: cause instanceof Error ? cause.message : String(cause) }]);
  }
}

/** `log:` with nothing below is a section without settings. */
function withoutNulls(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, each]) => each !== null)
      .map(([key, each]) => [key, withoutNulls(each)]),
  );
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

function invalid(name: string, faults: readonly Fault[]): AirlockError {
  const all = faults.toSorted((a, b) => a.line - b.line);
  const ordered = all.slice(0, limits.config.faults);
  const more = all.length > ordered.length ? `\nand ${all.length - ordered.length} more` : '';
  const text = ordered.map(({ line, message }) => `${name}:${line}: ${message}`).join('\n') + more;
  return new AirlockError('config.invalid', `The configuration is not usable:\n${text}`, {
    details: { faults: ordered },
  });
}
