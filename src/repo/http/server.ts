/**
 * The HTTP server of a conductor: repositories under `/repos/`, the API, health and metrics. Read only.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders, RequestListener, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { AirlockError } from '../../errors.ts';
import { limits as defaults } from '../../limits.ts';
import type { BlobStore } from '../blobs/blob-store.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { TrustedBlobs } from '../trusted-blobs.ts';
import { AccessLog, type LineSink } from './access-log.ts';
import { createApi } from './api.ts';
import { answerBeyond, type Beyond, targetOf } from './beyond.ts';
import { BufferPool } from './buffer-pool.ts';
import { answerAtOnce, isSent } from './content.ts';
import { ALLOW, answerError } from './error-answer.ts';
import type { Exchange } from './exchange.ts';
import { Front } from './front.ts';
import { HotSource } from './hot-source.ts';
import { type Logger, logFailure, logTrust } from './logger.ts';
import { MemoryCache } from './memory-cache.ts';
import { createMetrics } from './metrics.ts';
import { createServer } from './node-http.ts';
import {
  applyLimits,
  cutStuckClient,
  drain,
  type HttpLimits,
  serverOptions,
  startListening,
  urlOf,
} from './node-server.ts';
import type { ApiRoute } from './openapi.ts';
import { PublishedSource } from './published-source.ts';
import { ReplicaApi } from './replica.ts';
import { answerRepos } from './repositories.ts';
import { splitTarget } from './request-path.ts';
import type { TlsMaterial } from './tls.ts';
import { TlsServer } from './tls-server.ts';
import { Traffic } from './traffic.ts';

export interface HttpServerOptions {
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  /** Made from the two above if it is not given; the server closes only what it made. */
  readonly trusted?: TrustedBlobs;
  readonly logger: Logger;
  /** Gets one line of JSON for each request; without it there are none. */
  readonly accessLog?: LineSink;
  /** Without it, plain HTTP. */
  readonly tls?: TlsMaterial;
  /** Port 0: any that is free. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Bytes of small hot files kept in memory; 0: none. */
  readonly memoryCache: number;
  /** What is fetched from others. Without it, this server has only what is in its repositories. */
  readonly beyond?: Beyond;
  /** Further ones of the API. */
  readonly routes?: readonly ApiRoute[];
  /** A name of this process that no other has, for its HA twin. */
  readonly instance?: string;
  /** In place of those of limits.http. */
  readonly limits?: Partial<HttpLimits>;
}

export interface RunningServer {
  /** `http://127.0.0.1:8480` */
  readonly url: string;
  readonly port: number;
  /** Over TLS: with this from the next connection on. Those that are there go on. */
  readonly renewTls?: (tls: TlsMaterial) => void;
  /**
   * Stops: no new connections, idle ones closed, answers under way finished for up to limits.http.drainTimeout, then
   * cut. May be called twice. Catalog and blobs stay open: they are the caller's.
   */
  close(): Promise<void>;
}

/**
 * Starts the server.
 * @throws server.address-in-use, usage.invalid if the address is not one of this machine's or not allowed
 */
export async function startHttpServer(options: HttpServerOptions): Promise<RunningServer> {
  const { catalog, blobs, logger, listen, tls } = options;
  const trusted = options.trusted ?? new TrustedBlobs({ catalog, blobs, onEvent: (event) => logTrust(logger, event) });
  const parts = assemble(options, trusted);
  const { limits, state } = parts;
  const listener = createListener(parts);
  const secure =
    tls &&
    new TlsServer({ server: serverOptions(limits), tls, handshakeTimeout: limits.headersTimeout, logger }, listener);
  const server = secure?.server ?? createServer(serverOptions(limits), listener);
  applyLimits(server, limits);
  const { beyond } = options;
  if (beyond !== undefined) {
    server
      .removeAllListeners('connect')
      .on('connect', (request, socket: Socket, head) => beyond.tunnel(request, socket, head));
  }
  const front = new Front({ ...parts, source: parts.hot });
  front.attach(server, secure === undefined ? 'connection' : 'secureConnection');
  secure?.attach();
  await startListening(server, listen);
  server.on('error', (error) => logger.error({ error: error.message }, 'cannot accept connections'));

  const stop = async () => {
    state.isDraining = true;
    beyond?.cutTunnels();
    secure?.drain();
    await drain(server, front, limits.drainTimeout);
    parts.log?.flush();
    if (options.trusted === undefined) trusted.close();
  };
  let stopped: Promise<void> | undefined;
  const { port } = server.address() as AddressInfo;
  return {
    url: urlOf(secure === undefined ? 'http' : 'https', listen.host, port),
    port,
    ...(secure === undefined ? {} : { renewTls: (renewed: TlsMaterial) => secure.renew(renewed) }),
    close() {
      stopped ??= stop();
      return stopped;
    },
  };
}

