/**
 * The configuration file, `airlock.yaml` in the data directory: every key has a default, unknown keys are errors.
 */
import os from 'node:os';
import path from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { parseYaml, readConfigText } from './config-file.ts';
import {
  address,
  bandwidth,
  duration,
  formatAddress,
  formatBandwidth,
  formatDuration,
  formatSize,
  secret,
  size,
  webAddress,
} from './config-values.ts';
import { limits } from './limits.ts';

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
export async function readConfig(file: string, options: { required: boolean }): Promise<Config> {
  return parseConfig((await readConfigText(file, options)) ?? '', path.basename(file));
}

/**
 * @param text YAML; a key with nothing behind it has its default
 * @param name of the file, for messages
 * @throws config.invalid with the line of each fault, in the order of lines
 */
export function parseConfig(text: string, name: string): Config {
  return parseYaml(text, name, schema);
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
