import path from 'node:path';
import type { Command } from 'commander';
import type Pino from 'pino';
import { type App, openApp } from '../app.ts';
import { type Address, type Config, parseAddress } from '../config.ts';
import { AirlockError } from '../errors.ts';
import { appOptions, type GlobalOptions } from './command.ts';

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
    const app = await openApp(appOptions(options));
    try {
      await serve(app, listenAddress(app.config, listen), options.json ?? false);
    } finally {
      await app.close();
    }
  });
}

async function serve(app: App, listen: Address, json: boolean): Promise<void> {
  const lock = app.lockServer();
  // Only here: other commands need not wait for Express.
  const { startHttpServer } = await import('../repo/http/server.ts');
  const { default: pino } = await import('pino');
  const log = openLog(app, pino);
  try {
    const server = await startHttpServer({
      catalog: app.catalog,
      blobs: app.blobs,
      logger: pino({ level: app.config.log.level, base: null }, log),
      ...(app.config.log.access ? { accessLog: log } : {}),
      listen,
      memoryCache: app.config.memoryCache,
    });
    const stop = signalled(); // from before anybody can know that it runs
    process.stdout.write(json ? `${JSON.stringify({ url: server.url })}\n` : `Airlock serves ${server.url}\n`);
    await stop;
    process.once('SIGTERM', () => process.exit(1)).once('SIGINT', () => process.exit(1));
    await server.close();
  } finally {
    lock.release();
    log.flushSync();
  }
}

/** Resolves at the first SIGTERM or SIGINT. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      process.off('SIGTERM', end).off('SIGINT', end);
      resolve();
    };
    process.on('SIGTERM', end).on('SIGINT', end);
  });
}

/** JSON lines on standard error, or in a file that is opened anew on SIGHUP, as logrotate wants it. */
function openLog({ dataDir, config: { log } }: App, pino: typeof Pino): ReturnType<typeof Pino.destination> {
  const destination = pino.destination({
    dest: log.file === undefined ? 2 : path.resolve(dataDir, log.file),
    mkdir: true,
    sync: false,
  });
  if (log.file !== undefined) process.on('SIGHUP', () => destination.reopen());
  return destination;
}

function listenAddress(config: Config, listen: string | undefined): Address {
  if (listen === undefined) return config.listen;
  const address = parseAddress(listen);
  if (address !== undefined) return address;
  throw new AirlockError(
    'usage.invalid',
    `--listen takes HOST:PORT, such as 0.0.0.0:8480, not ${JSON.stringify(listen)}.`,
  );
}
