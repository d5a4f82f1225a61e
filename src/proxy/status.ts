/**
 * What pull-through tells of itself: `/api/v1/sources`, `/api/v1/cache` and metrics.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import { z } from 'zod';
import type { ApiRoute } from '../repo/http/openapi.ts';
import type { Counters } from './counters.ts';
import type { Fill } from './fill.ts';
import type { Sources } from './sources.ts';
import type { KnownVersions, SourceVersions } from './versions.ts';

export interface StatusParts {
  readonly sources: Sources;
  readonly counters: Counters;
  readonly fills: ReadonlyMap<string, Fill>;
  readonly versions: KnownVersions;
}

const sourcesSchema = z.array(
  z.object({
    name: z.string(),
    kind: z.enum(['peer', 'conductor', 'internet']),
    origin: z.string(),
    state: z.enum(['used', 'left']).meta({ description: 'A source is left when most of its last requests failed.' }),
    requests: z.number().meta({ description: 'Of the last ones, how many are looked at.' }),
    failed: z.number(),
    trouble: z.string().nullable(),
  }),
);

const versionsSchema = z.array(
  z.object({
    source: z.string(),
    trouble: z.string().nullable(),
    versions: z
      .array(z.object({ release: z.string(), version: z.string(), file: z.string(), path: z.string() }))
      .nullable()
      .meta({ description: 'null: it could not be asked, or is a site on the internet, which has no such list.' }),
  }),
);

const cacheSchema = z.object({
  hits: z.number(),
  misses: z.number(),
  stale: z.number(),
  joined: z.number().meta({ description: 'Of all these, requests that waited for what another one had asked for.' }),
  hitRatio: z.number().nullable(),
  servedBytes: z.number().meta({ description: 'Found here: bytes that did not have to be fetched.' }),
  fetchedBytes: z.number(),
  stored: z.number(),
  mismatches: z.number(),
  refused: z.number(),
  fills: z.array(
    z.object({
      path: z.string(),
      source: z.string(),
      size: z.number().nullable(),
      done: z.number(),
      bytesPerSecond: z.number(),
      secondsLeft: z.number().nullable(),
      trouble: z.string().nullable(),
    }),
  ),
});

export function statusRoutes(parts: StatusParts): readonly ApiRoute[] {
  return [
    {
      path: '/api/v1/sources',
      summary: 'Where content may be fetched from, in order, and how well each of these places is.',
      schema: sourcesSchema,
      answer: async () => describeSources(parts.sources),
    },
    {
      path: '/api/v1/sources/versions',
      summary: 'Which of these places has which versions. All are asked, at most every few seconds.',
      schema: versionsSchema,
      answer: async () => (await parts.versions.get()).map(describeVersions),
    },
    {
      path: '/api/v1/cache',
      summary: 'What was fetched and found since the start, and what is being fetched.',
      schema: cacheSchema,
      answer: async () => describeCache(parts),
    },
  ];
}

function describeSources(sources: Sources): z.input<typeof sourcesSchema> {
  return sources.all.map(({ name, kind, upstream, health }) => ({
    name,
    kind,
    origin: upstream.origin,
    state: health.isLeft ? 'left' : 'used',
    requests: health.requests,
    failed: health.failed,
    trouble: health.trouble,
  }));
}

function describeVersions({ name, versions, error }: SourceVersions): z.input<typeof versionsSchema>[number] {
  const shown = versions?.map(({ release, version, file, repository, path }) => ({
    release,
    version,
    file,
    path: `/repos/${repository}/${path}`,
  }));
  return { source: name, trouble: error?.message ?? null, versions: shown ?? null };
}

function describeCache({ counters, fills }: StatusParts): z.input<typeof cacheSchema> {
  const { hits, misses, stale, joined, hitBytes, fetched, stored, mismatches, refused } = counters;
  const requests = hits + misses + stale;
  return {
    hits,
    misses,
    stale,
    joined,
    hitRatio: requests === 0 ? null : (hits + stale) / requests,
    servedBytes: hitBytes,
    fetchedBytes: fetched,
    stored,
    mismatches,
    refused,
    fills: [...fills].map(([path, fill]) => {
      const seconds = (performance.now() - fill.startedAt) / 1000;
      const bytesPerSecond = Math.round(fill.received / Math.max(seconds, 0.001));
      const { size } = fill.facts;
      const done = fill.progress;
      return {
        path,
        source: fill.source,
        size,
        done,
        bytesPerSecond,
        secondsLeft: size === null || bytesPerSecond === 0 ? null : Math.ceil((size - done) / bytesPerSecond),
        trouble: fill.trouble,
      };
    }),
  };
}

/** Makes metrics that are read when they are asked for. */
export function registerMetrics(registry: Registry, { counters, fills, sources }: StatusParts): void {
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name: `airlock_proxy_${name}_total`,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  counter('hits', 'Requests answered from what was kept.', () => counters.hits);
  counter('misses', 'Requests for which content had to be fetched, or was being fetched.', () => counters.misses);
  counter('stale', 'Requests answered from what was kept because no source could be asked.', () => counters.stale);
  counter('joined', 'Requests that waited for what another one had asked for.', () => counters.joined);
  counter('missing', 'Requests for what no source has.', () => counters.missing);
  counter('hit_bytes', 'Bytes of content that was found here.', () => counters.hitBytes);
  counter('fetched_bytes', 'Bytes fetched from sources.', () => counters.fetched);
  counter('stored', 'Files fetched and kept.', () => counters.stored);
  counter('mismatches', 'Files thrown away because of a wrong digest.', () => counters.mismatches);
  counter('refused', 'Answers and requests that were refused.', () => counters.refused);
  counter('unproven', 'Answers that ended before what they carried was proven.', () => counters.unproven);
  counter('evicted', 'Fetched files that made room for others.', () => counters.evicted);
  counter('failed_fills', 'Files that could not be fetched to their end.', () => counters.failedFills);
  counter('abandoned_fills', 'Files that were not fetched on because nobody waited.', () => counters.abandoned);
  new Gauge({
    name: 'airlock_proxy_fills',
    help: 'Files being fetched.',
    registers: [registry],
    collect() {
      this.set(fills.size);
    },
  });
  new Gauge({
    name: 'airlock_proxy_source_up',
    help: '1 for a source that is used, 0 for one that was left.',
    labelNames: ['source'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, health } of sources.all) this.set({ source: name }, health.isLeft ? 0 : 1);
    },
  });
}
