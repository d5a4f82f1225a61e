import { type Command, InvalidArgumentError, Option } from 'commander';
import pino from 'pino';
import { type App, openApp } from '../app.ts';
import type { Config } from '../config.ts';
import { AirlockError } from '../errors.ts';
import type { RunningProxy } from '../proxy/open-proxy.ts';
import type { SourceType } from '../proxy/sources.ts';
import { openProxyOf, type SourceConfig } from '../proxy-app.ts';
import { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { appAction, appOptions, type GlobalOptions, type Result } from './command.ts';
import { formatBytes, formatTable } from './format.ts';
import { listenToInterruption } from './interruption.ts';
import { listenAddress, serve } from './serve.ts';

interface SourceFlags {
  readonly upstream?: readonly string[];
  readonly peer?: string;
  readonly sourceType?: SourceType;
  readonly offlineMode?: boolean;
}

/** `proxy`: `serve`, and what is not here is fetched from conductors, the HA twin and configured sites. */
export function proxyCommand(program: Command): void {
  const command = withSources(program.command('proxy'))
    .description('serve what is here, and fetch and keep the rest from conductors and configured sites')
    .option('--listen <address>', 'HOST:PORT (default: listen of the configuration, 0.0.0.0:8480)')
    .option('--json', 'print the URL as a JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  airlock proxy --upstream http://conductor-a:8480 --upstream http://conductor-b:8480',
    );
  command.action(async ({ listen, ...flags }: SourceFlags & { listen?: string }) => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const stop = listenToInterruption();
    process.on('SIGHUP', () => undefined); // it would end the process, with or without a log to open anew
    const app = await openApp(appOptions(options));
    const { config } = app;
    try {
      const sources = sourcesOf(config, flags);
      await serve(app, { listen: listenAddress(config, listen), json: options.json ?? false, stop, sources });
    } finally {
      await app.close();
    }
  });
  statusCommand(command);
  prefetchCommands(command);
}

function statusCommand(parent: Command): void {
  const status = parent
    .command('status')
    .description('say how the sources are, what was fetched and what is being fetched, of a server that runs')
    .option('--url <url>', 'of the server (default: on this machine, as configured)', webAddress)
    .addHelpText('after', '\nExample:\n  airlock proxy status');
  appAction<[{ url?: string }]>(status, async ({ config }, _session, { url }) => {
    const base = url ?? localUrl(config);
    const [sources, cache] = await Promise.all([ask<Source[]>(base, 'sources'), ask<Cache>(base, 'cache')]);
    return { json: { sources, cache }, text: `${describeSources(sources)}\n\n${describeCache(cache)}` };
  });
}

function prefetchCommands(parent: Command): void {
  const what = 'a release, a version, a file name, or a path such as /repos/images/6.3/FILE';
  for (const name of ['prefetch', 'resume'] as const) {
    const command = withSources(parent.command(name))
      .description(name === 'prefetch' ? 'fetch something before it is needed' : 'go on with what was paused')
      .argument('<what>', what)
      .addHelpText('after', `\nExample:\n  airlock proxy ${name} --upstream http://conductor-a:8480 6.3.0-107.r1.el7`);
    appAction<[string, SourceFlags]>(command, async (app, { signal, progress }, wanted, flags) => {
      const { pathMeant, prefetch } = await import('../proxy/prefetch.ts');
      return await withProxy(app, { ...command.parent?.opts<SourceFlags>(), ...flags }, async (proxy) => {
        const path = await pathMeant(wanted, proxy.sources, signal);
        const paused = new AbortController();
        const key = pauseKey(wanted);
        await app.catalog.setMeta(key, undefined);
        const watch = setInterval(() => {
          const look = async () => (await app.catalog.meta(key)) !== undefined && paused.abort(pausedBy(wanted));
          look().catch(() => undefined); // asked again in a moment
        }, PAUSE_POLL);
        try {
          const stat = await prefetch(proxy.pull, path, { signal: AbortSignal.any([signal, paused.signal]), progress });
          const { digest, size } = stat;
          return { json: { path: `/${path}`, digest, size }, text: `✔ /${path} is here: ${formatBytes(size)}` };
        } finally {
          clearInterval(watch);
        }
      });
    });
  }
  const pause = parent
    .command('pause')
    .description('let a prefetch end where it stands; "proxy resume" goes on with it')
    .argument('<what>', 'as it was given to prefetch')
    .addHelpText('after', '\nExample:\n  airlock proxy pause 6.3.0-107.r1.el7');
  appAction<[string]>(pause, async ({ catalog }, _session, wanted) => {
    await catalog.setMeta(pauseKey(wanted), 'paused');
    return { json: { paused: wanted }, text: `Paused. "airlock proxy resume ${wanted}" goes on.` };
  });
}

