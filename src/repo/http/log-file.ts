/**
 * Where the server's log goes: standard error, or a file that is kept within bounds.
 *
 * Lines are written in order, one write at a time. Nothing here ever fails the server: while lines cannot be written
 * they are dropped, and the next one that can be written is preceded by one that says how many are missing.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, renameSync, write, writeSync } from 'node:fs';
import path from 'node:path';
import { AirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { LineSink } from './access-log.ts';

export interface LogFileOptions {
  readonly file: string;
  /** The file is set aside as `<file>.1` before it would grow beyond this. Bytes. */
  readonly maxSize: number;
  /** So many files are kept, this one included. */
  readonly maxFiles: number;
}

const STANDARD_ERROR = 2;

/** How long to wait for a full pipe. */
const PIPE_FULL = 50;

/** Takes whole lines. Whoever made one closes it. */
export class LogSink implements LineSink {
  readonly #options: LogFileOptions | undefined;
  #descriptor = STANDARD_ERROR;
  #size = 0;
  #isRotated = false;
  #pending = '';
  #lost = 0;
  #isTorn = false;
  #isFailing = false;
  #mustReopen = false;
  #writing: Promise<void> | undefined;

  /**
   * @param options none for standard error
   * @throws config.invalid if the file cannot be opened for writing
   */
  constructor(options?: LogFileOptions) {
    this.#options = options;
    if (options === undefined) return;
    try {
      mkdirSync(path.dirname(options.file), { recursive: true });
      this.#open(options.file);
    } catch (cause) {
      throw new AirlockError(
        'config.invalid',
        `log.file: ${options.file} cannot be written (${systemCode(cause) ?? String(cause)}). Name another file under log.file, or see that its folder may be written to.`,
        { cause, details: { key: 'log.file', file: options.file } },
      );
    }
  }

  write(lines: string): void {
    if (this.#pending.length + lines.length > limits.log.pending) this.#lost += count(lines);
    else this.#pending += lines;
    this.#writing ??= this.#writeAll();
  }

  /** Goes on in a new file if somebody has renamed the old one, as logrotate does. */
  reopen(): void {
    if (this.#options === undefined) return;
    this.#mustReopen = true;
    this.#writing ??= this.#writeAll();
  }

  /** Writes what there is. Never throws. */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    this.flushSync();
    if (this.#descriptor !== STANDARD_ERROR) closeSync(this.#descriptor);
    this.#descriptor = STANDARD_ERROR;
  }

  /** As `close` for a process that ends at once: what is being written may come twice. Never throws. */
  flushSync(): void {
    let rest = Buffer.from(this.#pending);
    this.#pending = '';
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(this.#descriptor, rest));
    } catch {
      // a log that cannot be written is no reason not to end
    }
  }

  async #writeAll(): Promise<void> {
    try {
      await undefined; // so that `#writing` is set before it is unset
      while (this.#pending !== '' || this.#mustReopen) {
        this.#changeFiles();
        const lines = this.#pending;
        this.#pending = '';
        if (lines !== '') await this.#writeLines(lines);
      }
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeLines(lines: string): Promise<void> {
    const lost = this.#lost;
    let rest = Buffer.from((this.#isTorn ? '\n' : '') + (lost > 0 ? lossLine(lost) : '') + lines);
    const { length } = rest;
    try {
      while (rest.length > 0) rest = rest.subarray(await writeSome(this.#descriptor, rest));
      this.#lost -= lost;
      this.#isFailing = false;
      this.#isTorn = false;
    } catch (error) {
      this.#lost += count(lines);
      this.#isTorn ||= rest.length < length;
      this.#complain(error, 'lines are dropped until it can be written again');
      this.#isFailing = true;
    }
    this.#size += length - rest.length;
  }

  /** Between two writes. */
  #changeFiles(): void {
    const options = this.#options;
    if (options === undefined) return;
    const isFull = this.#isRotated && this.#size > 0 && this.#size + this.#pending.length > options.maxSize;
    if (!isFull && !this.#mustReopen) return;
    this.#mustReopen = false;
    const old = this.#descriptor;
    try {
      if (isFull) setAside(options);
      this.#open(options.file);
      closeSync(old);
    } catch (error) {
      this.#complain(error, 'it cannot be set aside or opened anew, and goes on growing');
      this.#size = 0; // the next attempt comes when as much has been written again
    }
  }

  #open(file: string): void {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
    // Without O_NONBLOCK a pipe that nobody reads would hold up everything.
    this.#descriptor = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o640);
    const stats = fstatSync(this.#descriptor);
    this.#isRotated = stats.isFile();
    this.#size = stats.size;
    this.#isTorn = false;
  }

  /** Once for each time that it begins to fail, and only where there is another place to say it. */
  #complain(error: unknown, what: string): void {
    if (this.#isFailing || this.#options === undefined) return;
    const why = systemCode(error) ?? String(error);
    process.stderr.write(`log.file: ${this.#options.file}: ${why}: ${what}.\n`);
  }
}

/** `log.3` becomes `log.4`, …, `log` becomes `log.1`; the last one is overwritten. */
function setAside({ file, maxFiles }: LogFileOptions): void {
  for (let number = maxFiles - 1; number > 0; number -= 1) {
    try {
      renameSync(number === 1 ? file : `${file}.${number - 1}`, `${file}.${number}`);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }
}

/** @returns bytes written; 0 if a pipe was full, after a moment */
function writeSome(descriptor: number, bytes: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, (error, written) => {
      if (error === null) resolve(written);
      else if (systemCode(error) === 'EAGAIN') setTimeout(resolve, PIPE_FULL, 0);
      else reject(error);
    });
  });
}

function count(lines: string): number {
  let number = 0;
  for (let at = lines.indexOf('\n'); at >= 0; at = lines.indexOf('\n', at + 1)) number += 1;
  return number;
}

/** In the form of pino's lines: a warning. */
function lossLine(lost: number): string {
  return `${JSON.stringify({ level: 40, time: Date.now(), lost, msg: 'lines were lost, for the log could not be written' })}\n`;
}
