import { isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';

/**
 * Does work that prepares a change of the published revision (`RevisionChange.base`) and publishes it; again, from the
 * start, if somebody else published meanwhile.
 * @throws what `work` throws; revision.moved if others were quicker every time
 */
export async function untilSettled<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === limits.catalog.attempts || !isAirlockError(error, 'revision.moved')) throw error;
    }
  }
}
