import assert from 'node:assert/strict';
import { limits } from '../../../src/limits.ts';
import type { RememberedFile } from '../../../src/repo/catalog/remembered.ts';
import { testDigest } from '../../support/artifacts.ts';
import { pruned, record } from './pruning.ts';
import type { Check } from './under-test.ts';

export function mirroringChecks(check: Check): void {
  const file = (path: string, n: number, more: Partial<RememberedFile> = {}): RememberedFile => ({
    site: 'a',
    path,
    etag: '"1"',
    modified: new Date(5),
    size: n,
    digest: testDigest(n),
    isHeld: true,
    listed: null,
    ...more,
  });

  check(
    'what a site held is remembered, and its bytes stay as long as that, where they are asked for',
    async (under) => {
      await record(under, 1, 2);
      const second = file('x/z', 2, { isHeld: false, etag: null, modified: null, listed: '18-Nov 5' });
      await under.catalog.transaction(async (tx) => {
        await tx.remember(file('x/y', 2));
        await tx.remember(file('x/y', 1));
        await tx.remember(second);
        await tx.remember(file('x/y', 1, { site: 'b', isHeld: false }));
      });
      assert.deepEqual(await under.catalog.remembered('a', 'x/y'), file('x/y', 1));
      assert.deepEqual(await under.catalog.remembered('a', 'x/z'), second);
      assert.equal(await under.catalog.remembered('c', 'x/y'), undefined);
      assert.deepEqual(await pruned(under), { told: [2], removed: [2] });
      assert.equal(await under.catalog.removeUnheld(testDigest(1), () => Promise.reject()), false);
      await under.catalog.transaction((tx) => tx.forgetRemembered('a', 'x/y/'));
      assert.deepEqual(await pruned(under), { told: [], removed: [] });
      await under.catalog.transaction((tx) => tx.forgetRemembered('a', 'x/'));
      assert.equal(await under.catalog.remembered('a', 'x/z'), undefined);
      assert.notEqual(await under.catalog.remembered('b', 'x/y'), undefined);
      assert.deepEqual(await pruned(under), { told: [1], removed: [1] });
    },
  );

  check('the newest syncs of each upstream are kept, and told newest first', async (under) => {
    const sync = (n: number, upstream = 'a') => ({ upstream, startedAt: new Date(n), endedAt: null, report: { n } });
    await under.catalog.transaction(async (tx) => {
      await tx.recordSync(sync(1, 'b'));
      for (let n = 1; n <= limits.mirror.history + 2; n += 1) await tx.recordSync(sync(n));
      await tx.recordSync({ ...sync(5), endedAt: new Date(9), report: ['changed'] });
    });
    const all = await under.catalog.syncs('a', 1000);
    assert.equal(all.length, limits.mirror.history);
    assert.deepEqual(all[0], sync(limits.mirror.history + 2));
    const fifth = all.find(({ startedAt }) => startedAt.getTime() === 5);
    assert.deepEqual(fifth, { ...sync(5), endedAt: new Date(9), report: ['changed'] });
    assert.equal((await under.catalog.syncs('a', 2)).length, 2);
    assert.equal((await under.catalog.syncs('b', 2)).length, 1);
  });
}
