/**
 * The configuration file, `airlock.yaml` in the data directory: every key has a default, unknown keys are errors.
 */
import os from 'node:os';
import path from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { identityKeys, requireWholeIdentity, tlsSection } from './config/certificates.ts';
import { doubtfulVariables, type Environment, overridesIn, PREFIX } from './config/environment.ts';
import { cacheSection, downloadSection, printCache, printDownload } from './config/fetch.ts';
import { invalid, parseYaml, type ReadYaml, readConfigText } from './config/file.ts';
import { type ConfigKey, keysOf } from './config/keys.ts';
import { formatInterval, interval, mirrorRule, requireOneRuleEach } from './config/mirror.ts';
import {
  address,
  bandwidth,
  duration,
  file,
  formatAddress,
  formatBandwidth,
  formatDuration,
  formatSize,
  secret,
  size,
  webAddress,
} from './config/values.ts';
import { limits } from './limits.ts';

const upstream = z
  .strictObject({
    url: webAddress.meta({
      description: 'Where it is; paths go below it. User name and password have keys of their own.',
      examples: ['https://software.128technology.com/artifactory'],
    }),
    hosts: z
      .array(z.string().min(1))
      .default([])
      .meta({
        description: 'Further host names that are meant by it: when clients use this server as their proxy.',
        examples: [['software.128technology.com']],
      }),
    username: secret.optional().meta({
      description: 'For basic authentication. Better not written here, but named: a variable, or a file.',
      examples: [{ env: 'SSR_USER' }],
    }),
    password: secret.optional().meta({ description: 'As username.', examples: [{ file: 'ssr-token' }] }),
    ca: file.optional().meta({
      description: 'Certificates in PEM that vouch for it, in place of those of the system.',
      examples: ['vendor-ca.pem'],
    }),
    ...identityKeys,
    proxy: webAddress.optional().meta({
      description: 'A proxy through which it is reached.',
      examples: ['http://10.0.0.1:3128'],
    }),
    maxBandwidth: bandwidth.prefault('unlimited').meta({ description: 'Of all that is fetched from it.' }),
    keys: z
      .array(file)
      .default([])
      .meta({
        description:
          'Key files that may sign what comes from it; without any, those that are pinned here (trust vendor-key) may sign what is mirrored, and checksums suffice. With some, a wrong signature is refused, and requireVerified asks for a good one.',
        examples: [['RPM-GPG-KEY-vendor']],
      }),
    mirror: z.array(mirrorRule).default([]).meta({
      description: 'What "upstream sync" brings: a list of rules, each of one of the kinds releases, rpm and policy.',
    }),
  })
  .superRefine(requireWholeIdentity);

/** Of this machine, or of the container that this process may not outgrow; whole MiB. */
const memory =
  Math.floor(Math.min(os.totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) / 2 ** 20) * 2 ** 20;

const schema = z
  .strictObject({
    listen: address.prefault('0.0.0.0:8480').meta({ description: 'Where the server listens.' }),
    tls: tlsSection.optional().meta({
      description:
        'Serve over HTTPS in place of plain HTTP. "airlock tls init" makes what is needed. The files are read again on SIGHUP, and once a day; connections stay.',
    }),
    memoryCache: size({ most: memory, why: 'the memory of this machine' })
      .prefault('32MiB')
      .meta({ description: 'So much of small hot files is kept in memory; 0: none.' }),
    sourceType: z
      .enum(['conductor-only', 'prefer-conductor', 'internet-only'])
      .optional()
      .meta({
        description:
          'Where content may be fetched from; prefer-conductor by default once a conductor is named, else internet-only.',
        examples: ['conductor-only'],
      }),
    offlineMode: z.boolean().default(false).meta({ description: 'Nobody on the internet is asked for anything.' }),
    requireVerified: z
      .boolean()
      .default(false)
      .meta({ description: 'Fetched images and packages are served only if somebody vouches for their digest.' }),
    conductors: z
      .array(webAddress)
      .default([])
      .meta({
        description: 'The conductors from which a router fetches, in the order in which they are asked.',
        examples: [['https://conductor-a:8480', 'https://conductor-b:8480']],
      }),
    peer: webAddress.optional().meta({
      description:
        'The HA twin. A conductor takes over what its twin publishes; a router asks its twin for what that has.',
      examples: ['https://conductor-b:8480'],
    }),
    ca: file.optional().meta({
      description: 'Certificates in PEM that vouch for conductors and peer, in place of those of the system.',
      examples: ['conductor-ca.pem'],
    }),
    ...identityKeys,
    maxBandwidth: bandwidth.prefault('unlimited').meta({ description: 'Of all that is fetched.' }),
    maxClientBandwidth: bandwidth.prefault('unlimited').meta({
      description: 'Of what one client address is given of fetched content; its requests share it.',
    }),
    cache: cacheSection.meta({ description: 'What is kept of what was fetched.' }),
    download: downloadSection.meta({ description: 'With how much patience files are fetched.' }),
    upstreams: z
      .record(z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'is no name'), upstream)
      .superRefine(requireOneRuleEach)
      .default({})
      .meta({
        description: 'Sites on the internet, by the name under which they answer here: /upstreams/NAME/.',
        examples: ['ssr'],
      }),
    schedule: z
      .strictObject({
        upstreams: interval.optional().meta({
          description: 'How often the server mirrors all upstreams that have rules; never by default.',
          examples: ['every 12h'],
        }),
      })
      .prefault({})
      .meta({ description: 'What the server does by itself.' }),
    log: z
      .strictObject({
        level: z
          .enum(['debug', 'info', 'warn', 'error'])
          .default('info')
          .meta({ description: 'What is worth a line.' }),
        file: file.optional().meta({
          description: 'Where the lines go; reopened on SIGHUP. Without it, to standard error.',
          examples: ['airlock.log'],
        }),
        maxSize: size({ least: limits.log.leastSize, most: 2 ** 40, why: 'so that it can be handled' })
          .prefault('64MiB')
          .meta({ description: 'Before the file grows beyond this, it is set aside as FILE.1.' }),
        maxFiles: z
          .number()
          .int()
          .min(2)
          .max(limits.log.files)
          .default(5)
          .meta({ description: 'So many files are kept, the one being written included.' }),
        access: z.boolean().default(true).meta({ description: 'One line for each request.' }),
      })
      .prefault({})
      .meta({ description: 'The log: a JSON document on each line.' }),
    prune: z
      .strictObject({
        grace: duration.prefault('24h').meta({ description: 'So long deleted content is kept before it goes.' }),
      })
      .prefault({})
      .meta({ description: '"airlock prune", which takes away what nobody refers to any more.' }),
  })
  .superRefine(requireWholeIdentity);

