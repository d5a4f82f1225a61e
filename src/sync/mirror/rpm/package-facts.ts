import type { ForeignPackage } from '../../../repo/formats/repodata/read-primary.ts';

/** What the artifacts of a site say of where they came from. */
export function sourceOf(site: string): string {
  return site;
}

/** By which a package that is here is known again. */
export function checksumKey({ checksum }: Pick<ForeignPackage, 'checksum'>): string {
  return `${checksum.type}:${checksum.value}`;
}
