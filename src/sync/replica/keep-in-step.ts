/** Replication as it runs beside a server: look after look, and a word to whoever asks how it stands. */
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { Logger } from '../../repo/http/logger.ts';
import type { Progress } from '../../repo/progress.ts';
import { pause, type Replicator, type Standing } from './replicator.ts';

export interface ReplicaStatus extends Standing {
  /** As the configuration names it. */
  readonly peer: string;
  /**
   * `in-step`: all that the twin had at the last look is here, but for conflicts. `behind`: something of it could not be
   * taken over (`failures`, `error`).
   */
  readonly state: 'starting' | 'replicating' | 'in-step' | 'behind' | 'unreachable';
  /** ISO 8601; null: never, since this server started. */
  readonly lastAnswer: string | null;
  /** Why the last look failed. */
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Of what is being fetched, bytes. */
  readonly fetching: { readonly done: number; readonly total: number } | null;
}

export function startingStatus(peer: string): ReplicaStatus {
  const lists = { conflicts: [], keys: [], failures: [] };
  return { peer, state: 'starting', lastAnswer: null, error: null, fetching: null, ...lists };
}

export interface StepOptions {
  readonly peer: string;
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Waits so many milliseconds; less if `signal` fires, or if looking again is worth it before. Never fails. */
  readonly nap: (milliseconds: number) => Promise<void>;
  /** Told whenever something changed. */
  readonly onStatus: (status: ReplicaStatus) => void;
}

/** Looks again and again, until `signal` fires. Whatever fails is told, and tried again. */
export async function keepInStep(replicator: Replicator, options: StepOptions): Promise<void> {
  const { signal, logger } = options;
  const teller = new Teller(options);
  for (let failures = 0; !signal.aborted; ) {
    let isReachable = true;
    try {
      await replicator.round({ signal, progress: teller.progress }, (change) => {
        logger.info(change, 'took over from the peer');
      });
      const { standing } = replicator;
      failures = standing.failures.length > 0 ? failures + 1 : 0;
      teller.looked(standing);
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      isReachable = !isAirlockError(error, 'upstream.unreachable', 'upstream.failed');
      teller.failed(error, isReachable, replicator.standing);
    }
    await options.nap(pause(failures, isReachable));
  }
}

/** How often progress is told, milliseconds. */
const TELL_EVERY = 1000;

/** Says what changed, once. */
class Teller {
  readonly #options: StepOptions;
  #status: ReplicaStatus;
  #fetchingTold = 0;
  readonly progress: Progress;

  constructor(options: StepOptions) {
    this.#options = options;
    this.#status = startingStatus(options.peer);
    let fetching = { done: 0, total: 0 };
    this.progress = {
      start: (_label, total = 0) => {
        fetching = { done: 0, total };
        this.#tell({ state: 'replicating', fetching });
      },
      advance: (bytes) => {
        fetching = { ...fetching, done: fetching.done + bytes };
        if (performance.now() - this.#fetchingTold > TELL_EVERY) this.#tell({ fetching });
      },
      stop: () => this.#tell({ fetching: null }),
      note() {},
    };
  }

  looked(standing: Standing): void {
    if (this.#status.state === 'unreachable' || this.#status.state === 'starting') {
      this.#options.logger.info({ peer: this.#options.peer }, 'the peer answers');
    }
    const state = standing.failures.length > 0 ? 'behind' : 'in-step';
    this.#compare(standing);
    this.#tell({ ...standing, state, error: null, lastAnswer: new Date().toISOString() });
  }

  failed(error: unknown, isReachable: boolean, standing: Standing): void {
    const { code, message } =
      error instanceof AirlockError ? error : new AirlockError('internal', String(error), { cause: error });
    const { peer, logger } = this.#options;
    if (message !== this.#status.error?.message) {
      const stack = error instanceof AirlockError || !(error instanceof Error) ? {} : { stack: error.stack };
      logger[isReachable ? 'error' : 'warn']({ peer, code, error: message, ...stack }, 'cannot replicate');
    }
    this.#compare(standing);
    const state = isReachable ? 'behind' : 'unreachable';
    this.#tell({ ...standing, state, error: { code, message }, fetching: null });
  }

  /** A person has to know of these, and once is enough. */
  #compare({ conflicts, keys, failures }: Standing): void {
    const { logger } = this.#options;
    const before = this.#status;
    if (!isSame(conflicts, before.conflicts)) {
      for (const conflict of conflicts) {
        if (before.conflicts.some((known) => isSame(known, conflict))) continue;
        logger.warn(conflict, 'a path holds other bytes here than at the peer: delete the wrong one, on its side');
      }
    }
    if (!isSame(keys, before.keys)) {
      for (const each of keys) {
        logger.warn(
          each,
          'this conductor and its peer sign with different keys: "airlock keys repository export" here, "… import" there',
        );
      }
    }
    if (isSame(failures, before.failures)) return;
    for (const { repository, code, message } of failures) {
      logger.error({ repository, code, error: message }, 'cannot take over a repository');
    }
  }

  #tell(change: Partial<ReplicaStatus>): void {
    this.#fetchingTold = performance.now();
    this.#status = { ...this.#status, ...change };
    this.#options.onStatus(this.#status);
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
