/**
 * The configuration file, `airlock.yaml` in the data directory: every key has a default, unknown keys are errors.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type Document, LineCounter, parseDocument, stringify, visit } from 'yaml';
import { z } from 'zod';
import { AirlockError, systemCode } from './errors.ts';
import { limits } from './limits.ts';
import { quote, quoteUnsafe } from './repo/formats/quote.ts';

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const SECONDS: Readonly<Record<string, number>> = { s: 1, min: 60, h: 3600, d: 86_400 };

interface Bounds {
  readonly least?: number;
  readonly most: number;
  /** What the largest value is. */
  readonly why: string;
}

const size = ({ least = 0, most, why }: Bounds) =>
  z.union([z.number(), z.string()]).transform((value, context) => {
    const bytes = parseSize(String(value));
    if (bytes === undefined) {
      context.addIssue(
        `${quoted(value)} is not a size; write a number with its unit: B, KiB, MiB or GiB, such as 32MiB`,
      );
    } else if (bytes < least) {
      context.addIssue(`${quoted(value)} is too small; the least is ${formatSize(least)}`);
    } else if (bytes > most) {
      context.addIssue(`${quoted(value)} is too much; the most is ${formatSize(most)}, ${why}`);
    }
    return bytes ?? z.NEVER;
  });

const duration = z.union([z.number(), z.string()]).transform((value, context) => {
  const milliseconds = parseDuration(String(value));
  if (milliseconds === undefined) {
    context.addIssue(`${quoted(value)} is not a duration; write a number with its unit: s, min, h or d, such as 24h`);
  } else if (milliseconds > limits.config.duration) {
    context.addIssue(`${quoted(value)} is too long; the longest is ${formatDuration(limits.config.duration)}`);
  }
  return milliseconds ?? z.NEVER;
});

/** Bits per second, as the vendor counts them (vendor.md A4). */
const bandwidth = z.union([z.number(), z.string()]).transform((value, context) => {
  const match = /^(\d+(?:\.\d+)?) ?(|k|M|G)(?:bit)?$/.exec(String(value));
  const bits = Number(match?.[1]) * ({ k: 1e3, M: 1e6, G: 1e9 }[match?.[2] ?? ''] ?? 1);
  if (value === 'unlimited') return Number.POSITIVE_INFINITY;
  if (bits >= 1000) return bits;
  context.addIssue(`${quoted(value)} is not a bandwidth; write unlimited, or bits per second such as 20Mbit`);
  return z.NEVER;
});

const webAddress = z.string().refine((text) => {
  const url = URL.parse(text);
  return (
    url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.search === ''
  );
}, 'is not a web address; write http://HOST[:PORT] or https://…, with user name and password in keys of their own');

/** A secret that stands in the file itself: whoever prints the configuration does not print it. */
export class PlainSecret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toJSON(): string {
    return '(not shown)';
  }
}

/** What it is, or where it stands so that it need not stand in this file. */
const secret = z.union([
  z
    .string()
    .min(1)
    .transform((text) => new PlainSecret(text)),
  z.strictObject({ env: z.string().min(1) }),
  z.strictObject({ file: z.string().min(1) }),
]);

export type Secret = z.output<typeof secret>;

const upstream = z.strictObject({
  url: webAddress,
  /** Answered in forward-proxy requests, beside the host of `url`. */
  hosts: z.array(z.string().min(1)).default([]),
  username: secret.optional(),
  password: secret.optional(),
  /** Certificates in PEM, relative to the data directory. */
  ca: z.string().min(1).optional(),
  proxy: webAddress.optional(),
  maxBandwidth: bandwidth.prefault('unlimited'),
});

const address = z.string().transform((value, context) => {
  const parsed = parseAddress(value);
  if (parsed === undefined) context.addIssue('is not an address; write HOST:PORT, such as 0.0.0.0:8480 or [::]:8480');
  return parsed ?? z.NEVER;
});

/** Of this machine, or of the container that this process may not outgrow; whole MiB. */
const memory =
  Math.floor(Math.min(os.totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) / 2 ** 20) * 2 ** 20;

