import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { isAirlockError } from '../../src/errors.ts';
import { PullThrough, type PullThroughParts } from '../../src/proxy/pull-through.ts';
import { DEFAULT_RULES, type ProxyRules, type RetryRules } from '../../src/proxy/rules.ts';
import { Health, type Source, Sources, type SourcesOptions } from '../../src/proxy/sources.ts';
import type { ArtifactSource, OpenArtifact, OpenOptions } from '../../src/repo/artifact-source.ts';
import { TrustedBlobs } from '../../src/repo/trusted-blobs.ts';
import { HttpUpstream, type HttpUpstreamOptions } from '../../src/repo/upstream/http-upstream.ts';
import { type LogLine, recordingLogger, TestRepository, until } from '../repo/http/support.ts';
import type { Origin } from '../support/origin.ts';

/** Patience for tests. */
export const QUICK = { attempts: 3, firstDelay: 20, maxDelay: 40, abandonAfter: 50 };

/** A source at a test's own server. */
export function sourceAt(
  origin: Pick<Origin, 'url'>,
  kind: Source['kind'] = 'conductor',
  options: Partial<HttpUpstreamOptions> = {},
): Source {
  const upstream = new HttpUpstream({ url: origin.url, ...options });
  return { name: `${kind} ${origin.url}`, kind, upstream, health: new Health() };
}

export interface Scene {
  readonly repository: TestRepository;
  readonly pull: PullThrough;
  readonly log: LogLine[];
  readonly trusted: TrustedBlobs;
  /** Milliseconds since the epoch, as the cache sees it. */
  clock: number;
}

export type SceneOptions = Partial<SourcesOptions> &
  Partial<Omit<PullThroughParts, 'rules'>> &
  Partial<Omit<ProxyRules, 'retry'>> & { retry?: Partial<RetryRules>; repository?: TestRepository };

/** A pull-through cache on a data directory of its own; ended after the test. */
export async function scene(t: TestContext, options: SceneOptions = {}): Promise<Scene> {
  const repository = options.repository ?? (await TestRepository.make(t));
  const { catalog, blobs } = repository;
  const sources = new Sources({
    conductors: [],
    internet: new Map(),
    sourceType: 'prefer-conductor',
    offlineMode: false,
    ...options,
  });
  const log: LogLine[] = [];
  const trusted = new TrustedBlobs({ catalog, blobs });
  const made = { repository, log, trusted, clock: Date.UTC(2030, 0, 1) };
  const { repository: _, ...parts } = options;
  const pull = new PullThrough({
    sources,
    catalog,
    blobs,
    trusted,
    logger: recordingLogger(log),
    now: () => made.clock,
    ...parts,
    rules: { ...DEFAULT_RULES, ...parts, retry: { ...DEFAULT_RULES.retry, ...QUICK, ...parts.retry } },
  });
  t.after(async () => {
    await pull.close();
    sources.close();
    trusted.close();
  });
  return Object.assign(made, { pull });
}

/** What a client would get: the bytes of a range, or of all. */
export async function read(
  source: ArtifactSource,
  path: string,
  options: OpenOptions & { from?: number; to?: number } = {},
): Promise<{ bytes: Buffer; artifact: OpenArtifact; cache: string | undefined }> {
  const { from = 0, to = Number.POSITIVE_INFINITY, ...rest } = options;
  const range = from === 0 && to === Number.POSITIVE_INFINITY ? {} : { range: { start: from, end: to } };
  const artifact = await source.open(path, { ...range, ...rest });
  if (artifact === undefined) throw new Error(`${path} is nowhere`);
  try {
    return { bytes: await readFrom(artifact, from, to), artifact, cache: artifact.headers?.[1] };
  } finally {
    await artifact.close();
  }
}

export async function readFrom(artifact: OpenArtifact, from = 0, to = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let at = from; at < to; ) {
    const buffer = Buffer.alloc(Math.min(65_536, to - at));
    const length = await artifact.readAt(buffer, at);
    if (length === 0) break;
    pieces.push(buffer.subarray(0, length));
    at += length;
  }
  return Buffer.concat(pieces);
}

/** A source cuts this read, which has begun, and will not go on: it fails. Then the source is well again. */
export async function breaksOff(origin: Origin, reading: Promise<unknown>): Promise<void> {
  const failed = assert.rejects(reading, (error) => isAirlockError(error, 'upstream.failed'));
  await until('it has begun', () => origin.asked.some(({ sent }) => sent > 0));
  origin.broken = 503;
  await failed;
  origin.broken = undefined;
}
