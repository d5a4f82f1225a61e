/**
 * The limits of Node's own HTTP server, how it starts and how it stops.
 *
 * The parser stays strict: requests with both Content-Length and Transfer-Encoding, bare CRs, spaces before colons
 * and the like are answered 400 and the connection is closed, by Node itself.
 */
import type { Server, ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import os from 'node:os';
import { AirlockError, systemCode } from '../../errors.ts';
import type { limits } from '../../limits.ts';
import { ALLOW } from './error-answer.ts';
import type { Front } from './front.ts';

export type HttpLimits = { readonly [K in keyof typeof limits.http]: number };

/** Options for `createServer`. */
export function serverOptions(limits: HttpLimits): ServerOptions {
  return {
    insecureHTTPParser: false,
    requireHostHeader: true,
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeout,
    requestTimeout: limits.requestTimeout,
    connectionsCheckingInterval: Math.min(5000, Math.ceil(limits.headersTimeout / 4)),
    keepAliveTimeout: limits.keepAliveTimeout,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    noDelay: true,
    optimizeEmptyRequests: true,
  };
}

export function applyLimits(server: Server, limits: HttpLimits): void {
  server.maxHeadersCount = limits.headerFields;
  server.maxConnections = limits.connections;
  server.on('connect', (_request, socket: Socket) => refuseTunnel(socket));
}

/**
 * For the `timeout` of a response whose bytes come from elsewhere: nothing moved on the connection for so long. If
 * the client takes nothing of what is there for it, it is cut; if it is us who have nothing yet, it waits on.
 */
export function cutStuckClient(socket: Socket, idleTimeout: number): void {
  if (socket.writableLength > 0) socket.destroy();
  else socket.setTimeout(idleTimeout);
}

function refuseTunnel(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.end(`HTTP/1.1 405 Method Not Allowed\r\nAllow: ${ALLOW}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

/** @throws server.address-in-use, usage.invalid */
export async function startListening(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: 4096 }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (cause) {
    throw explain(cause, host, port);
  }
}

function explain(error: unknown, host: string, port: number): unknown {
  const code = systemCode(error);
  if (code === 'EADDRINUSE') {
    return new AirlockError(
      'server.address-in-use',
      `Another program listens on ${host}:${port} already. Stop it ("ss -ltnp" shows which one it is), or choose another address with --listen HOST:PORT.`,
      { cause: error, details: { host, port } },
    );
  }
  if (code === undefined) return error;
  const why = code === 'EACCES' ? 'ports below 1024 are for root' : 'is it an address of this machine?';
  return new AirlockError(
    'usage.invalid',
    `Cannot listen on ${host}:${port} (${code}; ${why}). Choose another address with --listen HOST:PORT.`,
    { cause: error, details: { host, port } },
  );
}

/** The address as people on this machine can open it. */
export function urlOf(scheme: 'http' | 'https', host: string, port: number): string {
  const isAny = host === '0.0.0.0' || host === '::';
  const name = isAny ? os.hostname() : host;
  return `${scheme}://${name.includes(':') ? `[${name}]` : name}:${port}`;
}

/** How often connections that fell idle during a drain are closed, milliseconds. */
const SWEEP = 50;

/** Stops accepting, closes idle connections, and cuts what is not done after `patience` milliseconds. */
export async function drain(server: Server, front: Front, patience: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const sweep = setInterval(() => server.closeIdleConnections(), SWEEP);
  const cut = setTimeout(() => {
    server.closeAllConnections();
    front.close();
  }, patience);
  server.closeIdleConnections();
  front.drain();
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
}
