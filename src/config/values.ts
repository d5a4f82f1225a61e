/**
 * The values of configuration keys: how people write them, and what they mean.
 */
import { z } from 'zod';
import { limits } from '../limits.ts';
import { quote } from '../repo/formats/quote.ts';

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const SECONDS: Readonly<Record<string, number>> = { s: 1, min: 60, h: 3600, d: 86_400 };

interface Bounds {
  readonly least?: number;
  readonly most: number;
  /** What the largest value is. */
  readonly why: string;
}

export const size = ({ least = 0, most, why }: Bounds) =>
  z
    .union([z.number(), z.string()])
    .meta({ title: 'size, such as 32MiB' })
    .transform((value, context) => {
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

export const duration = z
  .union([z.number(), z.string()])
  .meta({ title: 'duration, such as 90s or 24h' })
  .transform((value, context) => {
    const milliseconds = parseDuration(String(value));
    if (milliseconds === undefined) {
      context.addIssue(`${quoted(value)} is not a duration; write a number with its unit: s, min, h or d, such as 24h`);
    } else if (milliseconds > limits.config.duration) {
      context.addIssue(`${quoted(value)} is too long; the longest is ${formatDuration(limits.config.duration)}`);
    }
    return milliseconds ?? z.NEVER;
  });

/** Bits per second, as the vendor counts them (vendor.md A4). */
export const bandwidth = z
  .union([z.number(), z.string()])
  .meta({ title: 'bandwidth, such as 20Mbit' })
  .transform((value, context) => {
    const match = /^(\d+(?:\.\d+)?) ?(|k|M|G)(?:bit)?$/.exec(String(value));
    const bits = Number(match?.[1]) * ({ k: 1e3, M: 1e6, G: 1e9 }[match?.[2] ?? ''] ?? 1);
    if (value === 'unlimited') return Number.POSITIVE_INFINITY;
    if (bits >= 1000) return bits;
    context.addIssue(`${quoted(value)} is not a bandwidth; write unlimited, or bits per second such as 20Mbit`);
    return z.NEVER;
  });

export const webAddress = z
  .string()
  .refine((text) => {
    const url = URL.parse(text);
    return (
      url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.search === ''
    );
  }, 'is not a web address; write http://HOST[:PORT] or https://…, with user name and password in keys of their own')
  .meta({ title: 'web address' });

/** Where a file lies. */
export const file = z
  .string()
  .min(1, 'is empty; name a file, or leave the key out')
  .meta({ title: 'file, relative to the data directory or absolute' });

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
export const secret = z
  .union([
    z
      .string()
      .min(1)
      .transform((text) => new PlainSecret(text)),
    z.strictObject({ env: z.string().min(1) }),
    z.strictObject({ file: z.string().min(1) }),
  ])
  .meta({ title: 'text, {env: VARIABLE} or {file: FILE}' });

export type Secret = z.output<typeof secret>;

export const address = z
  .string()
  .meta({ title: 'HOST:PORT' })
  .transform((value, context) => {
    const parsed = parseAddress(value);
    if (parsed === undefined) context.addIssue('is not an address; write HOST:PORT, such as 0.0.0.0:8480 or [::]:8480');
    return parsed ?? z.NEVER;
  });

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

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

export function formatSize(bytes: number): string {
  const unit = ['TiB', 'GiB', 'MiB', 'KiB'].find((name) => bytes > 0 && bytes % (UNITS[name] ?? 1) === 0);
  return unit === undefined ? `${bytes}B` : `${bytes / (UNITS[unit] ?? 1)}${unit}`;
}

export function formatBandwidth(bits: number): string {
  return bits === Number.POSITIVE_INFINITY ? 'unlimited' : `${bits}bit`;
}

export function formatDuration(milliseconds: number): string {
  const unit =
    ['d', 'h', 'min'].find((name) => milliseconds > 0 && milliseconds % ((SECONDS[name] ?? 1) * 1000) === 0) ?? 's';
  return `${milliseconds / ((SECONDS[unit] ?? 1) * 1000)}${unit}`;
}

function quoted(value: string | number): string {
  return typeof value === 'number' ? String(value) : quote(value);
}
