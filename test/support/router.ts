/** A router: Airlock that pulls through, with a data directory of its own. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type CliOptions, type RunningServer, startServer } from './cli.ts';
import type { Scope } from './scope.ts';
import { tempDir } from './temp-dir.ts';

export interface Router extends RunningServer {
  readonly data: string;
}

export interface RouterOptions extends CliOptions {
  /** By default a new one. */
  readonly data?: string;
}

/**
 * Starts `airlock proxy`; stopped after the test at the latest.
 * @param words of the command line, such as `--upstream URL`
 * @param config its airlock.yaml
 */
export async function startRouter(
  t: Scope,
  words: readonly string[],
  config = '',
  options: RouterOptions = {},
): Promise<Router> {
  const data = options.data ?? path.join(await tempDir(t), 'router');
  await mkdir(data, { recursive: true });
  await writeFile(path.join(data, 'airlock.yaml'), config);
  const server = await startServer(t, data, { ...options, command: ['proxy', ...words] });
  return { ...server, data };
}
