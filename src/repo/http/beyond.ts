/**
 * Content from beyond the repositories: what a server fetches from others, under `/upstreams/…`, under `/repos/…` where
 * no repository of its own holds the path, and for clients that use it as their proxy.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import os from 'node:os';
import type { Registry } from 'prom-client';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ArtifactSource, OpenArtifact, OpenOptions } from '../artifact-source.ts';
import type { BufferPool } from './buffer-pool.ts';
import { answerContent } from './content.ts';
import { type Exchange, sendText } from './exchange.ts';
import type { ListedItem } from './listing.ts';
import type { MemoryCache } from './memory-cache.ts';
import type { ApiRoute } from './openapi.ts';
import { originOf } from './repo-file.ts';
import { parsePath } from './request-path.ts';

export interface Beyond {
  /** By `repos/…` and `upstreams/<name>/…`; a folder ends with a slash. */
  readonly source: ArtifactSource;
  /** Small files that are asked for often shall be kept there. */
  keepInMemory(memory: MemoryCache): void;
  /**
   * Brings a file into memory that is here, current and small.
   * @returns undefined for all others
   */
  warm(path: string): Promise<OpenArtifact | undefined>;
  /**
   * What the target of a request to a proxy means (RFC 9112, 3.2.2).
   * @param isSelf whether a host and port are this server's own
   * @returns the path under which this server has it, beginning with a slash
   * @throws proxy.refused
   */
  pathOf(target: URL, isSelf: boolean): string;
  /**
   * What others show in a folder below `repos/`, and what was fetched of it.
   * @param folder `repos/images/6.3/`; `repos/` for the list of repositories
   * @returns undefined where nobody has such a folder, or there is nobody to ask
   * @throws upstream.* where nothing is known and nobody could be asked. The caller closes what it gets
   */
  list(
    folder: string,
    options: Pick<OpenOptions, 'cacheControl' | 'via' | 'signal'>,
  ): Promise<ListingBeyond | undefined>;
  /** Answers CONNECT, and takes over the connection. */
  tunnel(request: IncomingMessage, socket: Socket, head: Buffer): void;
  /** The server is about to stop, and waits for all connections to end. */
  cutTunnels(): void;
  readonly routes: readonly ApiRoute[];
  registerMetrics(registry: Registry): void;
}

/** A listing in the order of ours: folders first, names by their bytes. */
export interface ListingBeyond {
  /** Changes when what is shown changes. */
  readonly state: string;
  /** X-Cache, Cache-Status and Age: names and values in turn. */
  readonly headers: readonly string[];
  readonly items: AsyncIterable<ListedItem>;
  close(): Promise<void>;
}

interface Parts {
  readonly beyond: Beyond;
  readonly pool: BufferPool;
}

/**
 * The path that a request means, whether it is for this server or for another one through it.
 * @throws proxy.refused, http.bad-request
 */
export function targetOf(beyond: Beyond, exchange: Exchange): string {
  try {
    return readTarget(beyond, exchange.request);
  } catch (error) {
    noteFailure(exchange, error);
    throw error;
  }
}

function readTarget(beyond: Beyond, request: IncomingMessage): string {
  const target = request.url ?? '';
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(target)) return target;
  const url = URL.parse(target);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new AirlockError(
      'http.bad-request',
      'Only http:// and https:// addresses can be fetched through this server.',
    );
  }
  const port = Number(url.port || (url.protocol === 'http:' ? 80 : 443));
  const isSelf = port === request.socket.localPort && isThisMachine(url.hostname);
  return beyond.pathOf(url, isSelf);
}

function isThisMachine(name: string): boolean {
  const host = name.replace(/^\[|\]$/g, '').toLowerCase();
  if (host === 'localhost' || host === os.hostname().toLowerCase()) return true;
  return Object.values(os.networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === host));
}

/**
 * Answers GET and HEAD of a path that is fetched.
 * @param path as it stands in the request, with its slash in front
 * @returns false if nobody has it, and nothing was done
 */
export async function answerBeyond(parts: Parts, exchange: Exchange, path: string): Promise<boolean> {
  try {
    const isAnswered = await answerPath(parts, exchange, path);
    if (!isAnswered) exchange.cache = 'airlock; detail=missing';
    return isAnswered;
  } catch (error) {
    noteFailure(exchange, error);
    throw error;
  }
}

/** For the access log: why it was refused, or what became of an answer that had begun. */
export function noteFailure(exchange: Exchange, error: unknown): void {
  const detail = error instanceof AirlockError ? error.code : 'internal';
  exchange.cache = `${exchange.cache ?? 'airlock'}; detail=${detail}`;
}

async function answerPath({ beyond, pool }: Parts, exchange: Exchange, path: string): Promise<boolean> {
  const parsed = parsePath(path);
  if (parsed === undefined) return false;
  exchange.kind = parsed.isFolder ? 'listing' : 'content';
  const { segments, isFolder } = parsed;
  const [room, name, file, ...more] = segments;
  if (room === 'repos' && !isFolder && file === `${name}.repo` && more.length === 0) {
    return await answerRepoFile(beyond.source, segments.join('/'), exchange);
  }
  return await answerContent(beyond.source, `${segments.join('/')}${isFolder ? '/' : ''}`, exchange, pool);
}

/** A `.repo` file names the server from which it came; its reader shall come to us, too. */
async function answerRepoFile(source: ArtifactSource, path: string, exchange: Exchange): Promise<boolean> {
  // A peer that asks us is not to be asked in turn: each would wait for the other.
  const { 'cache-control': cacheControl, via } = exchange.request.headers;
  const asked = { ...(cacheControl === undefined ? {} : { cacheControl }), ...(via === undefined ? {} : { via }) };
  const artifact = await source.open(path, asked);
  if (artifact === undefined) return false;
  try {
    const buffer = Buffer.alloc(limits.http.smallBuffer);
    let length = 0;
    for (let read = 1; read > 0 && length < buffer.length; length += read) {
      read = await artifact.readAt(buffer.subarray(length), length);
    }
    exchange.cache = artifact.headers?.[3]; // Cache-Status
    const origin = originOf(exchange.request);
    const text = buffer.toString('utf8', 0, length).replace(/https?:\/\/[^/\s]+\/repos\//g, `${origin}/repos/`);
    const headers = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-cache', 'Vary', 'Host'];
    sendText(exchange, 200, text, [...headers, ...(artifact.headers ?? [])]);
    return true;
  } finally {
    await artifact.close();
  }
}
