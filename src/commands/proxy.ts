import { type Command, InvalidArgumentError, Option } from 'commander';
import { openApp } from '../app.ts';
import type { SourceType } from '../proxy/sources.ts';
import { appOptions, type GlobalOptions } from './command.ts';
import { listenToInterruption } from './interruption.ts';
import { listenAddress, serve } from './serve.ts';

interface ProxyFlags {
  readonly upstream?: readonly string[];
  readonly peer?: string;
  readonly sourceType?: SourceType;
  readonly offlineMode?: boolean;
  readonly listen?: string;
}

/** `proxy`: `serve`, and what is not here is fetched from conductors, the HA twin and configured sites. */
export function proxyCommand(program: Command): void {
  const command = program
    .command('proxy')
    .description('serve what is here, and fetch and keep the rest from conductors and configured sites')
    .option('--upstream <url>', 'a conductor, http://HOST:PORT; may be repeated, in order', collectUrl)
    .option('--peer <url>', 'the HA twin, asked before all others for what it has', webAddress)
    .addOption(
      new Option(
        '--source-type <type>',
        'where to fetch from (default: prefer-conductor once a conductor is named)',
      ).choices(['conductor-only', 'prefer-conductor', 'internet-only']),
    )
    .option('--offline-mode', 'ask nobody on the internet')
    .option('--listen <address>', 'HOST:PORT (default: listen of the configuration, 0.0.0.0:8480)')
    .option('--json', 'print the URL as a JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  airlock proxy --upstream http://conductor-a:8480 --upstream http://conductor-b:8480',
    );
  command.action(async ({ upstream, peer, sourceType, offlineMode, listen }: ProxyFlags) => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const stop = listenToInterruption();
    process.on('SIGHUP', () => undefined); // it would end the process, with or without a log to open anew
    const app = await openApp(appOptions(options));
    const { config } = app;
    try {
      const sources = {
        ...config,
        ...(upstream === undefined ? {} : { conductors: [...upstream] }),
        ...(peer === undefined ? {} : { peer }),
        ...(sourceType === undefined ? {} : { sourceType }),
        ...(offlineMode === undefined ? {} : { offlineMode }),
      };
      await serve(app, { listen: listenAddress(config, listen), json: options.json ?? false, stop, sources });
    } finally {
      await app.close();
    }
  });
}

function collectUrl(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, webAddress(text)];
}

function webAddress(text: string): string {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return text;
  throw new InvalidArgumentError('Write http://HOST:PORT or https://HOST:PORT, without user name and password.');
}
