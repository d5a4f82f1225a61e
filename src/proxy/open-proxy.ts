import { randomBytes } from 'node:crypto';
import type { BlobStore } from '../repo/blobs/blob-store.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import type { VendorKey } from '../repo/formats/openpgp/key-files.ts';
import type { Beyond } from '../repo/http/beyond.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { Bandwidth } from '../repo/upstream/bandwidth.ts';
import { type Credentials, HttpUpstream, type HttpUpstreamOptions } from '../repo/upstream/http-upstream.ts';
import { Forward, type Site } from './forward.ts';
import { listBeyond } from './listings.ts';
import type { OnDemandPlaces } from './on-demand.ts';
import { PullThrough } from './pull-through.ts';
import type { ProxyRules } from './rules.ts';
import { Health, type Source, Sources, type SourceType } from './sources.ts';
import { registerMetrics, statusRoutes } from './status.ts';
import { KnownVersions } from './versions.ts';

/** A site on the internet. */
export interface SiteOptions
  extends Pick<HttpUpstreamOptions, 'url' | 'username' | 'password' | 'ca' | 'identity' | 'proxy'> {
  readonly name: string;
  /** Bytes per second. */
  readonly bandwidth: number;
  /** In forward-proxy requests; that of `url` if there are none. */
  readonly hosts: readonly string[];
}

export interface ProxyOptions {
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  readonly trusted: TrustedBlobs;
  readonly logger: Logger;
  readonly sites: readonly SiteOptions[];
  readonly conductors: readonly Pick<HttpUpstreamOptions, 'url' | 'ca' | 'identity'>[];
  readonly peer: Pick<HttpUpstreamOptions, 'url' | 'ca' | 'identity'> | undefined;
  /** As in SourcesOptions. */
  readonly followsPeer?: boolean;
  readonly sourceType: SourceType;
  readonly offlineMode: boolean;
  readonly rules: ProxyRules;
  /** Those that may sign what comes from a site, by its name. */
  readonly keys?: ReadonlyMap<string, readonly VendorKey[]>;
  /** Repositories whose packages come when they are asked for. */
  readonly onDemand?: OnDemandPlaces;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** What is shown to the sources from now on, and what they are known by. */
export interface FreshCredentials {
  /** Conductors and the HA twin. */
  readonly near: Credentials;
  /** By their names. */
  readonly sites: ReadonlyMap<string, Credentials>;
}

export interface RunningProxy extends Beyond {
  readonly pull: PullThrough;
  readonly sources: Sources;
  /** From the next request to a source on. */
  renew(fresh: FreshCredentials): void;
  /** Ends what is being fetched where it stands; the next process goes on with it. */
  close(): Promise<void>;
}

/**
 * Puts pull-through and forward proxy together.
 * @throws config.invalid for URLs that cannot be used
 */
export function openProxy(options: ProxyOptions): RunningProxy {
  const { catalog, sourceType, offlineMode, logger } = options;
  const via = `airlock-${randomBytes(4).toString('hex')}`;
  const nearby: HttpUpstream[] = [];
  const distant = new Map<string, HttpUpstream>();
  const near = (kind: 'peer' | 'conductor', at: Pick<HttpUpstreamOptions, 'url' | 'ca' | 'identity'>): Source => {
    const upstream = new HttpUpstream({ ...at, via });
    nearby.push(upstream);
    return { name: `${kind} ${upstream.origin}`, kind, upstream, health: new Health() };
  };
  const far = ({ name, bandwidth, ...at }: SiteOptions): Source => {
    const upstream = new HttpUpstream({ ...at, via });
    distant.set(name, upstream);
    const health = new Health();
    return { name: `internet ${name}`, kind: 'internet', upstream, health, bandwidth: new Bandwidth(bandwidth) };
  };
  const sources = new Sources({
    ...(options.peer === undefined ? {} : { peer: near('peer', options.peer) }),
    followsPeer: options.followsPeer ?? false,
    conductors: options.conductors.map((at) => near('conductor', at)),
    internet: new Map(options.sites.map((site) => [site.name, far(site)])),
    sourceType,
    offlineMode,
  });
  const pull = new PullThrough({ ...options, sources, name: via });
  const forward = new Forward({
    sites: options.sites.map(siteOf),
    conductors: options.conductors.map(({ url }) => new URL(url)),
    sourceType,
    offlineMode,
    onRefused: (target, why) => {
      pull.counters.refused += 1;
      logger.info({ target: target.slice(0, 256), why }, 'a request through the proxy was refused');
    },
  });
  const versions = new KnownVersions(sources);
  const status = { sources, counters: pull.counters, fills: pull.fills, versions };
  return {
    pull,
    sources,
    source: pull,
    keepInMemory: (memory) => pull.keepInMemory(memory),
    list: (folder, how) => listBeyond({ sources, pull, catalog }, folder, how),
    warm: (path) => pull.warm(path),
    pathOf: (target, isSelf) => forward.pathOf(target, isSelf),
    tunnel: (request, socket, head) => forward.tunnel(request, socket, head),
    cutTunnels: () => forward.cutTunnels(),
    routes: statusRoutes(status),
    registerMetrics: (registry) => registerMetrics(registry, status),
    renew({ near: shown, sites }) {
      for (const upstream of nearby) upstream.renew(shown);
      for (const [name, credentials] of sites) distant.get(name)?.renew(credentials);
    },
    async close() {
      versions.close();
      await pull.close();
      sources.close();
    },
  };
}

function siteOf({ name, url, hosts, proxy }: SiteOptions): Site {
  const parsed = new URL(url);
  const names = [parsed.hostname, ...hosts].map((host) => host.toLowerCase());
  return { name, url: parsed, hosts: new Set(names), proxy: proxy === undefined ? undefined : new URL(proxy) };
}
