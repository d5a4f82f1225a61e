/**
 * Which of the files of a site a rule means: releases of Session Smart by the vendor's grammar (vendor.md C1).
 */
import type { SsrRelease } from '../../repo/formats/releases/facts.ts';
import { compareReleases, orderKey } from '../../repo/formats/releases/order.ts';
import { parseRelease, trainOf } from '../../repo/formats/releases/release.ts';
import { parseRange } from '../../repo/formats/releases/semver-range.ts';

export interface Selection {
  /** A range of releases: `>=6.2 <6.4`. */
  readonly select: string;
  readonly prereleases: boolean;
  /** So many newest releases of each train; undefined: all. */
  readonly newest?: number | undefined;
  /** undefined: any. */
  readonly arch?: readonly string[] | undefined;
  readonly kinds?: readonly string[] | undefined;
  readonly formats?: readonly string[] | undefined;
  readonly milestones?: readonly string[] | undefined;
}

/** An image file's release, undefined for every other name. */
export function imageOf(name: string): SsrRelease | undefined {
  const parsed = parseRelease(name);
  const isImage = parsed?.scheme === 'ssr' && parsed.file !== null && parsed.sidecar === null && parsed.form !== 'rpm';
  return isImage ? parsed : undefined;
}

/**
 * Those of the files that the selection means, newest release first. Of a file that was spun again (`OTP.v3` after
 * `OTP.v1`, `ibu-v2` after `ibu-v1`) only the last.
 * @throws usage.invalid if the range cannot be read
 */
export function selectImages<File extends { readonly name: string }>(
  files: readonly File[],
  selection: Selection,
): File[] {
  const { includes } = parseRange(selection.select, 'ssr', { prereleases: selection.prereleases });
  const wanted: Candidate<File>[] = [];
  for (const file of files) {
    const release = imageOf(file.name);
    if (release !== undefined && includes(release) && isWanted(release, selection)) wanted.push({ file, release });
  }
  const chosen = newestOfEachTrain(lastSpins(wanted), selection.newest);
  return chosen.toSorted((a, b) => compareReleases(b.release, a.release)).map(({ file }) => file);
}

/**
 * Whether a folder can hold anything of the range: one named for a train (`6.3`) only if the range has to do with it.
 * @throws usage.invalid if the range cannot be read
 */
export function trainFilter({ select }: Selection): (folder: string) => boolean {
  const { includes } = parseRange(select, 'ssr', { prereleases: true });
  return (folder) => {
    if (!/^\d{1,9}\.\d{1,9}$/.test(folder)) return true;
    // Where no bound lies within the train, one release of it stands for all.
    const named = new RegExp(`(?<![\\d.])${folder.replace('.', '\\.')}\\.\\d`);
    const probe = parseRelease(`${folder}.0-1`);
    return named.test(select) || probe === undefined || includes(probe);
  };
}

/** What is left to remove: of each train, all but the newest releases. */
export function beyondNewest<File extends { readonly name: string }>(files: readonly File[], keep: number): File[] {
  const all = files.flatMap((file) => {
    const release = imageOf(file.name);
    return release === undefined ? [] : [{ file, release }];
  });
  const kept = new Set(newestOfEachTrain(all, keep).map(({ file }) => file));
  return all.filter(({ file }) => !kept.has(file)).map(({ file }) => file);
}

interface Candidate<File> {
  readonly file: File;
  readonly release: SsrRelease;
}

function isWanted({ arch, kind, form, milestone }: SsrRelease, selection: Selection): boolean {
  const { arch: architectures, kinds, formats, milestones } = selection;
  const admits = (list: readonly string[] | undefined, value: string | null) =>
    list === undefined || (value !== null && list.includes(value));
  return admits(architectures, arch) && admits(kinds, kind) && admits(formats, form) && admits(milestones, milestone);
}

function newestOfEachTrain<File>(all: readonly Candidate<File>[], most = Number.POSITIVE_INFINITY): Candidate<File>[] {
  const trains = Map.groupBy(all, ({ release }) => trainOf(release));
  return [...trains.values()].flatMap((train) => {
    const keys = [...new Set(train.map(({ release }) => orderKey(release)))].sort().reverse();
    const newest = new Set(keys.slice(0, most));
    return train.filter(({ release }) => newest.has(orderKey(release)));
  });
}

function lastSpins<File>(all: readonly Candidate<File>[]): Candidate<File>[] {
  const spins = Map.groupBy(all, ({ release }) => {
    const { milestone, product, arch, dist, kind, form, variant } = release;
    return JSON.stringify([orderKey(release), milestone, product, arch, dist, kind, form, variant]);
  });
  return [...spins.values()].flatMap((group) => {
    const spin = ({ release: { rev, ibu } }: Candidate<File>) => rev ?? ibu ?? 0;
    const last = Math.max(...group.map(spin));
    return group.filter((each) => spin(each) === last);
  });
}
