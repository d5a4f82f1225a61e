import { type Command, InvalidArgumentError, Option } from 'commander';
import pino from 'pino';
import { openProxyOf, type SourceConfig } from '../app/proxy.ts';
import { type App, openApp } from '../app.ts';
import type { Config } from '../config.ts';
import { AirlockError } from '../errors.ts';
import type { RunningProxy } from '../proxy/open-proxy.ts';
import type { SourceType } from '../proxy/sources.ts';
import { TrustedBlobs } from '../repo/trusted-blobs.ts';
import { askServer } from './ask-server.ts';
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
    .description('say how the sources are and which versions they have, what was fetched and what is being fetched')
    .option(
      '--url <url>',
      'of the running server (default: on this machine, at "listen" of the configuration)',
      webAddress,
    )
    .addHelpText('after', '\nExample:\n  airlock proxy status');
  appAction<[{ url?: string }]>(status, async (app, _session, { url }) => {
    const [sources, versions, cache] = await Promise.all([
      askServer<Source[]>(app, url, '/api/v1/sources'),
      askServer<Versions[]>(app, url, '/api/v1/sources/versions'),
      askServer<Cache>(app, url, '/api/v1/cache'),
    ]);
    const parts = [describeSources(sources), describeVersions(versions), describeCache(cache)];
    return { json: { sources, versions, cache }, text: parts.filter((part) => part !== '').join('\n\n') };
  });
}

function prefetchCommands(parent: Command): void {
  const what = 'a release, a version, a file name, or a path such as /repos/images/6.3/FILE';
  for (const name of ['prefetch', 'resume'] as const) {
    const command = withSources(parent.command(name))
      .description(name === 'prefetch' ? 'fetch something before it is needed' : 'go on with what was paused')
      .argument('<what>', what)
      .addHelpText(
        'after',
        `\nIt works beside a running server of the same data directory, which serves what has come.\n\nExample:\n  airlock proxy ${name} --upstream http://conductor-a:8480 6.3.0-107.r1.el7`,
      );
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
  const proxy = await openProxyOf(app, sourcesOf(config, flags), { logger, trusted, followsPeer: false });
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

interface Versions {
  readonly source: string;
  readonly trouble: string | null;
  readonly versions: readonly { readonly version: string; readonly file: string; readonly path: string }[] | null;
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

function describeSources(sources: readonly Source[]): string {
  const rows = sources.map(({ name, state, failed, requests, trouble }) => [
    name,
    state,
    `${failed} of ${requests}`,
    trouble ?? '',
  ]);
  return formatTable(['Source', 'State', 'Failed', 'Last failure'], rows);
}

/** Each file once, with those that have it. */
function describeVersions(all: readonly Versions[]): string {
  const rows = new Map<string, { version: string; file: string; sources: string[] }>();
  for (const { source, versions } of all) {
    for (const { version, file, path } of versions ?? []) {
      const row = rows.get(path) ?? { version, file, sources: [] };
      row.sources.push(source);
      rows.set(path, row);
    }
  }
  const asked = all.filter(({ versions, trouble }) => versions !== null || trouble !== null);
  const silent = asked.filter(({ versions }) => versions === null).map(({ source }) => source);
  const table =
    rows.size === 0
      ? []
      : [
          formatTable(
            ['Version', 'File', 'Where'],
            [...rows.values()].map((row) => [row.version, row.file, row.sources.join(', ')]),
          ),
        ];
  const note = silent.length === 0 ? [] : [`Not known, for it could not be asked: what ${silent.join(' and ')} has.`];
  return [...table, ...note].join('\n');
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
