/**
 * What leaves this machine has to be whole: repositories that were mirrored on demand get the packages that nobody has asked
 * for yet.
 */
import type { App } from '../app.ts';
import { AirlockError } from '../errors.ts';
import { lacking } from '../repo/packages/lacking.ts';
import { rpmRule, type SyncOptions, syncUpstream } from './sync.ts';

/**
 * Brings what the published metadata of repositories lists and is not here. They are mirrored for that, as they are at their
 * upstreams now. A dry run only tells. Where no rule brings a repository any more, it stays as it is.
 * @param names undefined: all
 * @throws what a package did not come for: upstream.*, checksum.mismatch …; upstream.offline, space.insufficient, interrupted
 */
export async function completeRepositories(
  app: App,
  names: readonly string[] | undefined,
  { progress, signal, dryRun }: Pick<SyncOptions, 'progress' | 'signal' | 'dryRun'>,
): Promise<void> {
  const { catalog, config } = app;
  for (const { name: repository, kind } of await catalog.repositories()) {
    if (kind !== 'rpm' || names?.includes(repository) === false) continue;
    const lacks = await lacking(catalog, repository);
    const [upstream] =
      Object.entries(config.upstreams).find(([, each]) => rpmRule(each, repository) !== undefined) ?? [];
    if (lacks === 0 || upstream === undefined) continue;
    if (dryRun) {
      progress.note(
        `${repository} lacks ${lacks} packages, which are fetched from ${upstream} first and not counted here.`,
      );
      continue;
    }
    progress.note(`${repository} lacks ${lacks} packages, which are fetched from ${upstream} first.`);
    const onForecast = () => undefined;
    const { rules } = await syncUpstream(app, upstream, { progress, signal, dryRun, onForecast, complete: repository });
    const [failure, ...others] = rules.flatMap(({ failures }) => failures);
    if (failure !== undefined) throw incomplete({ repository, upstream, failure, others: others.length });
  }
}

function incomplete({
  repository,
  upstream,
  failure,
  others,
}: {
  readonly repository: string;
  readonly upstream: string;
  readonly failure: { readonly code: AirlockError['code']; readonly message: string };
  readonly others: number;
}): AirlockError {
  const more = others === 0 ? '' : ` (and ${others} more did not come)`;
  return new AirlockError(
    failure.code,
    `${repository} has to be whole before it is exported, and not all of its packages came: ${failure.message}${more} Try again later; "airlock upstream history ${upstream}" tells what failed. Or export other repositories only: --repository NAME.`,
    { details: { repository, upstream } },
  );
}
