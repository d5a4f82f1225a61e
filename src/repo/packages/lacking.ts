import { AirlockError } from '../../errors.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { REPOMD } from './prepare-change.ts';

/** How many packages the published metadata of a repository lists that are not here; 0 but for those mirrored on demand. */
export async function lacking(catalog: Pick<Catalog, 'lookup'>, repository: string): Promise<number> {
  return Number((await catalog.lookup(repository, REPOMD))?.artifact.facts.lacks ?? 0);
}

/**
 * For whoever carries a repository to where nobody can ask for the rest of it.
 * @param names undefined: all
 * @throws blob.missing if one of them lacks packages that its metadata lists
 */
export async function requireComplete(
  catalog: Pick<Catalog, 'lookup' | 'repositories'>,
  names: readonly string[] | undefined,
): Promise<void> {
  for (const { name, kind } of await catalog.repositories()) {
    const lacks = kind !== 'rpm' || names?.includes(name) === false ? 0 : await lacking(catalog, name);
    if (lacks === 0) continue;
    throw new AirlockError(
      'blob.missing',
      `${name} lists ${lacks} packages that were not fetched, for nobody asked for them here. Export again where its upstream can be reached, mirror it with policy "immediate" ("airlock upstream sync NAME"), or export other repositories only: --repository NAME.`,
      { details: { repository: name, lacks } },
    );
  }
}
