/**
 * How pull-through is put together from the configuration: which sources there are, and what they need.
 */
import { isDeepStrictEqual } from 'node:util';
import type { App } from '../app.ts';
import { sitePath } from '../config/mirror.ts';
import type { Config } from '../config.ts';
import type { OnDemandPlace, OnDemandPlaces } from '../proxy/on-demand.ts';
import type { RunningProxy, SiteOptions } from '../proxy/open-proxy.ts';
import { DEFAULT_RULES, type ProxyRules } from '../proxy/rules.ts';
import type { VendorKey } from '../repo/formats/openpgp/key-files.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { configuredKeys } from './upstream-keys.ts';
import { certificates, logCertificateWarnings, upstreamSite } from './upstream-sites.ts';

/** What stands in the configuration of sources; commands may put something else in its place. */
export type SourceConfig = Pick<
  Config,
  | 'cache'
  | 'conductors'
  | 'peer'
  | 'ca'
  | 'clientCertificate'
  | 'clientKey'
  | 'sourceType'
  | 'offlineMode'
  | 'requireVerified'
  | 'upstreams'
  | 'maxBandwidth'
  | 'maxClientBandwidth'
  | 'download'
>;

export interface ProxySurroundings {
  readonly logger: Logger;
  readonly trusted: TrustedBlobs;
  /** As in SourcesOptions. */
  readonly followsPeer: boolean;
}

export interface OpenedProxy extends RunningProxy {
  /** Reads the certificates and secrets for the sources again. @throws config.invalid; nothing is changed then */
  reload(): Promise<void>;
}

/**
 * @returns undefined where nobody would be asked for anything
 * @throws config.invalid if a secret or a certificate cannot be read. The caller closes what it gets.
 */
export async function openProxyOf(
  app: App,
  config: SourceConfig,
  { logger, trusted, followsPeer }: ProxySurroundings,
): Promise<OpenedProxy | undefined> {
  const { conductors, peer, upstreams, offlineMode } = config;
  const asksPeer = peer !== undefined && !followsPeer;
  if (conductors.length === 0 && !asksPeer && Object.keys(upstreams).length === 0) return undefined;
  const { catalog, blobs, dataDir } = app;
  const read = async () => {
    if (conductors.length > 0 || asksPeer) await logCertificateWarnings(logger, dataDir, config);
    const shown = await certificates(dataDir, config);
    const sites: SiteOptions[] = [];
    for (const [name, upstream] of Object.entries(upstreams)) {
      await logCertificateWarnings(logger, dataDir, upstream, `upstreams.${name}.`);
      sites.push(await upstreamSite(dataDir, name, upstream));
    }
    return { shown, sites };
  };
  let current = await read();
  const { shown, sites } = current;
  const near = (url: string) => ({ url, ...shown });
  const keys = new Map<string, readonly VendorKey[]>();
  for (const [name, upstream] of Object.entries(upstreams)) {
    keys.set(name, await configuredKeys(dataDir, `upstreams.${name}.keys`, upstream.keys));
  }
  // Only here: a conductor without sources needs no HTTP client in memory.
  const { openProxy } = await import('../proxy/open-proxy.ts');
  const proxy = openProxy({
    catalog,
    blobs,
    trusted,
    logger,
    sites,
    conductors: conductors.map(near),
    peer: peer === undefined ? undefined : near(peer),
    followsPeer,
    sourceType: config.sourceType ?? (conductors.length > 0 ? 'prefer-conductor' : 'internet-only'),
    offlineMode,
    rules: rulesOf(config),
    keys,
    onDemand: onDemandPlaces(upstreams),
  });
  return {
    ...proxy,
    async reload() {
      const fresh = await read();
      if (isDeepStrictEqual(fresh, current)) return;
      current = fresh;
      proxy.renew({ near: fresh.shown, sites: new Map(fresh.sites.map((site) => [site.name, site])) });
      logger.info({ part: 'tls' }, 'certificates and secrets for other servers were read anew');
    },
  };
}

/** Where packages were left out, metadata is ours and all that it lists is here. */
function onDemandPlaces(upstreams: Config['upstreams']): OnDemandPlaces {
  const places = new Map<string, OnDemandPlace>();
  for (const [upstream, { mirror }] of Object.entries(upstreams)) {
    for (const rule of mirror) {
      if (rule.kind !== 'rpm' || rule.policy !== 'on-demand') continue;
      places.set(rule.repository, { upstream, path: sitePath(rule.path) });
    }
  }
  return places;
}

function rulesOf({ cache, download, requireVerified, maxBandwidth, maxClientBandwidth }: SourceConfig): ProxyRules {
  const { attempts, timeout, maxRetryDelay, abandoned } = download;
  const { size = Number.POSITIVE_INFINITY, pinned, fresh, stale, missing } = cache;
  return {
    fresh,
    stale,
    missing,
    retry: {
      ...DEFAULT_RULES.retry,
      attempts,
      timeout,
      maxDelay: Math.max(1000, maxRetryDelay),
      abandonBelow: abandoned,
    },
    requireVerified,
    bandwidth: maxBandwidth / 8,
    clientBandwidth: maxClientBandwidth / 8,
    cacheSize: size,
    pinned,
  };
}
