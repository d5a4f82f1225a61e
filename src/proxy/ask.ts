/** Asking one source, and comparing what two answers are of. */
import { isAirlockError } from '../errors.ts';
import type { FetchOptions, UpstreamAnswer, UpstreamFacts } from '../repo/upstream/upstream.ts';
import type { Candidate } from './sources.ts';

/** Asks a source, and notes how that went. A path that it does not have is no failure. */
export async function ask({ source, path }: Candidate, options: FetchOptions): Promise<UpstreamAnswer> {
  try {
    const answer = await source.upstream.fetch(path, options);
    source.health.note();
    return answer;
  } catch (error) {
    if (!isAirlockError(error, 'interrupted', 'upstream.changed')) source.health.note(asError(error));
    throw error;
  }
}

type Identity = Pick<UpstreamFacts, 'size' | 'digest' | 'strongValidator'>;

/** Whether two answers are of the same bytes, as far as anybody can tell before all are there. */
export function isSame(a: Identity, b: Identity): boolean {
  if (a.size !== null && b.size !== null && a.size !== b.size) return false;
  if (a.digest !== null && b.digest !== null) return a.digest === b.digest;
  return b.digest !== null || (a.strongValidator !== null && a.strongValidator === b.strongValidator);
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
