/**
 * What becomes of one path when the HA twin's repository is merged into ours. Pure.
 *
 * Each node knows how far it has seen the other, and says so. So of every content that only one of the two has, it is known
 * whether the other one has never seen it (then it is new, and is taken) or has seen it and let it go (then it was deleted
 * or replaced, and that is taken). What both changed without having seen the other's change is never decided:
 *
 * | here            | at the twin     |                                                                    |
 * |-----------------|-----------------|--------------------------------------------------------------------|
 * | nothing         | new             | taken                                                              |
 * | nothing         | seen            | stays away: it was deleted here, which the twin will hear          |
 * | seen by it      | nothing         | deleted: the twin deleted it                                       |
 * | not seen by it  | nothing         | stays: a deletion is of bytes, and the twin's was not of these     |
 * | X, seen by it   | Y, new          | replaced: the twin replaced it                                     |
 * | X, not seen     | Y, new          | conflict: both stay where they are, and are named                  |
 * | X               | Y, seen         | stays: it was replaced here, which the twin will hear              |
 * | X               | X               | stays                                                              |
 *
 * A conflict ends when one of the two sides is deleted: what the other side has then counts as not seen yet.
 * Both nodes decide by the same rule, so they come to the same, whoever asks first.
 */
import type { Digest } from '../../repo/blobs/blob-store.ts';

/** What one side holds at a path. */
export interface Side {
  readonly digest: Digest;
  /** Whether the other side had seen it when it was last looked at. */
  readonly isSeen: boolean;
}

/**
 * `keep`: nothing is to be done. `refresh`: the same bytes, of which the twin has newer facts. `join`: the same bytes, which
 * came to both.
 */
export type Decision = 'keep' | 'take' | 'replace' | 'refresh' | 'join' | 'drop' | 'conflict';

/** @param theirs what the twin holds; seen by us */
export function decide(ours: Side | undefined, theirs: Side | undefined): Decision {
  if (theirs === undefined) return ours?.isSeen === true ? 'drop' : 'keep';
  if (theirs.isSeen) return 'keep';
  if (ours === undefined) return 'take';
  if (ours.digest === theirs.digest) return ours.isSeen ? 'refresh' : 'join';
  return ours.isSeen ? 'replace' : 'conflict';
}

/**
 * Keys of vendors in package repositories: the one that is pinned here stays, whatever the twin has, and what is taken from
 * it goes with it.
 * @param isMerged ours came from the twin
 */
export function decideKey(ours: Side | undefined, theirs: Side | undefined, isMerged: boolean): Decision {
  return ours === undefined || isMerged ? decide(ours, theirs) : 'keep';
}
