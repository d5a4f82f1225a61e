/** What the last sync of a repository came to, so that the next one can tell whether there is anything to do. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Catalog, CatalogTransaction } from '../../../repo/catalog/catalog.ts';
import type { VendorKey } from '../../../repo/formats/openpgp/key-files.ts';
import { digestSchema } from '../../trust/revocations.ts';
import type { RpmRule } from '../rpm.ts';

const stateSchema = z.object({
  site: z.string(),
  path: z.string(),
  /** Of what the rule asks for, and of the keys that packages were verified with. */
  rule: z.string(),
  keys: z.string(),
  /** The repomd.xml of the site. */
  repomd: digestSchema,
  /** The newest timestamp in it, seconds since 1970. */
  newest: z.number(),
  /** One of the site's keys had signed it. */
  isSigned: z.boolean(),
  /** The revision that was published then. */
  revision: z.number(),
});

export type MirrorState = z.output<typeof stateSchema>;

function keyOf(repository: string): string {
  return `mirror:rpm:${repository}`;
}

/** @returns undefined where nothing was mirrored into the repository, or from another place */
export async function readState(
  catalog: Catalog,
  site: string,
  { repository, path }: RpmRule,
): Promise<MirrorState | undefined> {
  const text = await catalog.meta(keyOf(repository));
  const { data } = stateSchema.safeParse(text === undefined ? undefined : JSON.parse(text));
  return data?.site === site && data.path === path ? data : undefined;
}

export async function writeState(tx: CatalogTransaction, repository: string, state: MirrorState): Promise<void> {
  await tx.setMeta(keyOf(repository), JSON.stringify(state));
}

/** Changes when the rule asks for something else. */
export function ruleId({ include, exclude, newest, policy }: RpmRule): string {
  return hashOf({ include, exclude, newest: newest ?? null, policy });
}

/** Changes when packages are to be verified with other keys. */
export function keysId(keys: readonly VendorKey[]): string {
  return hashOf(keys.map(({ fingerprint }) => fingerprint).sort());
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
