/** All keys of the export station are changed; the site follows by itself. */
import assert from 'node:assert/strict';
import type { ImportBundleReport } from '../../../src/sync/bundle/import-bundle.ts';
import type { Told } from '../telling.ts';
import type { World } from '../world.ts';

export async function rotateKeys({ staging }: World): Promise<Told<void>> {
  const outcomes = await staging.json<{ role: string; adopted: boolean }[]>('keys', 'rotate', '--offline');
  assert.ok(outcomes.length > 0 && outcomes.every(({ adopted }) => adopted), JSON.stringify(outcomes));
  return {
    value: undefined,
    said: `new keys at staging: ${outcomes.map(({ role }) => role).join(', ')}`,
    checked: ['signed by the old ones and in force'],
  };
}

/** @param before the last import with the old keys, and the first one with the new ones */
export async function checkRotated(
  { a }: World,
  before: ImportBundleReport,
  after: ImportBundleReport,
): Promise<Told<void>> {
  const { rootVersion } = await a.json<{ rootVersion: number }>('trust', 'show');
  assert.ok(after.signatures.rootVersion > before.signatures.rootVersion);
  assert.equal(rootVersion, after.signatures.rootVersion);
  const kept = after.signatures.keys.filter((key) => before.signatures.keys.includes(key));
  assert.deepEqual(kept, [], 'no old key signed');
  return {
    value: undefined,
    said: `A trusts root ${rootVersion} now, after root ${before.signatures.rootVersion}`,
    checked: ['no old key signed the last bundle'],
  };
}
