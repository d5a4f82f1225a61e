/** `repo publish`: a new revision equal to an older one. */
import { isAirlockError } from '../../errors.ts';
import type { Artifact } from '../catalog/artifact.ts';
import { changePackages } from './change-packages.ts';
import { isContent, type PackagesContext, REPOMD } from './prepare-change.ts';

/**
 * Metadata of package repositories that was lost is written anew on the way: the same packages have the same.
 * @returns the published revision
 * @throws as CatalogTransaction.publishAgain
 */
export async function publishAgain(context: PackagesContext, repository: string, revision: number): Promise<number> {
  try {
    return await context.catalog.transaction((tx) => tx.publishAgain(repository, revision));
  } catch (error) {
    if (!isAirlockError(error, 'revision.incomplete')) throw error;
    const content = await contentOf(context, repository, revision);
    if (content === undefined) throw error;
    return await publishContent(context, repository, { content, reason: `publish ${revision}` });
  }
}

type Content = ReadonlyMap<string, Artifact>;

/**
 * What a revision holds beside metadata of ours, by path.
 * @returns undefined if some of that is gone, too, or the metadata is a vendor's
 */
async function contentOf(
  { catalog }: PackagesContext,
  repository: string,
  revision: number,
): Promise<Content | undefined> {
  if ((await catalog.repository(repository))?.kind !== 'rpm') return undefined;
  const content = new Map<string, Artifact>();
  for await (const { path, artifact } of catalog.entries(repository, revision)) {
    if (path === REPOMD && artifact.facts.verbatim === true) return undefined;
    if (!isContent(artifact)) continue;
    if ((await catalog.blob(artifact.digest)) === undefined) return undefined;
    content.set(path, artifact);
  }
  return content;
}

async function publishContent(
  context: PackagesContext,
  repository: string,
  { content, reason }: { readonly content: Content; readonly reason: string },
): Promise<number> {
  const add = [...content].map(([path, artifact]) => ({ path, artifact }));
  return await changePackages(context, {
    repository,
    reason,
    add,
    keep: ({ path }) => content.get(path) ?? 'gone',
    mayReplace: () => true,
    endsVerbatim: true,
  });
}
