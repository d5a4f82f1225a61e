import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf } from '../repo/http/support.ts';

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  /** Bytes of the body handed to the system. */
  sent: number;
}

/** What a path holds; a function takes the answer into its own hands. */
export interface Held {
  bytes: Buffer;
  /** `null`: none. */
  etag?: string | null;
  modified?: Date;
  headers?: Record<string, string>;
  /** Ignores Range. */
  noRanges?: boolean;
  /** Chunked, without a length. */
  noLength?: boolean;
  /** Cuts the connection after so many bytes of an answer, this many times. */
  cutAfter?: number;
  cuts?: number;
  /** Waits before each piece of 64 KiB, milliseconds. */
  pace?: number;
}
export type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => unknown;

/** A web server that holds what a test puts into it, and notes who asked for what. */
export class Origin {
  readonly files = new Map<string, Held | Answer>();
  readonly asked: Asked[] = [];
  readonly server: http.Server;
  /** Of everybody: answers with this status. */
  broken: number | undefined;
  port = 0;

  private constructor() {
    this.server = http.createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  static async start(t: TestContext, port = 0): Promise<Origin> {
    const origin = new Origin();
    await origin.listen(port);
    t.after(() => origin.stop());
    return origin;
  }

  async listen(port = this.port): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    this.port = (this.server.address() as AddressInfo).port;
  }

  /** As if it had been switched off. */
  stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    return closed;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Requests for a path, `GET` by default. */
  of(path: string, method = 'GET'): Asked[] {
    return this.asked.filter((each) => each.url === path && each.method === method);
  }

  /** Bytes sent of a path in all. */
  sent(path: string): number {
    return this.of(path).reduce((sum, { sent }) => sum + sent, 0);
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const asked = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, sent: 0 };
    this.asked.push(asked);
    response.setMaxListeners(0);
    const held = this.files.get(asked.url);
    if (this.broken !== undefined) response.writeHead(this.broken).end('broken');
    else if (held === undefined) response.writeHead(404).end('nothing here');
    else if (typeof held === 'function') await held(request, response);
    else await send(held, request, response, asked);
  }
}

async function send(held: Held, request: http.IncomingMessage, response: http.ServerResponse, asked: Asked) {
  const { bytes, headers, noRanges, noLength, modified } = held;
  const etag = held.etag === undefined ? `"${digestOf(bytes).slice(7, 23)}"` : held.etag;
  const fields: Record<string, string> = { ...(etag === null ? {} : { etag }), ...headers };
  if (modified !== undefined) fields['last-modified'] = modified.toUTCString();
  if (etag !== null && request.headers['if-none-match'] === etag) {
    response.writeHead(304, fields).end();
    return;
  }
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const ifRange = request.headers['if-range'];
  const isPart = match !== null && noRanges !== true && (ifRange === undefined || ifRange === etag);
  const start = isPart ? Number(match[1]) : 0;
  const end = isPart && match[2] !== '' ? Math.min(bytes.length, Number(match[2]) + 1) : bytes.length;
  if (isPart) fields['content-range'] = `bytes ${start}-${end - 1}/${bytes.length}`;
  if (noLength !== true) fields['content-length'] = String(end - start);
  response.writeHead(isPart ? 206 : 200, fields);
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  for (let at = start; at < end && !response.destroyed; ) {
    let piece = bytes.subarray(at, Math.min(end, at + 65_536));
    if (held.pace !== undefined) await sleep(held.pace);
    const cut = held.cutAfter;
    const mayCut = cut !== undefined && (held.cuts ?? 0) > 0 && asked.sent + piece.length > cut;
    if (mayCut) piece = piece.subarray(0, cut - asked.sent);
    if (!response.write(piece)) {
      await new Promise<void>((resolve) => response.once('drain', resolve).once('close', resolve));
    }
    asked.sent += piece.length;
    at += piece.length;
    if (mayCut) {
      held.cuts = (held.cuts ?? 1) - 1;
      await sleep(20);
      response.destroy();
      return;
    }
  }
  response.end();
}
