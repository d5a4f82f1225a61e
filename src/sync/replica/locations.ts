/** Which of the two conductors of an HA pair has which release. */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { AvailableRelease } from '../../repo/available.ts';
import { orderKey } from '../../repo/formats/releases/order.ts';
import { parseRelease } from '../../repo/formats/releases/release.ts';
import { releases as releasesSchema } from '../../repo/http/api-schemas.ts';
import type { Upstream } from '../../repo/upstream/upstream.ts';

export type Location = 'here' | 'peer';

export interface LocatedRelease extends AvailableRelease {
  /** Where it is known to be. */
  readonly locations: readonly Location[];
  /** Who could not be asked. Absent: all could. */
  readonly unknownAt?: readonly Location[];
}

/**
 * Asks the other conductor which releases it has.
 * @throws upstream.*, peer.invalid; after limits.replica.askTimeout at the latest
 */
export async function releasesAt(upstream: Upstream, signal: AbortSignal): Promise<AvailableRelease[]> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(limits.replica.askTimeout)]);
  try {
    const answer = await upstream.fetch('api/v1/releases', { signal: limited });
    if (answer.type !== 'content') throw notThat(upstream);
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of answer.body) {
      length += piece.byteLength;
      if (length > limits.proxy.releases) throw notThat(upstream);
      pieces.push(piece);
    }
    const parsed = releasesSchema.safeParse(JSON.parse(Buffer.concat(pieces).toString()));
    if (parsed.success) return parsed.data;
    throw notThat(upstream, parsed.error);
  } catch (error) {
    if (error instanceof SyntaxError) throw notThat(upstream, error);
    if (signal.aborted || !limited.aborted || !isAirlockError(error)) throw error;
    throw new AirlockError('upstream.unreachable', `${upstream.origin} did not answer in time.`, { cause: error });
  }
}

/**
 * @param peer what the other one has; undefined if it could not be asked, null if there is none
 * @returns newest first, as each of the two lists is
 */
export function locate(
  here: readonly AvailableRelease[],
  peer: readonly AvailableRelease[] | undefined | null,
): LocatedRelease[] {
  if (peer === undefined) return here.map((each) => ({ ...each, locations: ['here'], unknownAt: ['peer'] }));
  const there = new Map((peer ?? []).map((each) => [identity(each), each]));
  const located: LocatedRelease[] = here.map((each) => ({
    ...each,
    locations: there.delete(identity(each)) ? ['here', 'peer'] : ['here'],
  }));
  for (const each of there.values()) {
    const key = keyOf(each);
    const at = located.findIndex((other) => keyOf(other) < key);
    located.splice(at < 0 ? located.length : at, 0, { ...each, locations: ['peer'] });
  }
  return located;
}

function identity({ repository, path, digest }: AvailableRelease): string {
  return JSON.stringify([repository, path, digest]);
}

function keyOf({ file }: AvailableRelease): string {
  const parsed = parseRelease(file);
  return parsed === undefined ? '' : orderKey(parsed);
}

function notThat(upstream: Upstream, cause?: unknown): AirlockError {
  return new AirlockError(
    'peer.invalid',
    `${upstream.origin} does not say which releases it has. See that "peer" names the other conductor.`,
    { cause },
  );
}
