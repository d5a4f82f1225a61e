/**
 * One line for each request, as JSON, in the form of pino's lines.
 *
 * Lines are written many at a time, at the latest after a moment: a write for each would cost more than finding and
 * sending a small file. The query is left out, for people put secrets there.
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

/** So many characters are written at once; fewer after so many milliseconds. */
const BATCH = 8192;
const MOMENT = 100;

export class AccessLog {
  readonly #sink: LineSink;
  #lines = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  add(request: LoggedRequest): void {
    this.#lines += formatLine(request);
    if (this.#lines.length >= BATCH) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), MOMENT);
  }

  /** Writes what there is. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
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
