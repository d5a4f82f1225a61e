/**
 * How pull-through is put together from the configuration: which sources there are, and what they need.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { App } from './app.ts';
import type { Config } from './config.ts';
import { PlainSecret, type Secret } from './config-values.ts';
import { AirlockError } from './errors.ts';
import type { RunningProxy, SiteOptions } from './proxy/open-proxy.ts';
import type { Logger } from './repo/http/logger.ts';
import type { TrustedBlobs } from './repo/trusted-blobs.ts';

/** What stands in the configuration of sources; commands may put something else in its place. */
export type SourceConfig = Pick<
  Config,
  | 'cache'
  | 'conductors'
  | 'peer'
  | 'ca'
  | 'sourceType'
  | 'offlineMode'
  | 'requireVerified'
  | 'upstreams'
  | 'maxBandwidth'
>;

/**
 * @returns undefined where no source is named at all
 * @throws config.invalid if a secret or a certificate cannot be read. The caller closes what it gets.
 */
export async function openProxyOf(
  app: App,
  config: SourceConfig,
  { logger, trusted }: { readonly logger: Logger; readonly trusted: TrustedBlobs },
): Promise<RunningProxy | undefined> {
  const { conductors, peer, upstreams, offlineMode, requireVerified } = config;
  if (conductors.length === 0 && peer === undefined && Object.keys(upstreams).length === 0) return undefined;
  const { catalog, blobs, dataDir } = app;
  const ca = await certificates(dataDir, config.ca);
  const near = (url: string) => ({ url, ...ca });
  const sites: SiteOptions[] = [];
  for (const [name, { url, hosts, proxy, maxBandwidth, ...rest }] of Object.entries(upstreams)) {
    const at = `upstreams.${name}`;
    sites.push({
      name,
      url,
      hosts,
      bandwidth: maxBandwidth / 8,
      ...(proxy === undefined ? {} : { proxy }),
      ...(await certificates(dataDir, rest.ca)),
      ...(rest.username === undefined ? {} : { username: await reveal(dataDir, `${at}.username`, rest.username) }),
      ...(rest.password === undefined ? {} : { password: await reveal(dataDir, `${at}.password`, rest.password) }),
    });
  }
  // Only here: a conductor without sources needs no HTTP client in memory.
  const { openProxy } = await import('./proxy/open-proxy.ts');
  return openProxy({
    catalog,
    blobs,
    trusted,
    logger,
    sites,
    conductors: conductors.map(near),
    peer: peer === undefined ? undefined : near(peer),
    sourceType: config.sourceType ?? (conductors.length > 0 ? 'prefer-conductor' : 'internet-only'),
    offlineMode,
    requireVerified,
    bandwidth: config.maxBandwidth / 8,
    cacheSize: config.cache.size ?? Number.POSITIVE_INFINITY,
    pinned: config.cache.pinned,
  });
}

async function certificates(dataDir: string, file: string | undefined): Promise<{ ca?: string }> {
  return file === undefined ? {} : { ca: await readText(dataDir, 'ca', file) };
}

/** @throws config.invalid; the message names the place, never the secret */
async function reveal(dataDir: string, key: string, secret: Secret): Promise<string> {
  if (secret instanceof PlainSecret) return secret.reveal();
  if ('file' in secret) return (await readText(dataDir, key, secret.file)).trim();
  const value = process.env[secret.env];
  if (value !== undefined && value !== '') return value;
  throw new AirlockError(
    'config.invalid',
    `${key} is to be read from the environment variable ${secret.env}, which is not set. Set it, and start again.`,
  );
}

async function readText(dataDir: string, key: string, file: string): Promise<string> {
  try {
    return await readFile(path.resolve(dataDir, file), 'utf8');
  } catch (cause) {
    throw new AirlockError(
      'config.invalid',
      `${key}: the file ${file} cannot be read. Name one relative to the data directory.`,
      {
        cause,
      },
    );
  }
}
