/** How a site stands in metadata: a delegated role of its name, which vouches for `<site>/*` and nothing else. */
import { TargetFile, type Targets } from '@tufjs/models';
import { AirlockError } from '../../errors.ts';
import type { Signers } from './metadata.ts';

/** A file of a bundle as a target. @param digest SHA-256, hexadecimal */
export function siteTarget(site: string, name: string, length: number, digest: string): TargetFile {
  return new TargetFile({ path: siteTargetPath(site, name), length, hashes: { sha256: digest } });
}

/** `north/manifest.json` */
export function siteTargetPath(site: string, name: string): string {
  return `${site}/${name}`;
}

/** Who may sign for a site. @throws site.not-found */
export function delegatedSite(targets: Targets, site: string): Signers {
  const { roles = {}, keys = {} } = targets.delegations ?? {};
  const role = Object.hasOwn(roles, site) ? roles[site] : undefined;
  if (role !== undefined) return { keys, role };
  throw new AirlockError('site.not-found', `There is no site ${site} yet. The first export to it adds it.`);
}
