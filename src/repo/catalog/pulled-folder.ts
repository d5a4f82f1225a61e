import { limits } from '../../limits.ts';
import type { Catalog } from './catalog.ts';
import type { Pulled } from './pulled.ts';

export type PulledItem =
  | { readonly type: 'folder'; readonly name: string }
  | { readonly type: 'file'; readonly name: string; readonly pulled: Pulled };

/**
 * What was fetched and is kept below a prefix, as a folder: folders first, then files, each in order of names.
 * @param prefix `repos/images/6.3/`
 */
export async function* pulledFolder(catalog: Catalog, prefix: string): AsyncGenerator<PulledItem> {
  for await (const { name, isFolder } of walk(catalog, prefix)) if (isFolder) yield { type: 'folder', name };
  for await (const { name, isFolder, pulled } of walk(catalog, prefix)) {
    if (!isFolder && name !== '') yield { type: 'file', name, pulled };
  }
}

/** All items of a folder; of what lies deeper only as many rows are read as come with them. */
async function* walk(catalog: Catalog, prefix: string) {
  let folder = '';
  for (let after: string | undefined = prefix; after !== undefined; ) {
    const page: Pulled[] = await catalog.pulledPage({ after, limit: limits.catalog.page });
    after = undefined;
    for (const pulled of page) {
      if (!pulled.path.startsWith(prefix)) return;
      const [name = '', ...deeper] = pulled.path.slice(prefix.length).split('/');
      const isFolder = deeper.length > 0;
      // The next page begins after all that lies in the folder.
      after = isFolder ? `${prefix}${name}/\u{10ffff}` : pulled.path;
      if (isFolder && name === folder) continue;
      if (isFolder) folder = name;
      yield { name, isFolder, pulled };
    }
  }
}