/** Sizes in bytes, durations in milliseconds. */
export type Config = z.output<typeof schema>;

/** All keys, in the order in which they are written. */
export const configKeys: () => readonly ConfigKey[] = memoized(() => keysOf(schema));

/** A configuration, and where in it something stands. */
export interface ReadConfig extends Omit<ReadYaml<Config>, 'value'> {
  readonly config: Config;
  /** Of the file, for messages. */
  readonly name: string;
}

/**
 * Reads a configuration file.
 * @param file without `required`, a file that is not there gives the defaults
 * @param environment variables that take the place of keys
 * @throws config.invalid with the line of each fault, or if it is no file or cannot be read; file.not-found
 */
export async function readConfig(
  file: string,
  { required, environment = process.env }: { readonly required: boolean; readonly environment?: Environment },
): Promise<ReadConfig> {
  return locate((await readConfigText(file, { required })) ?? '', path.basename(file), environment);
}

/**
 * The configuration of a text alone.
 * @param text YAML; a key with nothing behind it has its default
 * @param name of the file, for messages
 * @throws config.invalid with the line of each fault, in the order of lines
 */
export function parseConfig(text: string, name: string): Config {
  return locate(text, name, {}).config;
}

/** @throws config.invalid as parseConfig, and for variables that are meant for a key that there is not */
function locate(text: string, name: string, environment: Environment): ReadConfig {
  const isSet = Object.keys(environment).some((variable) => variable.startsWith(PREFIX));
  const keys = isSet ? configKeys() : [];
  const overrides = overridesIn(environment, keys);
  const { value: config, place } = parseYaml(text, name, schema, { overrides, named: ['upstreams'] });
  const doubtful = doubtfulVariables(environment, keys, placesOfSecrets(config));
  if (doubtful.length === 0) return { config, place, name };
  throw invalid(
    name,
    doubtful.map(({ variable, nearest }) => ({
      variable,
      message: `there is no such key; the nearest is ${nearest}. Rename the variable, or unset it`,
    })),
  );
}

/** Variables that the configuration names. */
function placesOfSecrets({ upstreams }: Config): Set<string> {
  const secrets = Object.values(upstreams).flatMap(({ username, password }) => [username, password]);
  return new Set(secrets.flatMap((each) => (each !== undefined && 'env' in each ? [each.env] : [])));
}

function memoized<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The whole configuration as YAML, defaults included, in the form in which it is written by hand. */
export function printConfig(config: Config): string {
  return stringify({
    listen: formatAddress(config.listen),
    ...(config.tls === undefined ? {} : { tls: config.tls }),
    memoryCache: formatSize(config.memoryCache),
    ...(config.sourceType === undefined ? {} : { sourceType: config.sourceType }),
    offlineMode: config.offlineMode,
    requireVerified: config.requireVerified,
    conductors: config.conductors,
    ...(config.peer === undefined ? {} : { peer: config.peer }),
    ...(config.ca === undefined ? {} : { ca: config.ca }),
    ...(config.clientCertificate === undefined ? {} : { clientCertificate: config.clientCertificate }),
    ...(config.clientKey === undefined ? {} : { clientKey: config.clientKey }),
    maxBandwidth: formatBandwidth(config.maxBandwidth),
    maxClientBandwidth: formatBandwidth(config.maxClientBandwidth),
    cache: printCache(config.cache),
    download: printDownload(config.download),
    upstreams: Object.fromEntries(
      Object.entries(config.upstreams).map(([name, { maxBandwidth, ...rest }]) => [
        name,
        { ...(JSON.parse(JSON.stringify(rest)) as object), maxBandwidth: formatBandwidth(maxBandwidth) },
      ]),
    ),
    schedule: config.schedule.upstreams === undefined ? {} : { upstreams: formatInterval(config.schedule.upstreams) },
    log: { ...config.log, maxSize: formatSize(config.log.maxSize) },
    prune: { grace: formatDuration(config.prune.grace) },
  });
}
