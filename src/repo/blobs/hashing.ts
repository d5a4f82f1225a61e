/**
 * Hashing beside writing: a thread reads what was written back from the system's cache and hashes it, so that a large
 * file takes as long as the slower of the two, not as long as both.
 */
import { Worker } from 'node:worker_threads';
import { limits } from '../../limits.ts';

/** Goes on with the file of a job up to `to`. */
export interface HashQuestion {
  readonly job: number;
  readonly fd: number;
  readonly to: number;
  /** Nothing more is asked of this job. */
  readonly isLast: boolean;
}

export interface HashAnswer {
  /** SHA-256 of all bytes up to `to`; undefined if the file ends before. */
  readonly hex: string | undefined;
}

/** The thread, started when it is first needed and ended when nobody needed it for a while. Its store closes it. */
export class Hashing {
  #thread: HashingThread | undefined;
  #jobs = 0;
  #running = 0;
  #idle: NodeJS.Timeout | undefined;

  /** @param fd of a file that stays open until `FileHash.end` */
  start(fd: number): FileHash {
    clearTimeout(this.#idle);
    if (this.#thread === undefined || this.#thread.isGone) this.#thread = new HashingThread();
    this.#jobs += 1;
    this.#running += 1;
    return new FileHash(this.#thread, { job: this.#jobs, fd }, () => this.#ended());
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const thread = this.#thread;
    this.#thread = undefined; // who comes meanwhile starts another one
    await thread?.stop();
  }

  #ended(): void {
    this.#running -= 1;
    if (this.#running > 0) return;
    this.#idle = setTimeout(() => void this.close(), limits.hashing.idle);
    this.#idle.unref();
  }
}

/** The hash of one file that grows. */
export class FileHash {
  readonly #thread: HashingThread;
  readonly #file: Pick<HashQuestion, 'job' | 'fd'>;
  readonly #onEnd: () => void;
  /** Bytes that were asked for, from the first. */
  asked = 0;
  #pending = 0;
  #last: Promise<HashAnswer | undefined> = Promise.resolve(undefined);
  #hasEnded = false;

  constructor(thread: HashingThread, file: Pick<HashQuestion, 'job' | 'fd'>, onEnd: () => void) {
    this.#thread = thread;
    this.#file = file;
    this.#onEnd = onEnd;
  }

  /** Tells that all bytes up to `end` are in the file. Never waits: what is too much for the queue is asked for later. */
  advance(end: number): void {
    while (end - this.asked >= limits.hashing.step && this.#pending < limits.hashing.queued) {
      this.#ask(this.asked + limits.hashing.step);
    }
  }

  /** @returns SHA-256 of the first `size` bytes, in hex; undefined if it could not be had here, for whatever reason */
  async digest(size: number): Promise<string | undefined> {
    while (size - this.asked >= limits.hashing.step) {
      this.advance(size);
      await this.#last;
    }
    this.#ask(size);
    return (await this.#last)?.hex;
  }

  /** Afterwards the file is not read any more. */
  async end(): Promise<void> {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    await this.#thread.ask({ ...this.#file, to: 0, isLast: true });
    this.#onEnd();
  }

  #ask(to: number): void {
    this.asked = to;
    this.#pending += 1;
    this.#last = this.#thread.ask({ ...this.#file, to, isLast: false }).finally(() => {
      this.#pending -= 1;
    });
  }
}

class HashingThread {
  isGone = false;
  readonly #worker: Worker;
  /** Whoever waits for an answer, in the order of the questions, which is that of the answers. */
  readonly #waiting: ((answer: HashAnswer | undefined) => void)[] = [];

  constructor() {
    this.#worker = new Worker(new URL('hashing-thread.ts', import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: limits.hashing.young },
    });
    this.#worker.on('message', (answer: HashAnswer) => this.#waiting.shift()?.(answer));
    this.#worker.on('error', () => this.#end());
    this.#worker.on('exit', () => this.#end());
    this.#worker.unref();
  }

  /** @returns undefined if the thread is gone */
  ask(question: HashQuestion): Promise<HashAnswer | undefined> {
    if (this.isGone) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#worker.ref(); // whoever waits for a promise alone does not keep a process from ending
      this.#waiting.push((answer) => {
        if (this.#waiting.length === 0) this.#worker.unref();
        resolve(answer);
      });
      this.#worker.postMessage(question);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
    this.#end();
  }

  #end(): void {
    this.isGone = true;
    for (const answer of this.#waiting.splice(0)) answer(undefined);
  }
}
