import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { exportRepositoryKey, importRepositoryKey } from '../../../src/repo/formats/openpgp/repository-key.ts';
import { importRpms } from '../../../src/repo/ingest/import-rpm.ts';
import { refreshKeys } from '../../../src/repo/packages/change-packages.ts';
import { silent } from '../../../src/repo/progress.ts';
import { buildRpm } from '../../media/rpm-builder.ts';
import { pair, type Twin } from './twins.ts';

const REPOSITORY = 'ssr-el9-x86_64';

async function importPackage({ dir, app }: Twin): Promise<void> {
  const file = path.join(dir, 'hello-1-1.x86_64.rpm');
  await writeFile(file, buildRpm({ name: 'hello', version: '1', release: '1', arch: 'x86_64' }).file);
  const policy = { signatures: 'allow-unsigned', isExplicit: true } as const;
  const target = { distribution: 'el9', architecture: 'x86_64', policy, allowMissing: true };
  await importRpms(await app.ingest(), [file], target, { signal: new AbortController().signal, progress: silent });
}

test('who comes to share the key settles on one signature, whosever is the one that stays', async (t) => {
  const stayed = new Set<string>();
  for (let round = 0; round < 12 && stayed.size < 2; round += 1) {
    const { a, b, fromB, aLooks, bLooks } = await pair(t);
    await importPackage(a);
    for (const looks of [bLooks, aLooks, bLooks, aLooks]) await looks();
    assert.equal(fromB.standing.keys.length, 1, 'they sign with different keys');
    await importRepositoryKey(b.dir, Buffer.from(await exportRepositoryKey(a.dir)));
    await refreshKeys(await b.app.ingest(), 'keys repository import');
    const signatureOf = async (twin: Twin) => (await twin.holds())[`${REPOSITORY}/repodata/repomd.xml.asc`] ?? '';
    const before = [await signatureOf(a), await signatureOf(b)];
    for (const looks of [bLooks, aLooks, bLooks, aLooks]) await looks();
    const [atA, atB] = [await signatureOf(a), await signatureOf(b)];
    assert.equal(atA, atB);
    stayed.add(before.indexOf(atA) === 0 ? 'of A' : 'of B');
  }
  assert.deepEqual([...stayed].sort(), ['of A', 'of B']);
});
