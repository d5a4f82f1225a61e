/**
 * One line for each request, as JSON, in the form of pino's lines.
 *
 * The lines of one turn of the event loop are written together: a write for each would cost a tenth of the time of
 * a hit in memory. The query is left out, for people put secrets there.
 */
/** Takes whole lines, several at a time. A pino destination fits, and every writable stream. */
export interface LineSink {
  write(lines: string): unknown;
}

export interface LoggedRequest {
  readonly method: string;
  readonly url: string;
  readonly status: number;
  /** Of the body, handed to the system. */
  readonly bytes: number;
  readonly milliseconds: number;
  readonly remote: string;
  readonly range?: string | undefined;
  /** The connection ended before the answer did. */
  readonly isAborted?: boolean;
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

  add(request: LoggedRequest): void {
    if (this.#lines === '') setImmediate(this.#flush);
    this.#lines += formatLine(request);
  }

  flush(): void {
    const lines = this.#lines;
    this.#lines = '';
    if (lines !== '') this.#sink.write(lines);
  }
}

function formatLine({ method, url, status, bytes, milliseconds, remote, range, isAborted }: LoggedRequest): string {
  const path = JSON.stringify(shorten(url));
  const ms = Math.round(milliseconds * 100) / 100;
  const more =
    (range === undefined ? '' : `,"range":${JSON.stringify(range.slice(0, MOST))}`) +
    (isAborted === true ? ',"aborted":true' : '');
  return `{"level":30,"time":${Date.now()},"msg":"request","method":"${method}","path":${path},"status":${status},"bytes":${bytes},"ms":${ms},"remote":"${remote}"${more}}\n`;
}

function shorten(url: string): string {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  return path.length > MOST ? `${path.slice(0, MOST)}…` : path;
}
