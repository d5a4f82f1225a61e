import { once } from 'node:events';
import path from 'node:path';
import type { Command } from 'commander';
import { type App, openApp } from '../app.ts';
import type { Config } from '../config.ts';
import { type Address, parseAddress } from '../config-values.ts';
import { AirlockError } from '../errors.ts';
import type { RunningProxy } from '../proxy/open-proxy.ts';
import type { SourceConfig } from '../proxy-app.ts';
import { quote } from '../repo/formats/quote.ts';
import { LogSink } from '../repo/http/log-file.ts';
import { logTrust } from '../repo/http/logger.ts';
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
    const app = await openApp(appOptions(options));
    try {
      const { config } = app;
      await serve(app, { listen: listenAddress(config, listen), json: options.json ?? false, stop, sources: config });
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
}

/** Serves until `stop` fires, then drains. @throws server.locked, server.address-in-use, config.invalid */
export async function serve(app: App, { listen, json, stop, sources }: ServeOptions): Promise<void> {
  const { dataDir, config } = app;
  const log = openLog(dataDir, config.log);
  const reopen = () => log.reopen();
  const flush = () => log.flushSync();
  process.on('SIGHUP', reopen).on('exit', flush);
  let lock: ReturnType<App['lockServer']> | undefined;
  let beyond: RunningProxy | undefined;
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
    const server = await startHttpServer({
      catalog,
      blobs,
      trusted,
      logger,
      ...(beyond === undefined ? {} : { beyond }),
      ...(config.log.access ? { accessLog: log } : {}),
      listen,
      memoryCache: config.memoryCache,
    });
    printOut(json ? `${JSON.stringify({ url: server.url })}\n` : `Airlock serves ${server.url}\n`);
    if (!stop.aborted) await once(stop, 'abort');
    await server.close();
    trusted.close();
  } finally {
    await beyond?.close();
    lock?.release();
    process.off('SIGHUP', reopen).off('exit', flush);
    await log.close();
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
