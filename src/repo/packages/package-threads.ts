/**
 * Threads that examine packages: hashing and reading them takes far longer than writing down what came of it.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { AirlockError, type ErrorCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { FilePlace } from '../blobs/blob-store.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import type { RpmPolicy } from '../formats/rpm/signature-policy.ts';
import type { Examined, GoodPackage } from './examine-package.ts';

/** What a thread is started with. */
export interface ThreadTask {
  readonly policy: RpmPolicy;
  readonly keys: readonly { readonly fingerprint: string; readonly bytes: Uint8Array }[];
  /** The moment of verification. */
  readonly now: Date;
}

/** A package in an open file. */
export interface PackagePlace extends FilePlace {
  /** Bytes. */
  readonly size: number;
}

export interface ThreadQuestion extends PackagePlace {
  readonly number: number;
}

export interface ThreadAnswer {
  readonly number: number;
  /** Undefined where something went wrong that says nothing of the package. */
  readonly examined: SentExamined | undefined;
}

/** Errors lose their class on the way between threads. */
type SentExamined =
  | { readonly read: GoodPackage }
  | { readonly read: undefined; readonly problems: readonly SentProblem[] };

interface SentProblem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** As `examinePackage` gives it, for the way to another thread. */
export function sent({ problems, read }: Examined): SentExamined {
  return read === undefined ? { read, problems: problems.map((problem) => problem.toJSON()) } : { read };
}

function received(examined: SentExamined): Examined {
  if (examined.read !== undefined) return { problems: [], read: examined.read };
  const problems = examined.problems.map(({ code, message, details }) => new AirlockError(code, message, { details }));
  return { problems, read: undefined };
}

/**
 * Examines packages with threads: one fewer than there are cores, up to a limit, because each takes 50 MiB and whoever asks
 * can work, too. Has to be closed before the files are.
 */
export class PackageThreads implements AsyncDisposable {
  readonly #threads: Thread[];

  constructor(keys: readonly VendorKey[], policy: RpmPolicy) {
    const task: ThreadTask = {
      policy,
      keys: keys.map(({ fingerprint, bytes }) => ({ fingerprint, bytes })),
      now: new Date(),
    };
    const count = Math.max(1, Math.min(limits.packages.threads, availableParallelism() - 1));
    this.#threads = Array.from({ length: count }, () => new Thread(task));
  }

  /** How many packages may be on their way at once, so that nobody waits and memory stays bounded. */
  get capacity(): number {
    return this.#threads.length * limits.packages.queued;
  }

  /** Bytes that the one that will be free first has to go through. */
  get leastLoad(): number {
    return Math.min(...this.#threads.map(({ load }) => load));
  }

  /** @returns undefined if it could not be done here, for whatever reason: then whoever asks does it himself */
  async examine(place: PackagePlace): Promise<Examined | undefined> {
    const thread = this.#threads.reduce((best, other) => (other.load < best.load ? other : best));
    const examined = await thread.ask(place);
    return examined && received(examined);
  }

  /** Stops them, whatever they are at. Afterwards nothing reads the files any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.stop()));
  }
}

class Thread {
  /** Bytes that it has to go through. */
  load = 0;
  readonly #worker: Worker;
  readonly #asked = new Map<number, (examined: SentExamined | undefined) => void>();
  #number = 0;
  #isGone = false;

  constructor(task: ThreadTask) {
    this.#worker = new Worker(new URL('package-thread.ts', import.meta.url), {
      workerData: task,
      resourceLimits: { maxYoungGenerationSizeMb: limits.packages.threadYoung },
    });
    this.#worker.on('message', ({ number, examined }: ThreadAnswer) => this.#asked.get(number)?.(examined));
    this.#worker.on('error', () => this.#end());
    this.#worker.on('exit', () => this.#end());
  }

  async ask(place: PackagePlace): Promise<SentExamined | undefined> {
    if (this.#isGone) return undefined;
    this.#number += 1;
    const number = this.#number;
    this.load += place.size;
    try {
      return await new Promise((resolve) => {
        this.#asked.set(number, resolve);
        this.#worker.postMessage({ number, ...place } satisfies ThreadQuestion);
      });
    } finally {
      this.#asked.delete(number);
      this.load -= place.size;
    }
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
    this.#end();
  }

  #end(): void {
    this.#isGone = true;
    for (const answer of this.#asked.values()) answer(undefined);
  }
}
