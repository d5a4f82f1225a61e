import { type AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Carrier } from '../carriers/carrier.ts';

export interface PersistentlyOptions {
  /** How far the work has come that need not be done again: each attempt that got further gives it new ones. */
  readonly reached: () => number;
  /** Told of a lost connection, before another is made. */
  readonly onLost?: ((error: AirlockError) => void) | undefined;
}

/**
 * Does some work on a carrier, and again on a new connection where one was lost: as often as it gets further each time, or
 * limits.carrier.vain times in vain.
 * @throws what `work` throws, source.lost also where there is nothing to connect to any more; what `reconnect` throws but
 *   for that
 */
export async function persistently<T>(
  carrier: Pick<Carrier, 'reconnect'>,
  work: () => Promise<T>,
  { reached, onLost }: PersistentlyOptions,
): Promise<T> {
  for (let vain = 0, furthest = 0; ; ) {
    try {
      return await work();
    } catch (error) {
      if (carrier.reconnect === undefined || !isAirlockError(error, 'source.lost')) throw error;
      vain = reached() > furthest ? 0 : vain + 1;
      furthest = Math.max(furthest, reached());
      if (vain > limits.carrier.vain) throw error;
      onLost?.(error);
      await carrier.reconnect().catch((cause: unknown) => {
        throw isAirlockError(cause, 'carrier.unreachable') ? error : cause;
      });
    }
  }
}
