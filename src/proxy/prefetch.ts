/**
 * Fetching ahead of need: the vendor's "download" stage (vendor.md A6).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { BlobStat } from '../repo/blobs/blob-store.ts';
import { quote } from '../repo/formats/quote.ts';
import type { Progress } from '../repo/progress.ts';
import type { PullThrough } from './pull-through.ts';
import type { Sources } from './sources.ts';

const releasesSchema = z.array(
  z.object({ release: z.string(), version: z.string(), file: z.string(), repository: z.string(), path: z.string() }),
);

/**
 * The path that a person means.
 * @param what `/repos/…` or `/upstreams/…` as in a URL, else a release, version or file name: all conductors and the peer
 *   are asked which versions they have
 * @throws release.not-found, usage.ambiguous, upstream.* if nobody could be asked
 */
export async function pathMeant(what: string, sources: Sources, signal: AbortSignal): Promise<string> {
  const path = /^\/?((?:repos|upstreams)\/.+[^/])$/.exec(what)?.[1];
  if (path !== undefined) return path;
  const found = new Set<string>();
  let trouble: unknown;
  let answers = 0;
  for (const { kind, upstream, name } of sources.all) {
    if (kind === 'internet') continue;
    try {
      const answer = await upstream.fetch('api/v1/releases', { signal });
      if (answer.type !== 'content') continue;
      for (const each of await readReleases(answer.body, name)) {
        const isMeant = [each.release, each.version, each.file].includes(what);
        if (isMeant) found.add(`repos/${each.repository}/${each.path}`);
      }
      answers += 1;
    } catch (error) {
      signal.throwIfAborted();
      trouble = error;
    }
  }
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
  if (answers === 0 && trouble !== undefined) throw trouble;
  throw new AirlockError(
    'release.not-found',
    `None of the conductors has ${quote(what)}. Name a release that "airlock show system software available" shows there, or a path such as /repos/images/6.3/FILE.`,
  );
}

async function readReleases(body: AsyncIterable<Uint8Array>, name: string): Promise<z.output<typeof releasesSchema>> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.byteLength;
    if (length > limits.proxy.releases) break;
    pieces.push(piece);
  }
  try {
    return releasesSchema.parse(JSON.parse(Buffer.concat(pieces).toString()));
  } catch (cause) {
    throw new AirlockError('upstream.unusable', `${name} does not answer as a conductor does.`, { cause });
  }
}

export interface PrefetchOptions {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Between two looks at how far it is, milliseconds. */
  readonly lookEvery?: number;
}

/**
 * Fetches a path, with all the patience that limits.proxy allows: attempts, with growing delays between them.
 * @throws path.not-found where nobody has it, interrupted, what the last attempt failed with
 */
export async function prefetch(pull: PullThrough, path: string, options: PrefetchOptions): Promise<BlobStat> {
  const { signal, progress } = options;
  const { attempts, retryDelay, maxRetryDelay } = limits.proxy;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const stat = await watched(pull, path, options);
      if (stat !== undefined) return stat;
      throw new AirlockError('path.not-found', `No source has /${path}. See that it is written as in the URL.`);
    } catch (error) {
      signal.throwIfAborted();
      const mayPass = isAirlockError(error, 'upstream.unreachable', 'upstream.failed', 'upstream.changed');
      if (!mayPass || attempt >= attempts) throw error;
      const delay = Math.min(maxRetryDelay, retryDelay * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
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
    return await pull.pull(path, signal);
  } finally {
    clearInterval(look);
    progress.stop();
  }
}
