/**
 * The configuration file, `airlock.yaml` in the data directory: every key has a default, unknown keys are errors.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { LineCounter, parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { AirlockError, systemCode } from './errors.ts';
import { limits } from './limits.ts';

const UNITS: Readonly<Record<string, number>> = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const SECONDS: Readonly<Record<string, number>> = { s: 1, min: 60, h: 3600, d: 86_400 };

const size = z.union([z.number().int().nonnegative(), z.string()]).transform((value, context) => {
  const bytes = typeof value === 'number' ? value : parseSize(value);
  if (bytes === undefined)
    context.addIssue('is not a size; write bytes, or a number with KiB, MiB, GiB or TiB, such as 32MiB');
  return bytes ?? z.NEVER;
});

const duration = z.string().transform((value, context) => {
  const milliseconds = parseDuration(value);
  if (milliseconds === undefined)
    context.addIssue('is not a duration; write a number with s, min, h or d, such as 24h');
  return milliseconds ?? z.NEVER;
});

const address = z.string().transform((value, context) => {
  const parsed = parseAddress(value);
  if (parsed === undefined) context.addIssue('is not an address; write HOST:PORT, such as 0.0.0.0:8480 or [::]:8480');
  return parsed ?? z.NEVER;
});

const schema = z.strictObject({
  /** Where `airlock serve` listens. */
  listen: address.prefault('0.0.0.0:8480'),
  /** Small hot files kept in memory. */
  memoryCache: size.prefault('32MiB'),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      /** Relative to the data directory; reopened on SIGHUP. Without it the log goes to standard error. */
      file: z.string().min(1).optional(),
      /** One line for each request. */
      access: z.boolean().default(true),
    })
    .prefault({}),
  prune: z
    .strictObject({
      /** How long deleted content is kept. */
      grace: duration.prefault('24h'),
    })
    .prefault({}),
});

/** Sizes in bytes, durations in milliseconds. */
export type Config = z.output<typeof schema>;

/**
 * Reads a configuration file.
 * @param file without `required`, a file that is not there gives the defaults
 * @throws config.invalid with the line of each fault, file.not-found
 */
export async function readConfig(file: string, { required }: { required: boolean }): Promise<Config> {
  let text = '';
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    if (required) throw new AirlockError('file.not-found', `There is no configuration file ${file}.`);
  }
  return parseConfig(text, path.basename(file));
}

/**
 * @param text YAML
 * @param name of the file, for messages
 * @throws config.invalid with the line of each fault
 */
export function parseConfig(text: string, name: string): Config {
  if (Buffer.byteLength(text) > limits.config.bytes) {
    throw invalid(name, [{ line: 1, message: `the file is larger than ${limits.config.bytes} bytes` }]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0) {
    throw invalid(
      name,
      document.errors.map((error) => ({
        line: lines.linePos(error.pos[0]).line,
        message: error.message.split('\n', 1)[0] ?? '',
      })),
    );
  }
  const result = schema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
  if (result.success) return result.data;
  const lineOf = (keys: readonly PropertyKey[]): number => {
    for (let depth = keys.length; depth > 0; depth -= 1) {
      const node = document.getIn(keys.slice(0, depth), true);
      const range = node !== null && typeof node === 'object' && 'range' in node ? node.range : undefined;
      if (Array.isArray(range)) return lines.linePos(range[0]).line;
    }
    return 1;
  };
  throw invalid(
    name,
    result.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => ({
            line: lineOf([...issue.path, key]),
            message: `there is no key ${[...issue.path, key].join('.')}`,
          }))
        : [{ line: lineOf(issue.path), message: `${issue.path.join('.') || 'the file'}: ${issue.message}` }],
    ),
  );
}

/** The whole configuration as YAML, defaults included, in the form in which it is written by hand. */
export function printConfig(config: Config): string {
  return stringify({
    listen: formatAddress(config.listen),
    memoryCache: formatSize(config.memoryCache),
    log: config.log,
    prune: { grace: formatDuration(config.prune.grace) },
  });
}

/** `10`, `32MiB`, `1.5 GiB` → bytes; undefined if it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(B|[KMGT]iB)?$/.exec(text.trim());
  const unit = UNITS[match?.[2] ?? ''];
  return match?.[1] === undefined || unit === undefined ? undefined : Math.round(Number(match[1]) * unit);
}

/** `90s`, `30min`, `24h`, `7d`, `0` → milliseconds; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  if (text.trim() === '0') return 0;
  const match = /^(\d+(?:\.\d+)?)\s*(s|min|h|d)$/.exec(text.trim());
  const unit = SECONDS[match?.[2] ?? ''];
  return match?.[1] === undefined || unit === undefined ? undefined : Math.round(Number(match[1]) * unit * 1000);
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `HOST:PORT`, `[IPv6]:PORT`; undefined if it is none. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text.trim());
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || !(port <= 65_535) ? undefined : { host, port };
}

function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function formatSize(bytes: number): string {
  const unit = ['TiB', 'GiB', 'MiB', 'KiB'].find((name) => bytes > 0 && bytes % (UNITS[name] ?? 1) === 0);
  return unit === undefined ? String(bytes) : `${bytes / (UNITS[unit] ?? 1)}${unit}`;
}

function formatDuration(milliseconds: number): string {
  const unit =
    ['d', 'h', 'min'].find((name) => milliseconds > 0 && milliseconds % ((SECONDS[name] ?? 1) * 1000) === 0) ?? 's';
  return `${milliseconds / ((SECONDS[unit] ?? 1) * 1000)}${unit}`;
}

function invalid(name: string, faults: readonly { line: number; message: string }[]): AirlockError {
  const text = faults.map(({ line, message }) => `${name}:${line}: ${message}`).join('\n');
  return new AirlockError('config.invalid', `The configuration is not usable:\n${text}`, { details: { faults } });
}
