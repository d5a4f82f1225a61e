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
  /** Where fetched content came from. */
  readonly cache?: string | undefined;
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
  #now = 0;
  #time = '';

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  add({ method, url, status, bytes, milliseconds, remote, range, cache, isAborted }: LoggedRequest): void {
    const more =
      (range === undefined ? '' : `,"range":${JSON.stringify(range.slice(0, MOST))}`) +
      (cache === undefined ? '' : `,"cache":${JSON.stringify(cache)}`) +
      (isAborted === true ? ',"aborted":true' : '');
    this.#add(`"method":"${method}"${outcomeOf(url, status, bytes)}`, milliseconds, remote, more);
  }

  /** As `add`, for a GET that was answered whole. @param outcome made once by `outcomeOf` */
  addHit(outcome: string, milliseconds: number, remote: string): void {
    this.#add(`"method":"GET"${outcome}`, milliseconds, remote, '');
  }

  #add(facts: string, milliseconds: number, remote: string, more: string): void {
    const now = Date.now();
    if (now !== this.#now) {
      this.#now = now;
      this.#time = String(now);
    }
    const ms = Math.round(milliseconds * 100) / 100;
    this.#lines += `{"level":30,"time":${this.#time},"msg":"request",${facts},"ms":${ms},"remote":"${remote}"${more}}\n`;
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

/** The part of a line that is the same for all answers with the same content. @param cache as LoggedRequest has it */
export function outcomeOf(url: string, status: number, bytes: number, cache?: string): string {
  const how = cache === undefined ? '' : `,"cache":${JSON.stringify(cache)}`;
  return `,"path":${JSON.stringify(shorten(url))},"status":${status},"bytes":${bytes}${how}`;
}

/** A request's target without its query, and not too long. */
export function shorten(url: string): string {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  return path.length > MOST ? `${path.slice(0, MOST)}…` : path;
}
