import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import type { Command } from 'commander';
import type { SourceConfig } from '../app/proxy.ts';
import type { RunningReplica } from '../app/replica.ts';
import { startSyncSchedule } from '../app/schedule.ts';
import { type App, type AppOptions, openApp } from '../app.ts';
import { type Address, parseAddress } from '../config/values.ts';
import type { Config } from '../config.ts';
import { AirlockError } from '../errors.ts';
import { quote } from '../repo/formats/quote.ts';
import { LogSink } from '../repo/http/log-file.ts';
import { type Logger, logTrust } from '../repo/http/logger.ts';
import type { RunningServer } from '../repo/http/server.ts';
import type { TlsMaterial } from '../repo/http/tls.ts';
import { HighWaterMark } from '../sync/trust/high-water-mark.ts';
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

/**
 * Serves until `stop` fires, then drains.
 * @throws server.locked, server.address-in-use, config.invalid; trust.locked for a catalog that was restored from a backup and
 *   would show what newer bundles replaced or revoked
 */
export async function serve(app: App, { listen, json, stop, sources, replica }: ServeOptions): Promise<void> {
  const { dataDir, config, catalog, blobs } = app;
  await using running = new AsyncDisposableStack(); // ended in the other order
  const log = openLog(dataDir, config.log);
  running.defer(() => log.close());
  whenTold('exit', () => log.flushSync(), running);
  whenTold('SIGHUP', () => log.reopen(), running);
  const lock = app.lockServer();
  running.defer(() => lock.release());
  await new HighWaterMark(app).read();
  // Only here: other commands need not wait for Express.
  const { startHttpServer } = await import('../repo/http/server.ts');
  const { default: pino } = await import('pino');
  const { TrustedBlobs } = await import('../repo/trusted-blobs.ts');
  const { openProxyOf } = await import('../app/proxy.ts');
  const logger = pino({ level: config.log.level, base: null }, log);
  const beside: Beside = { app, logger, running, instance: randomBytes(8).toString('hex') };
  const trusted = new TrustedBlobs({ catalog, blobs, onEvent: (event) => logTrust(logger, event) });
  const beyond = await openProxyOf(app, sources, { logger, trusted, followsPeer: replica !== undefined });
  running.defer(() => beyond?.close());
  running.defer(() => trusted.close());
  const twin = await startTwin(beside, replica);
  const tls = await tlsOf(app);
  const server = await startHttpServer({
    catalog,
    blobs,
    trusted,
    logger,
    instance: beside.instance,
    ...(twin === undefined ? {} : { routes: twin.routes }),
    ...(beyond === undefined ? {} : { beyond }),
    ...(config.log.access ? { accessLog: log } : {}),
    ...(tls === undefined ? {} : { tls }),
    listen,
    memoryCache: config.memoryCache,
  });
  running.defer(() => server.close());
  if (tls !== undefined) await startRenewal(beside, server, tls);
  await startReloads(beside, [beyond, twin]);
  const schedule = startSyncSchedule(app, sources, logger);
  running.defer(() => schedule?.stop());
  printOut(json ? `${JSON.stringify({ url: server.url })}\n` : `Airlock serves ${server.url}\n`);
  if (!stop.aborted) await once(stop, 'abort');
  await Promise.all([twin?.close(), schedule?.stop(), server.close()]); // none need wait for the others
}

/** What runs beside the server, and ends after it. */
interface Beside {
  readonly app: App;
  readonly logger: Logger;
  readonly running: AsyncDisposableStack;
  /** Tells servers apart. */
  readonly instance: string;
}

function whenTold(event: 'exit' | 'SIGHUP', listener: () => void, running: AsyncDisposableStack): void {
  process.on(event, listener);
  running.defer(() => void process.off(event, listener));
}

async function startTwin(
  { app, logger, running, instance }: Beside,
  replica: AppOptions | undefined,
): Promise<RunningReplica | undefined> {
  const { peer } = app.config;
  if (replica === undefined || peer === undefined) return undefined;
  const { startReplica } = await import('../app/replica.ts');
  const twin = startReplica({ ...replica, instance }, peer, logger);
  running.defer(() => twin.close());
  return twin;
}

/** Of the modules below, plain HTTP needs none in memory. @throws config.invalid */
async function tlsOf({ dataDir, config: { tls } }: App): Promise<TlsMaterial | undefined> {
  if (tls === undefined) return undefined;
  const { readTls } = await import('../repo/http/tls.ts');
  return await readTls(dataDir, tls);
}

async function startRenewal(
  { app, logger, running }: Beside,
  { renewTls: renew }: RunningServer,
  first: TlsMaterial,
): Promise<void> {
  const { dataDir, config } = app;
  if (config.tls === undefined || renew === undefined) return;
  const { startTlsRenewal } = await import('../repo/http/tls-renewal.ts');
  const renewal = startTlsRenewal({ dataDir, tls: config.tls, logger, first, renew });
  running.defer(() => renewal.stop());
  whenTold('SIGHUP', () => void renewal.reload(), running);
}

/** What is shown to other servers, and what they are known by. */
async function startReloads(
  { logger, running }: Beside,
  all: readonly ({ reload(): Promise<void> } | undefined)[],
): Promise<void> {
  const { startReload } = await import('../app/reload.ts');
  for (const each of all) {
    if (each === undefined) continue;
    const reload = startReload(logger, () => each.reload());
    running.defer(() => reload.stop());
    whenTold('SIGHUP', () => void reload.now(), running);
  }
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
