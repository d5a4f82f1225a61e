/**
 * The rule `kind: releases`: images of a site by release, with their sidecars, into the repository `images`. What vouches
 * for an image is fetched and checked first; the image then goes through the same checks as one from a medium.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { PackagePolicy } from '../../repo/packages/iso-packages.ts';
import { type SiteImage, SiteImages } from './images.ts';
import { keptListings } from './kept-listings.ts';
import { metered, type Traffic } from './metered.ts';
import { retire } from './retention.ts';
import { failureOf, type MirrorFailure, type MirrorSite, type RuleReport } from './rule.ts';
import { imageOf, type Selection, selectImages, trainFilter } from './select.ts';
import { walk } from './walk.ts';

export interface ReleasesRule extends Selection {
  /** Of the site, as in its URLs, without slashes around it. */
  readonly path: string;
  /** So many newest releases of each train stay of what the rule brought; undefined: all. */
  readonly keep: number | undefined;
  /** Parts of paths that stay in any case. */
  readonly pinned: readonly string[];
  readonly requireSignature: boolean;
  readonly requireChecksum: boolean;
  /** For the packages in package-based images. */
  readonly policy: PackagePolicy;
}

/** A rule at work. */
interface Run {
  readonly site: MirrorSite;
  readonly rule: ReleasesRule;
  readonly images: SiteImages;
  readonly added: string[];
  readonly failures: MirrorFailure[];
  readonly warnings: string[];
}

/**
 * @throws path.not-found, upstream.* if the site cannot be listed; upstream.unusable if it lists no release at all;
 *   space.insufficient, interrupted
 */
export async function mirrorReleases(site: MirrorSite, rule: ReleasesRule): Promise<RuleReport> {
  const traffic: Traffic = { requests: 0, bytes: 0 };
  const own = { ...site, upstream: metered(site.upstream, traffic) };
  const run: Run = { site: own, rule, images: new SiteImages(own, rule), added: [], failures: [], warnings: [] };
  const wanted = await findWanted(run);
  const news = await eachOrFailure(run, wanted, (image) => run.images.examine(image));
  await bringAll(run, news);
  const { removed, warnings } = await retire(own, rule, site.dryRun ? news.map(({ name }) => name) : []);
  run.warnings.push(...warnings);
  const { added, failures } = run;
  return { rule: `releases ${rule.path}`, added, removed, failures, warnings: run.warnings, ...traffic };
}

/** The images that the rule means, as the site lists them. */
async function findWanted({ site, rule, images, failures, warnings }: Run): Promise<SiteImage[]> {
  const kept = keptListings(site.ingest.catalog, site);
  const tree = await walk({ ...site, kept }, rule.path, { mayHold: trainFilter(rule) });
  failures.push(...tree.failures);
  warnings.push(...tree.warnings);
  const hasReleases = tree.files.some(({ name }) => imageOf(name) !== undefined);
  if (!hasReleases && tree.passedBy === 0 && tree.failures.length === 0) throw noReleases(rule.path);
  const chosen = selectImages(tree.files, rule);
  if (chosen.length === 0) warnings.push(`no release of ${quoteUnsafe(rule.path)} fits ${quoteUnsafe(rule.select)}`);
  return images.withSidecars(chosen, tree.files);
}

/** Brings what is to be fetched: all at first, then again those that may come after all. */
async function bringAll(run: Run, news: readonly SiteImage[]): Promise<void> {
  const { site, images, added } = run;
  const bytes = await images.bytesToFetch(news);
  await site.announce?.({ files: news.length, bytes });
  if (site.dryRun) {
    added.push(...news.map((image) => images.pathOf(image)));
    return;
  }
  if (news.length === 0) return;
  site.progress.start(news.length === 1 ? quoteUnsafe(news[0]?.name ?? '') : `${news.length} images`, bytes);
  try {
    let waiting = news;
    for (let round = 1; waiting.length > 0; round += 1) {
      if (round > 1) await pause(limits.mirror.retryDelay * 2 ** (round - 2), site.signal);
      waiting = await bringRound(run, waiting, round === limits.mirror.rounds);
    }
  } finally {
    site.progress.stop();
  }
}

/** Several at a time. @returns those that failed and may come yet */
async function bringRound(run: Run, images: readonly SiteImage[], isLast: boolean): Promise<SiteImage[]> {
  const again: SiteImage[] = [];
  const queue = [...images];
  const work = async (): Promise<void> => {
    for (let image = queue.shift(); image !== undefined; image = queue.shift()) {
      try {
        const { path, warnings } = await run.images.bring(image);
        run.added.push(path);
        run.warnings.push(...warnings.map((warning) => `${path}: ${warning}`));
        run.site.progress.note(`✔ ${quoteUnsafe(path)}`);
      } catch (error) {
        if (isFatal(error)) {
          queue.length = 0;
          throw error;
        }
        if (mayPass(error) && !isLast) again.push(image);
        else noteFailure(run, image.path, error);
      }
    }
  };
  const workers = await Promise.allSettled(Array.from({ length: limits.mirror.parallel }, work));
  for (const { status, reason } of workers as PromiseRejectedResult[]) if (status === 'rejected') throw reason;
  return again;
}

/** @returns those of which `examine` says that they are to be fetched */
async function eachOrFailure(
  run: Run,
  images: readonly SiteImage[],
  examine: (image: SiteImage) => Promise<boolean>,
): Promise<SiteImage[]> {
  const news: SiteImage[] = [];
  for (const image of images) {
    try {
      if (await examine(image)) news.push(image);
    } catch (error) {
      if (isFatal(error)) throw error;
      noteFailure(run, image.path, error);
    }
  }
  return news;
}

/** What was revoked is not wanted, so it fails nothing: the next sync would not bring it either. */
function noteFailure({ failures, site, warnings }: Run, path: string, error: unknown): void {
  if (isAirlockError(error, 'trust.revoked')) {
    warnings.push(error.message);
    return;
  }
  const failure = failureOf(path, error);
  failures.push(failure);
  site.progress.note(`✖ ${quoteUnsafe(path)}: ${failure.message}`);
}

/** What no other file would fare better with. */
function isFatal(error: unknown): boolean {
  return (
    !(error instanceof AirlockError) || isAirlockError(error, 'interrupted', 'space.insufficient', 'storage.failed')
  );
}

/** What may be otherwise a moment later. */
function mayPass(error: unknown): boolean {
  return isAirlockError(error, 'upstream.failed', 'upstream.unreachable', 'upstream.changed');
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

function noReleases(path: string): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `What the site answers for ${quoteUnsafe(path === '' ? 'its top folder' : path)} lists no release. A login or captive portal may have answered, or "path" is another folder. What is here stays as it is.`,
  );
}
