import fs from 'node:fs';
import { AirlockError, about } from '../../errors.ts';

type Done<T> = (error: Error | null, value: T) => void;

/**
 * An open file that is read and written at positions, by several callers at once. `close` waits for what is under
 * way: a descriptor closed under a running read may by then belong to another file.
 */
export class PositionalFile {
  /** As it was named when it was opened; it may have been renamed since. */
  readonly path: string;
  readonly #fd: number;
  #running = 0;
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /**
   * The caller closes it.
   * @throws the system error as it is
   */
  static async open(path: string, flags: string | number, mode?: number): Promise<PositionalFile> {
    const fd = await new Promise<number>((resolve, reject) => {
      fs.open(path, flags, mode, (error, opened) => (error ? reject(error) : resolve(opened)));
    });
    return new PositionalFile(path, fd);
  }

  /** For other threads, which read where this file lies. Whoever has it sees to it that they are done before `close`. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Reads into the whole of `into`, also where the system gives it in pieces.
   * @returns bytes read: fewer than asked for only at the end of the file
   */
  async readAt(into: Uint8Array, position: number): Promise<number> {
    mustBePosition(position);
    let done = 0;
    while (done < into.byteLength) {
      const from = done;
      const n = await this.#call<number>((end) =>
        fs.read(this.#fd, into, from, into.byteLength - from, position + from, end),
      );
      if (n === 0) break;
      done += n;
    }
    return done;
  }

  /**
   * Writes all of `bytes`, also where the system takes it in pieces.
   * @param onWritten told of each piece that was taken, so that the caller knows what is there if a later one fails
   */
  async writeAt(bytes: Uint8Array, position: number, onWritten: (start: number, end: number) => void): Promise<void> {
    mustBePosition(position);
    let done = 0;
    while (done < bytes.byteLength) {
      const from = done;
      done += await this.#call<number>((end) =>
        fs.write(this.#fd, bytes, from, bytes.byteLength - from, position + from, end),
      );
      onWritten(position + from, position + done);
    }
  }

  /** The bytes, and as much about them as is needed to find them again. */
  async datasync(): Promise<void> {
    await this.#call<void>((end) => fs.fdatasync(this.#fd, (error) => end(error, undefined)));
  }

  async sync(): Promise<void> {
    await this.#call<void>((end) => fs.fsync(this.#fd, (error) => end(error, undefined)));
  }

  async truncate(size: number): Promise<void> {
    await this.#call<void>((end) => fs.ftruncate(this.#fd, size, (error) => end(error, undefined)));
  }

  async chmod(mode: number): Promise<void> {
    await this.#call<void>((end) => fs.fchmod(this.#fd, mode, (error) => end(error, undefined)));
  }

  stat(): Promise<fs.BigIntStats> {
    return this.#call<fs.BigIntStats>((end) => fs.fstat(this.#fd, { bigint: true }, end));
  }

  /** Waits for what is under way, then closes. A second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    await new Promise<void>((resolve, reject) => {
      fs.close(this.#fd, (error) => (error ? reject(error) : resolve()));
    });
  }

  #call<T>(start: (end: Done<T>) => void): Promise<T> {
    if (this.#closing !== undefined) {
      throw new AirlockError('internal', `${this.path} is used after it was closed. Please report this.`);
    }
    this.#running++;
    return new Promise<T>((resolve, reject) => {
      const end: Done<T> = (error, value) => {
        this.#running--;
        if (error) reject(about(error, this.path));
        else resolve(value);
        if (this.#running === 0) this.#onIdle?.();
      };
      try {
        start(end);
      } catch (error) {
        end(error as Error, undefined as T);
      }
    });
  }
}

/** Node.js would take -1 or a fraction for "wherever the file stands". */
function mustBePosition(position: number): void {
  if (Number.isSafeInteger(position) && position >= 0) return;
  throw new AirlockError('internal', `Not a position in a file: ${position}. Please report this.`);
}
