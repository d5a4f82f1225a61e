/**
 * The schedule of a server. Each sync is a process of its own, the command that a person would give: the catalog's writes,
 * the hashing and the parsing of metadata are off the thread that serves, memory goes back to the system when it is done, and
 * whatever happens to it does not happen to the server.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App } from '../app.ts';
import { limits } from '../limits.ts';
import type { Logger } from '../repo/http/logger.ts';
import { lastSync } from '../sync/mirror/history.ts';
import { type Schedule, startSchedule } from '../sync/mirror/schedule.ts';
import type { SourceConfig } from './proxy.ts';

const CLI = path.join(path.dirname(import.meta.dirname), 'cli.ts');
/** Others come first. */
const NICE = 10;

/** @returns undefined where nothing is to be mirrored by the clock. The caller stops it. */
export function startSyncSchedule(
  app: App,
  sources: Pick<SourceConfig, 'offlineMode' | 'sourceType'>,
  logger: Logger,
): Schedule | undefined {
  const { config, catalog } = app;
  const every = config.schedule.upstreams;
  const names = Object.keys(config.upstreams).filter((name) => (config.upstreams[name]?.mirror.length ?? 0) > 0);
  // A sync is a process that knows the configuration, and not what the server was told beside it.
  const hasInternet = [sources, config].every((each) => !each.offlineMode && each.sourceType !== 'conductor-only');
  if (every === undefined || !hasInternet || names.length === 0) return undefined;
  return startSchedule({
    names,
    every,
    last: async (name) => (await lastSync(catalog, name, { isRunning: false }))?.startedAt,
    run: (name, signal) => runSync(app, name, logger, signal),
    failed: (upstream, error) =>
      logger.error({ upstream, error: String(error) }, 'a scheduled sync could not be begun'),
    now: Date.now,
    sleep: (time, stop) => sleep(time, undefined, { ref: false, signal: stop }).catch(() => undefined),
    random: Math.random,
  });
}

async function runSync(
  { dataDir, configFile }: App,
  upstream: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const config = configFile === undefined ? [] : ['--config', configFile];
  const args = [...process.execArgv, CLI, '--data', dataDir, ...config, 'upstream', 'sync', upstream];
  const started = performance.now();
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const said = lastWords(child);
  const end = once(child, 'close').catch((error: unknown) => [String(error)]);
  yieldTo(child);
  const stop = () => void endSoon(child, end);
  signal.addEventListener('abort', stop, { once: true });
  const [code] = (await end) as [number | string | null];
  signal.removeEventListener('abort', stop);
  const facts = { upstream, code, seconds: Math.round((performance.now() - started) / 1000) };
  if (code === 0) logger.info(facts, 'an upstream was mirrored');
  else logger.warn({ ...facts, said: said() }, 'a scheduled sync did not bring everything');
}

/** The end of what a process says on standard error; how much it says is up to the site. */
function lastWords(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    text = (text + piece).slice(-limits.mirror.stderr);
  });
  return () => text;
}

function yieldTo({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) os.setPriority(pid, NICE);
  } catch {
    // then it has its share as all others
  }
}

/** It keeps what it has come to, and ends; one that does not is ended. */
async function endSoon(child: ChildProcess, end: Promise<unknown>): Promise<void> {
  child.kill('SIGTERM');
  const ended = await Promise.race([end.then(() => true), sleep(limits.mirror.stopWait, false, { ref: false })]);
  if (!ended) child.kill('SIGKILL');
}