const schema = z.strictObject({
  /** Where `airlock serve` listens. */
  listen: address.prefault('0.0.0.0:8480'),
  /** Small hot files kept in memory. */
  memoryCache: size({ most: memory, why: 'the memory of this machine' }).prefault('32MiB'),
  /** Where content may be fetched from (vendor.md A4); prefer-conductor once a conductor is named. */
  sourceType: z.enum(['conductor-only', 'prefer-conductor', 'internet-only']).optional(),
  /** Nothing on the internet is asked for anything. */
  offlineMode: z.boolean().default(false),
  /** Fetched images and packages are served only if somebody vouches for their digest. */
  requireVerified: z.boolean().default(false),
  /** In the order in which they are asked. */
  conductors: z.array(webAddress).default([]),
  /** The HA twin. */
  peer: webAddress.optional(),
  /** Certificates in PEM that vouch for conductors and peer, relative to the data directory. */
  ca: z.string().min(1).optional(),
  /** Of all that is fetched. */
  maxBandwidth: bandwidth.prefault('unlimited'),
  /** What is kept of what was fetched. */
  cache: z
    .strictObject({
      /** Of all kept copies together; without it they may fill the disk. */
      size: size({ least: 2 ** 20, most: 2 ** 50, why: 'so that it can be counted' }).optional(),
      /** Releases, or other parts of a path, that never go. */
      pinned: z.array(z.string().min(1)).default([]),
    })
    .prefault({}),
  /** Sites on the internet, by the name under which they answer: /upstreams/NAME/. */
  upstreams: z.record(z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'is no name'), upstream).default({}),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      /** Relative to the data directory; reopened on SIGHUP. Without it the log goes to standard error. */
      file: z.string().min(1, 'is empty; name a file, or leave the key out').optional(),
      /** The file is set aside as `<file>.1` before it grows beyond this. */
      maxSize: size({ least: limits.log.leastSize, most: 2 ** 40, why: 'so that it can be handled' }).prefault('64MiB'),
      /** So many files are kept, the one being written included. */
      maxFiles: z.number().int().min(2).max(limits.log.files).default(5),
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
 * @throws config.invalid with the line of each fault, or if it is no file or cannot be read; file.not-found
 */
export async function readConfig(file: string, { required }: { required: boolean }): Promise<Config> {
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
    return parseConfig('', path.basename(file));
  }
  try {
    return parseConfig(await readText(handle, file), path.basename(file));
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
export function parseConfig(text: string, name: string): Config {
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

/** The whole configuration as YAML, defaults included, in the form in which it is written by hand. */
export function printConfig(config: Config): string {
  return stringify({
    listen: formatAddress(config.listen),
    memoryCache: formatSize(config.memoryCache),
    ...(config.sourceType === undefined ? {} : { sourceType: config.sourceType }),
    offlineMode: config.offlineMode,
    requireVerified: config.requireVerified,
    conductors: config.conductors,
    ...(config.peer === undefined ? {} : { peer: config.peer }),
    ...(config.ca === undefined ? {} : { ca: config.ca }),
    maxBandwidth: formatBandwidth(config.maxBandwidth),
    cache: {
      ...(config.cache.size === undefined ? {} : { size: formatSize(config.cache.size) }),
      pinned: config.cache.pinned,
    },
    upstreams: Object.fromEntries(
      Object.entries(config.upstreams).map(([name, { maxBandwidth, ...rest }]) => [
        name,
        { ...(JSON.parse(JSON.stringify(rest)) as object), maxBandwidth: formatBandwidth(maxBandwidth) },
      ]),
    ),
    log: { ...config.log, maxSize: formatSize(config.log.maxSize) },
    prune: { grace: formatDuration(config.prune.grace) },
  });
}

/** `0`, `10B`, `32MiB`, `1.5 GiB` → bytes; undefined if it is none. */
function parseSize(text: string): number | undefined {
  if (text.trim() === '0') return 0;
  const match = /^(\d+(?:\.\d+)?)\s*(B|[KMGT]iB)$/.exec(text.trim());
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
  return unit === undefined ? `${bytes}B` : `${bytes / (UNITS[unit] ?? 1)}${unit}`;
}

function formatBandwidth(bits: number): string {
  return bits === Number.POSITIVE_INFINITY ? 'unlimited' : `${bits}bit`;
}

function formatDuration(milliseconds: number): string {
  const unit =
    ['d', 'h', 'min'].find((name) => milliseconds > 0 && milliseconds % ((SECONDS[name] ?? 1) * 1000) === 0) ?? 's';
  return `${milliseconds / ((SECONDS[unit] ?? 1) * 1000)}${unit}`;
}

function quoted(value: string | number): string {
  return typeof value === 'number' ? String(value) : quote(value);
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
