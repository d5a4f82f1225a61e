/**
 * Fetching ahead of need: the vendor's "download" stage (vendor.md A6).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, isAirlockError } from '../errors.ts';
import type { BlobStat } from '../repo/blobs/blob-store.ts';
import { quote } from '../repo/formats/quote.ts';
import type { Progress } from '../repo/progress.ts';
import type { PullThrough } from './pull-through.ts';
import { retryDelay } from './rules.ts';
import type { Sources } from './sources.ts';
import { askVersions } from './versions.ts';

/**
 * The path that a person means.
 * @param what `/repos/…` or `/upstreams/…` as in a URL, else a release, version or file name: all conductors and the peer
 *   are asked which versions they have
 * @throws release.not-found, usage.ambiguous, upstream.* if nobody could be asked
 */
export async function pathMeant(what: string, sources: Sources, signal: AbortSignal): Promise<string> {
  const path = /^\/?((?:repos|upstreams)\/.+[^/])$/.exec(what)?.[1];
  if (path !== undefined) return path;
  const asked = (await askVersions(sources, signal)).filter(({ kind }) => kind !== 'internet');
  const versions = asked.flatMap(({ versions: all }) => all ?? []);
  const meant = versions.filter(({ release, version, file }) => [release, version, file].includes(what));
  const found = new Set(meant.map((each) => `repos/${each.repository}/${each.path}`));
  const [only, ...others] = found;
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) {
    const all = [...found].sort().map((each) => `/${each}`);
    throw new AirlockError(
      'usage.ambiguous',
      `${quote(what)} fits several files. Name one of them:\n${all.join('\n')}`,
      {
        details: { paths: all },
      },
    );
  }
  const trouble = asked.find((each) => each.error !== undefined)?.error;
  if (trouble !== undefined && asked.every(({ versions: all }) => all === null)) throw trouble;
  throw new AirlockError(
    'release.not-found',
    `None of the conductors has ${quote(what)}. Name a release that "airlock show system software available" shows there, or a path such as /repos/images/6.3/FILE.`,
  );
}

export interface PrefetchOptions {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Between two looks at how far it is, milliseconds. */
  readonly lookEvery?: number;
}

/**
 * Fetches a path, with all the patience that the rules allow: attempts, with growing delays between them.
 * @throws path.not-found where nobody has it, interrupted, what the last attempt failed with
 */
export async function prefetch(pull: PullThrough, path: string, options: PrefetchOptions): Promise<BlobStat> {
  const { signal, progress } = options;
  const { retry } = pull.rules;
  const startedAt = performance.now();
  for (let attempt = 1; ; attempt += 1) {
    try {
      const stat = await watched(pull, path, options);
      if (stat !== undefined) return stat;
      throw new AirlockError('path.not-found', `No source has /${path}. See that it is written as in the URL.`);
    } catch (error) {
      signal.throwIfAborted();
      const mayPass = isAirlockError(error, 'upstream.unreachable', 'upstream.failed', 'upstream.changed');
      const isOver = (retry.attempts > 0 && attempt >= retry.attempts) || performance.now() - startedAt > retry.timeout;
      if (!mayPass || isOver) throw error;
      const delay = retryDelay(retry, attempt);
      progress.note(`${error.message} Trying again in ${Math.ceil(delay / 1000)} s.`);
      await sleep(delay, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

async function watched(pull: PullThrough, path: string, options: PrefetchOptions): Promise<BlobStat | undefined> {
  const { signal, progress, lookEvery = 250 } = options;
  let seen: number | undefined;
  const look = setInterval(() => {
    const fill = pull.fills.get(path);
    if (fill === undefined) return;
    const done = fill.progress;
    if (seen === undefined) progress.start(path, fill.facts.size ?? undefined);
    progress.advance(done - (seen ?? 0));
    seen = done;
  }, lookEvery);
  try {
    return await pull.pull(path, { signal, isPatient: true });
  } finally {
    clearInterval(look);
    progress.stop();
  }
}
