/** Questions to a running server: that of this data directory, or another one. */
import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import { certificates } from '../app/upstream-sites.ts';
import type { App } from '../app.ts';
import { formatAddress } from '../config/values.ts';
import type { Config } from '../config.ts';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';

type Node = Pick<App, 'dataDir' | 'config'>;

/** Longer than any answer takes, milliseconds. */
const PATIENCE = 30_000;
/** Characters of an answer that a message repeats. */
const MOST_SAID = 500;

/**
 * Asks the API.
 * @param base of a server; undefined: that of this data directory, on this machine
 * @throws upstream.unreachable, upstream.failed, config.invalid for certificates that cannot be read
 */
export async function askServer<T>(node: Node, base: string | undefined, path: string): Promise<T> {
  const url = new URL(path, base ?? localUrl(node.config));
  const { status, body } = await get(url, url.protocol === 'https:' ? await trust(node, base === undefined) : {}).catch(
    (cause: unknown) => {
      if (isAirlockError(cause)) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new AirlockError(
        'upstream.unreachable',
        `No server answers at ${url.origin} (${why}). Start one with "airlock proxy"; if it listens elsewhere than the configuration says, name it with --url URL.`,
        { cause },
      );
    },
  );
  if (status === 200) return parsed<T>(body, url);
  const why =
    status === 403
      ? `It refuses this client (403). ${body.trim().slice(0, MOST_SAID)}`
      : `The server at ${url.origin} fetches from nobody (${status} at ${url.pathname}). Name another one with --url URL.`;
  throw new AirlockError('upstream.failed', why);
}

/** @throws upstream.failed: somebody else answers, such as the login page of a network */
function parsed<T>(body: string, url: URL): T {
  try {
    return JSON.parse(body) as T;
  } catch (cause) {
    throw noAirlock(url, `no JSON at ${url.pathname}`, cause);
  }
}

function noAirlock({ origin }: URL, why: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'upstream.failed',
    `What answers at ${origin} is no Airlock (${why}). Name the server with --url URL, and see that no proxy or login page stands before it.`,
    { cause },
  );
}

/**
 * Our own server is the one that shows the certificate of our configuration, whatever its names are; others are vouched for as
 * conductors are.
 */
async function trust({ dataDir, config }: Node, isOwn: boolean): Promise<RequestOptions> {
  const { identity, ...others } = await certificates(dataDir, config);
  const shown = identity === undefined ? {} : { cert: identity.certificate, key: identity.key };
  if (!isOwn || config.tls === undefined) return { ...others, ...shown };
  const { readTls } = await import('../repo/http/tls.ts');
  const { certificate, context } = await readTls(dataDir, config.tls);
  const { cert, key } = context;
  return {
    ca: certificate,
    allowPartialTrustChain: true,
    checkServerIdentity: () => undefined,
    ...(identity === undefined ? { cert, key } : shown),
  };
}

async function get(url: URL, options: RequestOptions): Promise<{ status: number; body: string }> {
  const { request } = process.getBuiltinModule(url.protocol === 'https:' ? 'node:https' : 'node:http');
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const asked = request(url, { ...options, agent: false, signal: AbortSignal.timeout(PATIENCE) });
    asked.once('response', resolve).once('error', reject).end();
  });
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > limits.apiAnswer) throw noAirlock(url, `more than ${limits.apiAnswer} bytes at ${url.pathname}`);
    pieces.push(piece);
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString('utf8') };
}

function localUrl({ listen: { host, port }, tls }: Config): string {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `${tls === undefined ? 'http' : 'https'}://${formatAddress({ host: name, port })}`;
}
