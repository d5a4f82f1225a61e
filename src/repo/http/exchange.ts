import type { IncomingMessage, ServerResponse } from 'node:http';

/** What kind of thing a request asked for. */
export type RequestClass = 'content' | 'listing' | 'api' | 'health' | 'metrics' | 'page' | 'other';

/** One request and its answer, with what counters and the access log want to know of it. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** By `performance.now()`. */
  readonly started: number;
  /** The client's address, which a closed connection no longer tells. */
  readonly remote: string;
  kind: RequestClass;
  /** Where fetched content came from: Cache-Status. */
  cache?: string | undefined;
  /** Of the body, handed to the system. */
  bytes: number;
}

/** Sends a whole small body, or, for HEAD, says how long it would be. `headers`: names and values in turn. */
export function sendText(exchange: Exchange, status: number, text: string, headers: readonly string[]): void {
  const body = Buffer.from(text);
  exchange.response.writeHead(status, ['Content-Length', String(body.length), ...headers]);
  if (exchange.request.method === 'HEAD') {
    exchange.response.end();
  } else {
    exchange.bytes += body.length;
    exchange.response.end(body);
  }
}
