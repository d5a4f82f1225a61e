/**
 * Measuring side by side: everybody has a turn in each round, so that whatever else the machine does meets all of
 * them, and only numbers of one round are compared with each other.
 */

/** Middle, least and most of some numbers. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    min: at(0),
    max: at(sorted.length - 1),
  };
}

/** Of each pair of one round: `ours` divided by `theirs`. */
export function ratios(ours: readonly number[], theirs: readonly number[]): Spread {
  return spread(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
}

/**
 * A B C, A B C, …
 * @returns what `measure` gave, by contestant and round
 */
export async function takeTurns<C, T>(
  contestants: readonly C[],
  rounds: number,
  measure: (contestant: C, round: number) => Promise<T>,
): Promise<ReadonlyMap<C, readonly T[]>> {
  const results = new Map<C, T[]>(contestants.map((contestant) => [contestant, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const [contestant, list] of results) list.push(await measure(contestant, round));
  }
  return results;
}
