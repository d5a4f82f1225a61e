/** `policy approve` and `policy reject`: a person has looked at a held version, and lets it out or keeps it in. */

import { AirlockError } from '../../errors.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import { type RevokedContent, requireNotRevoked } from '../revoked.ts';
import type { Stores } from '../staging.ts';
import { type BroughtPolicy, write } from './bring.ts';
import { POLICIES, policySet, versionPath } from './policy-name.ts';
import { rejectedError } from './tell.ts';
import { isPublished, newestVersion, type PolicyVersion, versionAt, versionsAside } from './versions.ts';

/**
 * Publishes a held version. A part of a set goes together with those parts that wait for it; while another part has never
 * been published, was rejected or has to be approved too, it stays held.
 * @param options.rejected also one that was rejected
 * @param options.revoked what must not be published
 * @throws policy.not-found, policy.rejected, trust.revoked
 */
export async function approvePolicy(
  stores: Stores,
  name: string,
  number: number,
  options: { readonly rejected?: boolean; readonly revoked?: RevokedContent } = {},
): Promise<BroughtPolicy> {
  const { catalog } = stores;
  return await untilSettled(async () => {
    const { found, base, before } = await look(stores, name, number);
    if (isPublished(found)) return { outcome: 'present', version: found, before, waitsFor: [], along: [] };
    if (found.rejected !== null && options.rejected !== true) throw rejectedError(found);
    requireNotRevoked(options.revoked ?? new Map(), versionPath(name, number), found.digest);
    const approved = { ...found, approvedAt: new Date().toISOString(), rejected: null };
    const { waiting, waitsFor } = await otherParts(stores, name);
    const isHeld = waitsFor.length > 0;
    const version: PolicyVersion = { ...approved, held: isHeld ? { widens: false, waits: true } : null };
    const along = isHeld
      ? []
      : waiting.map((each) => ({ version: { ...each, held: null }, write: 'publish' as const }));
    const reason = `policy approve ${versionPath(name, number)}`;
    await catalog.transaction(async (tx) => {
      await write(tx, [{ version, write: isHeld ? 'hold' : 'publish' }, ...along], { base, reason });
    });
    const others = along.map((each) => versionPath(each.version.name, each.version.version));
    return { outcome: isHeld ? 'held' : 'published', version, before, waitsFor, along: others };
  });
}

/**
 * Keeps a held version from ever being published. It stays here, so that the same bytes are known when they come again;
 * parts of its set that wait for it go on waiting, for another text. Rejecting it again may give another reason.
 * @param reason for people
 * @throws policy.not-found, policy.published
 */
export async function rejectPolicy(
  stores: Stores,
  name: string,
  number: number,
  reason: string | null,
): Promise<BroughtPolicy> {
  return await untilSettled(async () => {
    const { found, base, before } = await look(stores, name, number);
    const path = versionPath(name, number);
    if (isPublished(found)) {
      throw new AirlockError(
        'policy.published',
        `${path} is published, and only what is held can be rejected. "airlock repo revisions ${POLICIES}" shows the older revisions, and "airlock repo publish ${POLICIES} N" goes back to one.`,
      );
    }
    const at = found.rejected?.at ?? new Date().toISOString();
    const rejected = { at, reason: reason ?? found.rejected?.reason ?? null };
    const version: PolicyVersion = { ...found, held: null, approvedAt: null, rejected };
    await stores.catalog.transaction(async (tx) => {
      await write(tx, [{ version, write: 'hold' }], { base, reason: `policy reject ${path}` });
    });
    return { outcome: 'rejected', version, before, waitsFor: [], along: [] };
  });
}

/** @throws policy.not-found */
async function look({ catalog }: Stores, name: string, version: number) {
  const base = (await catalog.repository(POLICIES))?.published ?? 0;
  const found = await versionAt(catalog, name, version);
  if (found === undefined) {
    throw new AirlockError(
      'policy.not-found',
      `There is no version ${version} of policy ${name} here. "airlock policy list" shows those there are.`,
    );
  }
  const newest = await newestVersion(catalog, name);
  return { found, base, before: newest === undefined ? null : versionPath(name, newest.version) };
}

/** Parts of the same set that can go along, and those that keep it. */
async function otherParts(
  { catalog }: Stores,
  name: string,
): Promise<{ waiting: PolicyVersion[]; waitsFor: string[] }> {
  const waiting: PolicyVersion[] = [];
  const waitsFor: string[] = [];
  const set = policySet(name);
  for (let part = 1; set !== undefined && part <= 9; part += 1) {
    const other = `${set.stem}-${part}`;
    if (other === name) continue;
    const newest = await newestVersion(catalog, other);
    const pending = (await versionsAside(catalog, other)).findLast(({ version }) => version > (newest?.version ?? 0));
    if (pending?.held?.widens === true || pending?.rejected != null) waitsFor.push(versionPath(other, pending.version));
    else if (pending !== undefined) waiting.push(pending);
    else if (newest === undefined && part <= 2) waitsFor.push(other);
  }
  return { waiting, waitsFor };
}
