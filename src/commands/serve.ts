import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import type { Command } from 'commander';
import { type App, type AppOptions, openApp } from '../app.ts';
import type { Config } from '../config.ts';
import { type Address, parseAddress } from '../config-values.ts';
import { AirlockError } from '../errors.ts';
import type { RunningProxy } from '../proxy/open-proxy.ts';
import type { SourceConfig } from '../proxy-app.ts';
import type { RunningReplica } from '../replica-app.ts';
import { quote } from '../repo/formats/quote.ts';
import { LogSink } from '../repo/http/log-file.ts';
import { type Logger, logTrust } from '../repo/http/logger.ts';
import type { RunningServer } from '../repo/http/server.ts';
import type { TlsMaterial } from '../repo/http/tls.ts';
import type { TlsRenewal } from '../repo/http/tls-renewal.ts';
import type { Schedule } from '../sync/mirror/schedule.ts';
import { startSyncSchedule } from '../sync-schedule.ts';
import { appOptions, type GlobalOptions } from './command.ts';
import { listenToInterruption } from './interruption.ts';
import { printOut } from './output.ts';

/** `serve`: runs until SIGTERM or SIGINT, then drains and ends; a second signal ends it at once. */
export function serveCommand(program: Command): void {
  const command = program
    .command('serve')
    .description('serve the repositories over HTTP')
    .option('--listen <address>', 'HOST:PORT (default: listen of the configuration, 0.0.0.0:8480)')
    .option('--json', 'print the URL as a JSON document')
    .addHelpText('after', '\nExample:\n  airlock --data /var/lib/airlock serve --listen 0.0.0.0:8480');
  command.action(async ({ listen }: { listen?: string }) => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const stop = listenToInterruption();
    process.on('SIGHUP', () => undefined); // it would end the process, with or without a log to open anew
    const opened = appOptions(options);
    const app = await openApp(opened);
    try {
      const { config } = app;
      await serve(app, {
        listen: listenAddress(config, listen),
        json: options.json ?? false,
        stop,
        sources: config,
        replica: opened,
      });
    } finally {
      await app.close();
    }
  });
}

export interface ServeOptions {
  readonly listen: Address;
  readonly json: boolean;
  readonly stop: AbortSignal;
  /** Where to fetch what is not here. */
  readonly sources: SourceConfig;
  /** Of a conductor: with a `peer` in the configuration, what that publishes is taken over. How to open the directory anew. */
  readonly replica?: AppOptions;
}

/** Serves until `stop` fires, then drains. @throws server.locked, server.address-in-use, config.invalid */
export async function serve(app: App, { listen, json, stop, sources, replica }: ServeOptions): Promise<void> {
  const { dataDir, config } = app;
  const log = openLog(dataDir, config.log);
  let renewal: TlsRenewal | undefined;
  const reopen = () => {
    log.reopen();
    void renewal?.reload();
  };
  const flush = () => log.flushSync();
  process.on('SIGHUP', reopen).on('exit', flush);
  let lock: ReturnType<App['lockServer']> | undefined;
  let beyond: RunningProxy | undefined;
  let twin: RunningReplica | undefined;
  let schedule: Schedule | undefined;
  try {
    lock = app.lockServer();
    // Only here: other commands need not wait for Express.
    const { startHttpServer } = await import('../repo/http/server.ts');
    const { default: pino } = await import('pino');
    const { TrustedBlobs } = await import('../repo/trusted-blobs.ts');
    const { openProxyOf } = await import('../proxy-app.ts');
    const { catalog, blobs } = app;
    const logger = pino({ level: config.log.level, base: null }, log);
    const trusted = new TrustedBlobs({ catalog, blobs, onEvent: (event) => logTrust(logger, event) });
    beyond = await openProxyOf(app, sources, { logger, trusted });
    const instance = randomBytes(8).toString('hex');
    if (replica !== undefined && config.peer !== undefined) {
      const { startReplica } = await import('../replica-app.ts');
      twin = startReplica({ ...replica, instance }, config.peer, logger);
    }
    const tls = await tlsOf(app);
    const server = await startHttpServer({
      catalog,
      blobs,
      trusted,
      logger,
      instance,
      ...(twin === undefined ? {} : { routes: twin.routes }),
      ...(beyond === undefined ? {} : { beyond }),
      ...(config.log.access ? { accessLog: log } : {}),
      ...(tls === undefined ? {} : { tls }),
      listen,
      memoryCache: config.memoryCache,
    });
    if (tls !== undefined) renewal = await startRenewal(app, server, tls, logger);
    schedule = startSyncSchedule(app, sources, logger);
    printOut(json ? `${JSON.stringify({ url: server.url })}\n` : `Airlock serves ${server.url}\n`);
    if (!stop.aborted) await once(stop, 'abort');
    await Promise.all([twin?.close(), schedule?.stop(), server.close()]);
    trusted.close();
  } finally {
    renewal?.stop();
    await schedule?.stop();
    await twin?.close();
    await beyond?.close();
    lock?.release();
    process.off('SIGHUP', reopen).off('exit', flush);
    await log.close();
  }
}

/** Of the modules below, plain HTTP needs none in memory. @throws config.invalid */
async function tlsOf({ dataDir, config: { tls } }: App): Promise<TlsMaterial | undefined> {
  if (tls === undefined) return undefined;
  const { readTls } = await import('../repo/http/tls.ts');
  return await readTls(dataDir, tls);
}

async function startRenewal(
  { dataDir, config: { tls } }: App,
  { renewTls: renew }: RunningServer,
  first: TlsMaterial,
  logger: Logger,
): Promise<TlsRenewal | undefined> {
  if (tls === undefined || renew === undefined) return undefined;
  const { startTlsRenewal } = await import('../repo/http/tls-renewal.ts');
  return startTlsRenewal({ dataDir, tls, logger, first, renew });
}

/** JSON lines on standard error, or in a file that is opened anew on SIGHUP, as logrotate wants it. */
function openLog(dataDir: string, { file, maxSize, maxFiles }: Config['log']): LogSink {
  return file === undefined ? new LogSink() : new LogSink({ file: path.resolve(dataDir, file), maxSize, maxFiles });
}

/** @throws usage.invalid */
export function listenAddress(config: Config, listen: string | undefined): Address {
  if (listen === undefined) return config.listen;
  const address = parseAddress(listen);
  if (address !== undefined) return address;
  throw new AirlockError('usage.invalid', `--listen takes HOST:PORT, such as 0.0.0.0:8480, not ${quote(listen)}.`);
}
