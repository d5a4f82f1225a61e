import http from 'node:http';
import https from 'node:https';
import got, { type Got, type OptionsInit, RequestError, TimeoutError } from 'got';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { assertMayReach, guardedLookup, hostOf } from './addresses.ts';
import { type DirectBody, DirectHttpAgent, DirectHttpsAgent, directBody, pieces } from './direct-body.ts';
import { readContentRange, readFacts, readLength } from './response-facts.ts';
import type { FetchOptions, Upstream, UpstreamAnswer, UpstreamBody, UpstreamFacts } from './upstream.ts';

export interface HttpUpstreamOptions extends Credentials {
  /** `https://host/base`. Paths go below it. Without credentials. */
  readonly url: string;
  /** Further hosts that may be on any address, beside that of `url`. */
  readonly hosts?: readonly string[];
  /** `http://host:port` of a proxy through which to go. */
  readonly proxy?: string;
  /** Names us in Via (RFC 9110, 7.6.3). */
  readonly via?: string;
  /** In place of those of limits.proxy. */
  readonly limits?: Partial<UpstreamLimits>;
}

/** How we introduce ourselves, and how we know the other side. */
export interface Credentials {
  /** Basic authentication; sent to the origin of `url` only. */
  readonly username?: string;
  readonly password?: string;
  /** Certificates in PEM that vouch for the origin of `url`, in place of those of the system. */
  readonly ca?: string;
  /** Our own certificate and its private key in PEM; shown to the origin of `url` only. */
  readonly identity?: { readonly certificate: string; readonly key: string };
}

type UpstreamLimits = {
  readonly [K in 'connectTimeout' | 'answerTimeout' | 'idleTimeout' | 'redirects' | 'directFrom']: number;
};

/** What got's stream tells of an answer: the message itself, with the URL that it came from in the end. */
type Head = http.IncomingMessage & { readonly url: string };

/**
 * Fetches over HTTP. Names are looked up anew for each connection. Redirects are followed, without credentials to any
 * other origin, never from https to http, and never to an inner address that the configuration does not name.
 */
export class HttpUpstream implements Upstream {
  readonly origin: string;
  readonly #base: string;
  readonly #via: string | undefined;
  readonly #limits: HttpUpstreamOptions['limits'];
  #client: Got;
  readonly #agents: readonly [http.Agent, https.Agent];
  readonly #mayBeInner: (host: string) => boolean;
  readonly #directFrom: number;

  /** @throws config.invalid if `url` or `proxy` is no URL of HTTP */
  constructor(options: HttpUpstreamOptions) {
    const url = httpUrl(options.url);
    const proxy = options.proxy === undefined ? undefined : httpUrl(options.proxy);
    this.origin = url.origin;
    this.#via = options.via;
    this.#base = url.href.replace(/\/*$/, '/');
    const named = new Set([hostOf(url), ...(options.hosts ?? []), ...(proxy === undefined ? [] : [hostOf(proxy)])]);
    this.#mayBeInner = (host) => named.has(host.toLowerCase());
    this.#agents = agents(proxy);
    this.#directFrom = options.limits?.directFrom ?? limits.proxy.directFrom;
    this.#limits = options.limits;
    this.#client = this.#makeClient(url, options);
  }

  /** From the next request on. Connections belong to the certificates with which they were made: others are used then. */
  renew(credentials: Credentials): void {
    this.#client = this.#makeClient(new URL(this.#base), credentials);
  }

  address(path: string): string {
    return `${this.#base}${path}`;
  }

