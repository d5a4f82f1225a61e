/**
 * Everything but content: the API, health, metrics and the front page, by Express.
 */
import type { ServerResponse } from 'node:http';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { Registry } from 'prom-client';
import { AirlockError } from '../../errors.ts';
import { describeReleases } from '../available.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Catalog, Entry, ReleaseFilter } from '../catalog/catalog.ts';
import * as schemas from './api-schemas.ts';
import type { Exchange, RequestClass } from './exchange.ts';
import { type ApiRoute, openApi } from './openapi.ts';

export interface ApiParts {
  readonly catalog: Catalog;
  /** Metrics in Prometheus' text format. */
  readonly metrics: () => Promise<string>;
  readonly isDraining: () => boolean;
  /** The exchange that a response belongs to; every one that comes here is in it. */
  readonly exchanges: { get(response: ServerResponse): Exchange | undefined };
  /** Further ones. */
  readonly routes: readonly ApiRoute[];
  /** Answers with an error. */
  readonly fail: (exchange: Exchange, error: unknown) => void;
}

export function createApi({ catalog, metrics, isDraining, exchanges, fail, routes: more }: ApiParts): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('query parser', 'simple');
  app.use((request, response, next) => {
    const exchange = exchanges.get(response);
    if (exchange !== undefined) observe(exchange, request.path);
    response.set({ 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-cache' });
    next();
  });

  const routes = [...apiRoutes(catalog), ...more];
  for (const { path, schema, answer } of routes) {
    app.get(path, async (request, response) => {
      response.json(schema.parse(await answer(request)));
    });
  }
  const document = openApi(routes);
  app.get('/api/v1/openapi.json', (_request, response) => {
    response.json(document);
  });
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'alive' });
  });
  app.get('/readyz', async (_request, response) => {
    if (isDraining()) throw new AirlockError('http.draining', 'This server is about to stop.');
    await catalog.repositories();
    response.json({ status: 'ready' });
  });
  app.get('/metrics', async (_request, response) => {
    response.type(Registry.PROMETHEUS_CONTENT_TYPE).send(await metrics());
  });
  app.get('/', (_request, response) => {
    response.type('html').send(FRONT_PAGE);
  });
  app.use(() => {
    throw new AirlockError('path.not-found', 'There is nothing here. Files are under /repos/, the API under /api/v1/.');
  });
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    const exchange = exchanges.get(response);
    if (exchange !== undefined) fail(exchange, error);
  });
  return app;
}

const CLASSES: ReadonlyMap<string, RequestClass> = new Map([
  ['', 'page'],
  ['api', 'api'],
  ['healthz', 'health'],
  ['readyz', 'health'],
  ['metrics', 'metrics'],
]);

/** For the counters. Express writes bodies itself, so their length is read from the header. */
function observe(exchange: Exchange, path: string): void {
  const { request, response } = exchange;
  exchange.kind = CLASSES.get(path.split('/')[1] ?? '') ?? 'other';
  response.once('finish', () => {
    if (request.method !== 'HEAD') exchange.bytes += Number(response.getHeader('content-length') ?? 0);
  });
}

function apiRoutes(catalog: Catalog): readonly ApiRoute[] {
  return [
    {
      path: '/api/v1/releases',
      summary: 'Releases that can be installed from here, newest first.',
      query: { release: 'Only this release, such as 6.3.' },
      schema: schemas.releases,
      answer: async ({ query }) => describeReleases(await catalog.releases(releaseFilter(query))),
    },
    {
      path: '/api/v1/repositories',
      summary: 'All repositories.',
      schema: schemas.repositories,
      answer: async () => (await catalog.repositories()).map(withInstant),
    },
    {
      path: '/api/v1/repositories/:name',
      summary: 'A repository with its revisions.',
      parameters: { name: 'As in /repos/NAME/.' },
      schema: schemas.repositoryWithRevisions,
      answer: async ({ params }) => await describeRepository(catalog, String(params.name)),
    },
    {
      path: '/api/v1/artifacts/:digest',
      summary: 'What is known of stored bytes: where they are published, and what vouches for them.',
      parameters: { digest: 'sha256: and 64 hexadecimal digits.' },
      schema: schemas.artifact,
      answer: async ({ params }) => await describeArtifact(catalog, String(params.digest)),
    },
  ];
}

function releaseFilter({ release }: Request['query']): ReleaseFilter {
  return typeof release === 'string' ? { release } : {};
}

/** JSON has no dates. */
function withInstant<T extends { readonly createdAt: Date }>(thing: T): Omit<T, 'createdAt'> & { createdAt: string } {
  return { ...thing, createdAt: thing.createdAt.toISOString() };
}

/** @throws repository.not-found */
async function describeRepository(catalog: Catalog, name: string): Promise<unknown> {
  const repository = await catalog.repository(name);
  if (repository === undefined) {
    throw new AirlockError('repository.not-found', 'There is no such repository. /api/v1/repositories lists them all.');
  }
  return { ...withInstant(repository), revisions: (await catalog.revisions(name)).map(withInstant) };
}

/** @throws http.bad-request, digest.not-found */
async function describeArtifact(catalog: Catalog, digest: string): Promise<unknown> {
  if (!isDigest(digest)) {
    throw new AirlockError('http.bad-request', 'A digest is "sha256:" and 64 lower-case hexadecimal digits.');
  }
  const record = await catalog.blob(digest);
  if (record === undefined) throw new AirlockError('digest.not-found', 'No bytes with this digest are stored here.');
  const entries = await catalog.entriesOf(digest);
  return {
    digest,
    size: record.size,
    storedSince: record.addedAt.toISOString(),
    verifiedAt: record.verifiedAt?.toISOString() ?? null,
    published: entries.map(describePlace),
  };
}

function describePlace({ repository, path, since, modified, artifact }: Entry): unknown {
  const { name, kind, channel, source, facts, verification } = artifact;
  const place = { repository, path, revision: since, modified: modified.toISOString() };
  return { ...place, name, kind, channel, source, facts, verification };
}

function isDigest(text: string): text is Digest {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}

const FRONT_PAGE = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Airlock</title></head>
<body><h1>Airlock</h1>
<p>Offline repository and air-gap mirror for the software of network fleets.</p>
<ul>
<li><a href="/repos/">/repos/</a>: images, packages and policies</li>
<li><a href="/api/v1/releases">/api/v1/releases</a>: what can be installed from here</li>
<li><a href="/api/v1/openapi.json">/api/v1/openapi.json</a>: the API</li>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
</ul></body></html>
`;
