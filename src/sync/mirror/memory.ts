import type { Catalog } from '../../repo/catalog/catalog.ts';
import type { SiteMemory } from './rule.ts';

/** What is remembered of a site, in the catalog. */
export function siteMemory(catalog: Catalog, site: string): SiteMemory {
  return {
    get: (path) => catalog.remembered(site, path),
    put: (path, { isHeld = true, listed = null, ...what }) =>
      catalog.transaction((tx) => tx.remember({ site, path, ...what, isHeld, listed })),
    forget: (prefix) => catalog.transaction((tx) => tx.forgetRemembered(site, prefix)),
  };
}