  async head(path: string, options: FetchOptions = {}): Promise<UpstreamFacts | undefined> {
    const { head, stream } = await this.#ask(path, 'HEAD', options);
    stream.resume();
    const status = head.statusCode ?? 0;
    if (this.#isFolder(path, head.url) || isMissing(status, options.onlyIfCached)) return undefined;
    if (status !== 200) throw this.#unusual(status, path);
    return readFacts(head.headers, readLength(head.headers['content-length']) ?? null);
  }

  async fetch(path: string, options: FetchOptions = {}): Promise<UpstreamAnswer> {
    const { head, stream } = await this.#ask(path, 'GET', options);
    try {
      const answer = this.#read(path, head, options);
      if (answer.type !== 'content') {
        stream.destroy();
        return answer;
      }
      const direct = directBody(head, this.#directFrom);
      if (direct !== undefined) stream.on('error', (error) => direct.fail(error));
      return { ...answer, body: this.#body(stream, path, direct) };
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }

  #makeClient(url: URL, { username, password, ca, identity }: Credentials): Got {
    const { connectTimeout, answerTimeout, idleTimeout, redirects } = { ...limits.proxy, ...this.#limits };
    const [httpAgent, httpsAgent] = this.#agents;
    return got.extend({
      agent: { http: httpAgent, https: httpsAgent },
      dnsLookup: guardedLookup(this.#mayBeInner) as NonNullable<OptionsInit['dnsLookup']>,
      decompress: false,
      throwHttpErrors: false,
      retry: { limit: 0 },
      maxRedirects: redirects,
      maxHeaderSize: limits.proxy.headerBytes,
      timeout: {
        lookup: connectTimeout,
        connect: connectTimeout,
        secureConnect: connectTimeout,
        response: answerTimeout,
        socket: idleTimeout,
      },
      headers: {
        'user-agent': 'airlock',
        'accept-encoding': 'identity',
      },
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      https: { ...(ca === undefined ? {} : { certificateAuthority: ca }), ...identity },
      hooks: {
        beforeRedirect: [
          (next, response) => {
            const from = new URL(response.url);
            const to = new URL(String(next.url));
            if (from.protocol === 'https:' && to.protocol !== 'https:') throw downgraded(from, to);
            assertMayReach(to, this.#mayBeInner);
            if (to.origin === url.origin) return;
            // got has taken the credentials away; the certificates are for our own origin, too
            next.username = '';
            next.password = '';
            delete next.headers.authorization;
            next.https.certificateAuthority = undefined;
            next.https.certificate = undefined;
            next.https.key = undefined;
          },
        ],
      },
    });
  }

  /** A connection that the other side closed while it was kept is found out by using it: then a new one is made. */
  async #ask(path: string, method: 'GET' | 'HEAD', options: FetchOptions) {
    assertMayReach(new URL(this.#base), this.#mayBeInner);
    try {
      return await this.#askOnce(path, method, options).catch((error: unknown) => {
        if (error instanceof RequestError && (error.code === 'ECONNRESET' || error.code === 'EPIPE')) {
          return this.#askOnce(path, method, options);
        }
        throw error;
      });
    } catch (error) {
      throw this.#failure(error, path);
    }
  }

  async #askOnce(path: string, method: 'GET' | 'HEAD', options: FetchOptions) {
    const { signal } = options;
    signal?.throwIfAborted();
    const stream = this.#client.stream(`${this.#base}${path}`, {
      method,
      headers: { ...requestHeaders(options), ...viaHeader(options.via, this.#via) },
      ...(signal === undefined ? {} : { signal }),
    });
    try {
      const head = await new Promise<Head>((resolve, reject) => {
        stream.once('response', resolve).once('error', reject);
      });
      stream.on('error', () => undefined); // whoever reads hears of it
      return { head, stream };
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  /** @throws upstream.*; the body is not read then */
  #read(path: string, { statusCode: status = 0, headers, url }: Head, options: FetchOptions) {
    if (this.#isFolder(path, url) || isMissing(status, options.onlyIfCached)) return { type: 'missing' as const };
    if (status === 304 && options.unless !== undefined) {
      return { type: 'not-modified' as const, facts: readFacts(headers, null) };
    }
    if (status === 416) throw this.#changed(path);
    if (status !== 200 && status !== 206) throw this.#unusual(status, path);
    const encoding = headers['content-encoding']?.toLowerCase() ?? 'identity';
    // Servers that call the compression of a .gz file an encoding send the file's own bytes all the same.
    const isOwn = /^(?:x-)?gzip$/.test(encoding) && /\.t?gz$/.test(path);
    if (encoding !== 'identity' && !isOwn) {
      throw this.#unusable(path, `it is encoded as ${JSON.stringify(encoding)}, which was not asked for`);
    }
    const length = readLength(headers['content-length']) ?? null;
    if (status === 200) return { type: 'content' as const, facts: readFacts(headers, length), range: null };
    const part = readContentRange(headers['content-range']);
    const { start = 0, end = Number.POSITIVE_INFINITY } = options;
    const fits =
      part !== undefined &&
      part.range.start === start &&
      part.range.end <= end &&
      (length === null || length === part.range.end - part.range.start);
    if (!fits) throw this.#unusable(path, 'it is another range than the one that was asked for');
    return { type: 'content' as const, facts: readFacts(headers, part.size), range: part.range };
  }

  /** A folder is no file, though asking for one as if it were leads to its listing. */
  #isFolder(path: string, url: string): boolean {
    if (path === '' || path.endsWith('/')) return false;
    return new URL(url).pathname === `${new URL(this.address(path)).pathname}/`;
  }

  #body(
    stream: AsyncIterable<Uint8Array> & { destroy(): void },
    path: string,
    direct: DirectBody | undefined,
  ): UpstreamBody {
    const failure = (error: unknown) => this.#failure(error, path);
    return {
      async *[Symbol.asyncIterator]() {
        try {
          yield* direct === undefined ? stream : pieces(direct);
        } catch (error) {
          throw failure(error);
        }
      },
      ...(direct === undefined
        ? {}
        : {
            read: (into, least) =>
              direct.read(into, least).catch((error: unknown) => {
                throw failure(error);
              }),
          }),
      destroy: () => stream.destroy(),
    };
  }

  /** got wraps what lookups and hooks throw. */
  #failure(error: unknown, path: string): AirlockError {
    for (let each: unknown = error; each instanceof Error; each = each.cause) {
      if (isAirlockError(each)) return each;
    }
    const { message, name } = error instanceof Error ? error : new Error(String(error));
    const code = codeOf(error);
    if (name === 'AbortError') {
      return new AirlockError('interrupted', `Fetching ${this.address(path)} was interrupted.`, { cause: error });
    }
    const isFar =
      error instanceof TimeoutError ||
      UNREACHABLE.has(code ?? '') ||
      /^(?:ERR_TLS|CERT_|UNABLE_|DEPTH_)/.test(code ?? '');
    const details = { origin: this.origin, ...(code === undefined ? {} : { reason: code }) };
    return isFar
      ? new AirlockError(
          'upstream.unreachable',
          `${this.address(path)} cannot be reached (${message}). See that the name, the network and the certificate are right; what was fetched is kept, and gone on with.`,
          { cause: error, details },
        )
      : new AirlockError(
          'upstream.failed',
          `${this.address(path)} broke off (${message}). What was fetched is kept; ask again to go on.`,
          { cause: error, details },
        );
  }

  #unusual(status: number, path: string): AirlockError {
    const details = { origin: this.origin, status };
    if (status === 401 || status === 403 || status === 407) {
      return new AirlockError(
        'upstream.unauthorized',
        `${this.address(path)} refuses us (${status}). Check username and password of this upstream in the configuration, or clientCertificate where it asks for one.`,
        { details },
      );
    }
    return new AirlockError(
      'upstream.failed',
      `${this.address(path)} answered with status ${status}. Try again later, or ask whoever runs it.`,
      { details },
    );
  }

  #unusable(path: string, why: string): AirlockError {
    return new AirlockError(
      'upstream.unusable',
      `What ${this.address(path)} answered is not that file: ${why}. Nothing of it was kept.`,
      { details: { origin: this.origin } },
    );
  }

  #changed(path: string): AirlockError {
    return new AirlockError(
      'upstream.changed',
      `${this.address(path)} is not the file any more that it was. It is fetched anew; ask again.`,
      { details: { origin: this.origin } },
    );
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EHOSTDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EADDRNOTAVAIL',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'EPROTO',
]);

