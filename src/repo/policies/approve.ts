/** `policy approve`: a person has looked at a held version and lets it out. */

import { AirlockError } from '../../errors.ts';
import { untilSettled } from '../catalog/until-settled.ts';
import type { Stores } from '../staging.ts';
import { type BroughtPolicy, write } from './bring.ts';
import { POLICIES, policySet, versionPath } from './policy-name.ts';
import { heldVersions, newestVersion, type PolicyVersion, versionAt } from './versions.ts';

/**
 * Publishes a held version. A part of a set goes together with those parts that wait for it; while another part has never
 * been published, or has to be approved too, it stays held.
 * @throws policy.not-found
 */
export async function approvePolicy(stores: Stores, name: string, number: number): Promise<BroughtPolicy> {
  const { catalog } = stores;
  return await untilSettled(async () => {
    const base = (await catalog.repository(POLICIES))?.published ?? 0;
    const found = await versionAt(catalog, name, number);
    if (found === undefined) {
      throw new AirlockError(
        'policy.not-found',
        `There is no version ${number} of policy ${name} here. "airlock policy list" shows those there are.`,
      );
    }
    const newest = await newestVersion(catalog, name);
    const before = newest === undefined ? null : versionPath(name, newest.version);
    if (found.held === null) return { outcome: 'present', version: found, before, waitsFor: [], along: [] };
    const approved = { ...found, approvedAt: new Date().toISOString() };
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
    const pending = (await heldVersions(catalog, other)).findLast(({ version }) => version > (newest?.version ?? 0));
    if (pending?.held?.widens === true) waitsFor.push(versionPath(other, pending.version));
    else if (pending !== undefined) waiting.push(pending);
    else if (newest === undefined && part <= 2) waitsFor.push(other);
  }
  return { waiting, waitsFor };
}
