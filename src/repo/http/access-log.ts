/**
 * One line for each request, as JSON, in the form of pino's lines.
 *
 * The lines of one turn of the event loop are written together: a write for each would cost a tenth of the time of
 * a hit in memory. The query is left out, for people put secrets there.
 */
import type { Exchange } from './exchange.ts';

/** Takes whole lines, several at a time. A pino destination fits, and every writable stream. */
export interface LineSink {
  write(lines: string): unknown;
}

/** Of paths and ranges, so that nobody fills the log with long ones. Characters. */
const MOST = 1024;

export class AccessLog {
  readonly #sink: LineSink;
  #lines = '';
  readonly #flush = () => this.flush();

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  add(exchange: Exchange, milliseconds: number): void {
    if (this.#lines === '') setImmediate(this.#flush);
    this.#lines += formatLine(exchange, milliseconds);
  }

  flush(): void {
    const lines = this.#lines;
    this.#lines = '';
    if (lines !== '') this.#sink.write(lines);
  }
}

function formatLine({ request, response, bytes, connection }: Exchange, milliseconds: number): string {
  const { method = '', url = '', headers } = request;
  const path = JSON.stringify(shorten(url));
  const ms = Math.round(milliseconds * 100) / 100;
  const range = headers.range === undefined ? '' : `,"range":${JSON.stringify(headers.range.slice(0, MOST))}`;
  const aborted = response.writableEnded ? '' : ',"aborted":true';
  return `{"level":30,"time":${Date.now()},"msg":"request","method":"${method}","path":${path},"status":${response.statusCode},"bytes":${bytes},"ms":${ms},"remote":"${connection.remote}"${range}${aborted}}\n`;
}

function shorten(url: string): string {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  return path.length > MOST ? `${path.slice(0, MOST)}…` : path;
}