/** How often a prefetch looks whether it shall pause, milliseconds. */
const PAUSE_POLL = 1000;

function pauseKey(wanted: string): string {
  return `pause:${wanted}`;
}

function pausedBy(wanted: string): AirlockError {
  return new AirlockError('interrupted', `Paused. What is there is kept; "airlock proxy resume ${wanted}" goes on.`);
}

async function withProxy(
  app: App,
  flags: SourceFlags,
  work: (proxy: RunningProxy) => Promise<Result>,
): Promise<Result> {
  const { catalog, blobs, config } = app;
  const logger = pino({ level: 'error', base: null }, pino.destination(2));
  const trusted = new TrustedBlobs({ catalog, blobs });
  const proxy = await openProxyOf(app, sourcesOf(config, flags), { logger, trusted });
  try {
    if (proxy !== undefined) return await work(proxy);
  } finally {
    await proxy?.close();
    trusted.close();
  }
  throw new AirlockError(
    'usage.invalid',
    'There is nobody to fetch from. Name a conductor with --upstream URL, or a site under "upstreams" of the configuration.',
  );
}

function withSources(command: Command): Command {
  const types = ['conductor-only', 'prefer-conductor', 'internet-only'];
  return command
    .option('--upstream <url>', 'a conductor, http://HOST:PORT; may be repeated, in order', collectUrl)
    .option('--peer <url>', 'the HA twin, asked before all others for what it has', webAddress)
    .addOption(
      new Option(
        '--source-type <type>',
        'where to fetch from (default: prefer-conductor once a conductor is named)',
      ).choices(types),
    )
    .option('--offline-mode', 'ask nobody on the internet');
}

function sourcesOf(config: Config, { upstream, peer, sourceType, offlineMode }: SourceFlags): SourceConfig {
  return {
    ...config,
    ...(upstream === undefined ? {} : { conductors: [...upstream] }),
    ...(peer === undefined ? {} : { peer }),
    ...(sourceType === undefined ? {} : { sourceType }),
    ...(offlineMode === undefined ? {} : { offlineMode }),
  };
}

interface Source {
  readonly name: string;
  readonly state: string;
  readonly failed: number;
  readonly requests: number;
  readonly trouble: string | null;
}

interface Cache {
  readonly hits: number;
  readonly misses: number;
  readonly stale: number;
  readonly hitRatio: number | null;
  readonly servedBytes: number;
  readonly fetchedBytes: number;
  readonly fills: readonly {
    readonly path: string;
    readonly source: string;
    readonly size: number | null;
    readonly done: number;
    readonly bytesPerSecond: number;
    readonly secondsLeft: number | null;
  }[];
}

/** @throws upstream.unreachable, upstream.failed */
async function ask<T>(base: string, what: 'sources' | 'cache'): Promise<T> {
  const url = new URL(`/api/v1/${what}`, base);
  const response = await fetch(url).catch((cause: unknown) => {
    throw new AirlockError(
      'upstream.unreachable',
      `No server answers at ${base}. Start one with "airlock proxy", or name it with --url URL.`,
      { cause },
    );
  });
  if (response.ok) return (await response.json()) as T;
  throw new AirlockError(
    'upstream.failed',
    `The server at ${base} fetches from nobody (${response.status} at ${url.pathname}).`,
  );
}

function localUrl({ listen: { host, port } }: Config): string {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`;
}

function describeSources(sources: readonly Source[]): string {
  const rows = sources.map(({ name, state, failed, requests, trouble }) => [
    name,
    state,
    `${failed} of ${requests}`,
    trouble ?? '',
  ]);
  return formatTable(['Source', 'State', 'Failed', 'Last failure'], rows);
}

function describeCache({ hits, misses, stale, hitRatio, servedBytes, fetchedBytes, fills }: Cache): string {
  const ratio = hitRatio === null ? '' : ` (${Math.round(hitRatio * 100)} % found here)`;
  const lines = [
    `${hits} hits, ${misses} misses, ${stale} stale${ratio}; ${formatBytes(fetchedBytes)} fetched, ${formatBytes(servedBytes)} found here`,
    ...fills.map(({ path, source, size, done, bytesPerSecond, secondsLeft }) => {
      const whole = size === null ? '' : ` of ${formatBytes(size)}`;
      const left = secondsLeft === null ? '' : `, ${secondsLeft} s left`;
      return `fetching /${path} from ${source}: ${formatBytes(done)}${whole}, ${formatBytes(bytesPerSecond)}/s${left}`;
    }),
  ];
  return lines.join('\n');
}

function collectUrl(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, webAddress(text)];
}

function webAddress(text: string): string {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return text;
  throw new InvalidArgumentError('Write http://HOST:PORT or https://HOST:PORT, without user name and password.');
}