type Parts = ReturnType<typeof assemble>;

function assemble(options: HttpServerOptions, trusted: TrustedBlobs) {
  const { catalog, logger, memoryCache, accessLog, limits, beyond, routes = [] } = options;
  const { instance = randomBytes(8).toString('hex') } = options;
  const all: HttpLimits = { ...defaults.http, ...limits };
  const memory = new MemoryCache(memoryCache, trusted);
  const pool = new BufferPool(all.buffers, all.smallBuffer);
  const traffic = new Traffic();
  const source = new PublishedSource({ catalog, trusted, memory });
  beyond?.keepInMemory(memory);
  return {
    catalog,
    logger,
    limits: all,
    pool,
    traffic,
    source,
    hot: new HotSource(source, beyond),
    log: accessLog && new AccessLog(accessLog),
    metrics: createMetrics({ traffic, memory, pool, trusted, catalog }, beyond),
    beyond,
    routes: [...(beyond?.routes ?? []), ...routes],
    replica: new ReplicaApi({ catalog, trusted, pool, instance }),
    state: { isDraining: false },
  };
}

const REPOS = '/repos/';
const UPSTREAMS = '/upstreams/';

function createListener(parts: Parts): RequestListener {
  const { catalog, logger, limits, traffic, hot, log, metrics, state, beyond, pool, routes, replica } = parts;
  const exchanges = new WeakMap<ServerResponse, Exchange>();
  const fail = (exchange: Exchange, error: unknown) => {
    logFailure(logger, exchange, error);
    answerError(exchange, error);
  };
  const isDraining = () => state.isDraining;
  const api = createApi({ catalog, metrics, exchanges, isDraining, fail, routes });

  const finish = ({ request, response, kind, bytes, started, remote, cache }: Exchange) => {
    const milliseconds = performance.now() - started;
    const { statusCode: status, writableEnded } = response;
    traffic.inFlight -= 1;
    traffic.count(kind, status, bytes, milliseconds);
    const { method = '', url = '', headers } = request;
    const { range } = headers;
    log?.add({ method, url, status, bytes, milliseconds, remote, range, cache, isAborted: !writableEnded });
  };

  const finishLater = (exchange: Exchange) => {
    const { response } = exchange;
    response.once('close', () => finish(exchange));
    response.on('timeout', (socket: Socket) => cutStuckClient(socket, limits.idleTimeout));
    response.setTimeout(limits.idleTimeout);
  };

  const answer = (exchange: Exchange) => {
    const { request, response } = exchange;
    finishLater(exchange);
    if (state.isDraining || hasBodyAbove(limits.requestBody, request.headers)) response.shouldKeepAlive = false;
    if (request.method === 'OPTIONS') {
      response.writeHead(204, ['Allow', ALLOW]).end();
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      fail(exchange, methodNotAllowed());
    } else {
      route(exchange).catch((error: unknown) => fail(exchange, error));
    }
  };

  const route = async (exchange: Exchange) => {
    const { request, response } = exchange;
    if (beyond !== undefined) request.url = targetOf(beyond, exchange);
    const { path, query } = splitTarget(request.url ?? '');
    if (path === '/repos' || path.startsWith(REPOS)) {
      await answerRepos(parts, exchange, path, query);
    } else if (beyond !== undefined && path.startsWith(UPSTREAMS)) {
      if (!(await answerBeyond({ beyond, pool }, exchange, path))) throw nowhere();
    } else if (!(await replica.answer(exchange, path, query))) {
      request.url = query === '' ? path : `${path}?${query}`;
      exchanges.set(response, exchange);
      api(request, response);
    }
  };

  return (request, response) => {
    traffic.inFlight += 1;
    const started = performance.now();
    const remote = request.socket.remoteAddress ?? '';
    const exchange: Exchange = { request, response, started, remote, kind: 'other', bytes: 0 };
    const { method, url = '' } = request;
    const isInRepos = url.startsWith(REPOS);
    const isPlain = method === 'GET' && (isInRepos || url.startsWith(UPSTREAMS)) && !state.isDraining;
    if (!isPlain || !answerAtOnce(hot, isInRepos ? url.slice(REPOS.length) : url, exchange)) answer(exchange);
    else if (isSent(response)) finish(exchange);
    else finishLater(exchange);
  };
}

/** A request with a body that is not worth skipping ends its connection. */
function hasBodyAbove(limit: number, headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > limit;
}

function nowhere(): AirlockError {
  return new AirlockError('path.not-found', 'None of the sources of this server has this path.');
}

function methodNotAllowed(): AirlockError {
  return new AirlockError(
    'http.method-not-allowed',
    'Nothing can be written over HTTP. Use GET or HEAD; contents change by the airlock command only.',
  );
}
