import { AirlockError } from '../../../errors.ts';
import { quote } from '../quote.ts';
import type { AviatrixRelease } from './facts.ts';
import { trainOf, versionOf } from './release.ts';

/**
 * Release trains of Aviatrix in the order of publication. A list, because the next train is not the number plus one:
 * 4.4 and 4.5 never appeared. Source: headings of the vendor's release notes (vendor.md B1); 7.0 and 7.1 from the text.
 */
export const PUBLISHED_TRAINS: readonly string[] = [
  ...['2.5', '2.6', '2.7'],
  ...['3.0', '3.1', '3.2', '3.3', '3.4', '3.5'],
  ...['4.0', '4.1', '4.2', '4.3', '4.6', '4.7'],
  ...['5.0', '5.1', '5.2', '5.3', '5.4'],
  ...['6.0', '6.1', '6.2', '6.3', '6.4', '6.5', '6.6', '6.7', '6.8', '6.9'],
  ...['7.0', '7.1'],
];

/** Trains in ascending order, each with its newest known build, or null where none is known. */
export type TrainIndex = readonly { readonly train: string; readonly latest: number | null }[];

/** The index of what is at hand: `trains`, and the newest build of each among `releases`. Others are left out. */
export function trainIndex(
  releases: readonly AviatrixRelease[],
  trains: readonly string[] = PUBLISHED_TRAINS,
): TrainIndex {
  const latest = new Map<string, number>();
  for (const release of releases) {
    const train = trainOf(release);
    if (train !== null && release.build !== null) latest.set(train, Math.max(release.build, latest.get(train) ?? 0));
  }
  return trains.map((train) => ({ train, latest: latest.get(train) ?? null }));
}

/**
 * The one step that an Aviatrix controller may make next: to the newest build of its own train, or from there to the
 * newest build of the next train in the list (vendor.md B1, C3). `build` is null where the index knows none: then it
 * is whatever the vendor offers as the newest of that train. Builds within a train may be skipped, trains may not.
 * @returns null at the end of the list.
 * @throws AirlockError `usage.invalid` if the release is no number (`latest`), or its train is not in the index.
 */
export function nextStep(
  current: AviatrixRelease,
  index: TrainIndex,
): { readonly train: string; readonly build: number | null } | null {
  if (current.numbering === 'latest') {
    throw new AirlockError(
      'usage.invalid',
      'No step leads on from "latest". Give the release that runs, such as 6.6.123.',
    );
  }
  const at = index.findIndex(({ train }) => train === trainOf(current));
  if (at === -1 && current.numbering === 'number') throw unknownTrain(current);
  const own = index[at];
  // A train that is named without a build stands at an unknown one, so its newest comes first.
  if (own?.latest != null && (current.build ?? -1) < own.latest) return { train: own.train, build: own.latest };
  const next = index[at + 1];
  return next === undefined ? null : { train: next.train, build: next.latest };
}

function unknownTrain(current: AviatrixRelease): AirlockError {
  return new AirlockError(
    'usage.invalid',
    `${quote(versionOf(current))} belongs to no train in the published list, so the next one is not known. ` +
      'Look it up in the release notes of Aviatrix, and go there by hand.',
    { details: { train: trainOf(current) } },
  );
}
