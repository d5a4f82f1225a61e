import { AirlockError, isAirlockError } from '../errors.ts';

/** Wakes all who wait, whenever something has changed. */
export class Bell {
  #rung = Promise.withResolvers<void>();

  ring(): void {
    const { resolve } = this.#rung;
    this.#rung = Promise.withResolvers<void>();
    resolve();
  }

  /** Resolves at the next ring. */
  get next(): Promise<void> {
    return this.#rung.promise;
  }
}

/** Waits for `work`, but no longer than until `signal` fires. @throws the signal's reason if it is ours, else interrupted */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(reasonOf(signal));
  if (signal.aborted) throw reasonOf(signal);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function reasonOf({ reason }: AbortSignal): AirlockError {
  return isAirlockError(reason) ? reason : new AirlockError('interrupted', 'Whoever asked is gone.', { cause: reason });
}