function isMissing(status: number, onlyIfCached = false): boolean {
  return status === 404 || status === 410 || (status === 504 && onlyIfCached);
}

/** RFC 9110, 7.6.3. What others wrote is cut where it is long. */
function viaHeader(before: string | undefined, own: string | undefined): Record<string, string> {
  const all = [before?.slice(-1024), own && `1.1 ${own}`].filter(Boolean).join(', ');
  return all === '' ? {} : { via: all };
}

function requestHeaders({ start = 0, end, validator, unless, onlyIfCached }: FetchOptions): Record<string, string> {
  const isRange = start > 0 || end !== undefined;
  return {
    ...(isRange ? { range: `bytes=${start}-${end === undefined ? '' : end - 1}` } : {}),
    ...(isRange && validator != null ? { 'if-range': validator } : {}),
    ...(unless?.etag == null ? {} : { 'if-none-match': unless.etag }),
    ...(unless?.modified == null ? {} : { 'if-modified-since': unless.modified.toUTCString() }),
    ...(onlyIfCached === true ? { 'cache-control': 'only-if-cached' } : {}),
  };
}

/** Without an outgoing proxy, that of the environment counts for nothing: what we dial stands in the configuration. */
function agents(proxy: URL | undefined): [http.Agent, https.Agent] {
  const options = {
    keepAlive: true,
    maxSockets: limits.proxy.connections,
    maxFreeSockets: limits.proxy.idleConnections,
  };
  if (proxy === undefined) return [new DirectHttpAgent(options), new DirectHttpsAgent(options)];
  const through = { ...options, proxyEnv: { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href } };
  return [new http.Agent(through), new https.Agent(through)];
}

function httpUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return url;
  throw new AirlockError(
    'config.invalid',
    'The URL of an upstream cannot be used. Write http://HOST[:PORT][/PATH] or https://…, with user name and password in keys of their own.',
  );
}

function downgraded(from: URL, to: URL): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `${from.origin} sends from https to ${to.origin}, where anybody on the way could change the file. Nothing was fetched.`,
  );
}
