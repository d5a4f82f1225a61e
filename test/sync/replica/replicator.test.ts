import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { tempDir } from '../../support/temp-dir.ts';
import { digestOf, look, pair, Twin } from './twins.ts';

test('what one imports comes to the other, and nothing more is asked than whether something changed', async (t) => {
  const { a, b, aLooks, bLooks } = await pair(t);
  await a.put('files/x/one', 'one');
  await a.put('files/two', 'two');
  await a.app.catalog.transaction(async (tx) => {
    await tx.ensureRepository('empty', 'policy');
    await tx.publish('empty', { reason: 'repo create' });
  });
  assert.deepEqual((await bLooks()).changes, [{ repository: 'files', revision: 1, taken: 2, dropped: 0 }]);
  assert.deepEqual(await b.holds(), { 'files/x/one': digestOf('one'), 'files/two': digestOf('two') });
  assert.equal((await b.app.catalog.repository('empty'))?.kind, 'policy');
  const [newest] = await b.app.catalog.revisions('files');
  assert.match(newest?.reason ?? '', /^replicate from http:/);

  await aLooks();
  for (let round = 0; round < 3; round += 1) {
    assert.deepEqual((await bLooks()).changes, []);
    assert.deepEqual((await aLooks()).changes, []);
  }
  assert.equal((await a.app.catalog.repository('files'))?.published, 2, 'an echo made a revision');
  await sleep(200); // the log is written a moment later
  const lines = a.asked.join('').trim().split('\n');
  assert.match(lines.at(-1) ?? '', /"path":"\/api\/v1\/replica","status":304,"bytes":0/);
});

test('bytes that are here already are not fetched', async (t) => {
  const { a, b, bLooks } = await pair(t);
  await a.put('files/one', 'same');
  await b.put('other/two', 'same');
  await bLooks();
  assert.deepEqual(await b.holds(), { 'files/one': digestOf('same'), 'other/two': digestOf('same') });
  assert.ok(!a.asked.some((line) => line.includes('/api/v1/blobs/')), a.asked.join('\n'));
});

test('a deletion is taken over, and nothing that was deleted comes back', async (t) => {
  const { a, b, aLooks, bLooks } = await pair(t);
  await a.put('files/one', 'one');
  await a.put('files/two', 'two');
  await bLooks();
  // A has not seen yet that B has taken it.
  await a.remove('files/one');
  await aLooks();
  assert.deepEqual(await a.holds(), { 'files/two': digestOf('two') });
  await bLooks();
  assert.deepEqual(await b.holds(), { 'files/two': digestOf('two') });
  // The other one deletes what it had taken.
  await b.remove('files/two');
  await bLooks();
  await aLooks();
  assert.deepEqual(await a.holds(), {});
  await bLooks();
  assert.deepEqual(await b.holds(), {});
  // And it may come again.
  await b.put('files/one', 'one');
  await aLooks();
  assert.deepEqual(await a.holds(), { 'files/one': digestOf('one') });
});

test('taken and deleted there before we looked again: it goes here, too', async (t) => {
  const { a, b, aLooks, bLooks } = await pair(t);
  await b.put('files/other', 'other');
  await aLooks();
  await a.put('files/one', 'one');
  await bLooks();
  await b.remove('files/one');
  await aLooks();
  assert.deepEqual(await a.holds(), { 'files/other': digestOf('other') });
});

test('a deletion withdraws the bytes where it did so on the other side', async (t) => {
  const { a, b, bLooks } = await pair(t);
  for (const name of ['gone', 'withdrawn']) await a.put(`files/${name}`, name);
  await bLooks();
  await a.app.catalog.transaction((tx) =>
    tx.publish('files', { reason: 'delete', remove: ['gone'], withdraw: ['withdrawn'] }),
  );
  await bLooks();
  assert.deepEqual(await b.holds(), {});
  assert.ok(await b.app.catalog.former('files', 'gone', new Date(0)));
  assert.equal(await b.app.catalog.former('files', 'withdrawn', new Date(0)), undefined);
});

test('what was replaced is replaced, on whichever side', async (t) => {
  const { a, b, aLooks, bLooks } = await pair(t);
  await a.put('files/one', '1');
  await bLooks();
  await a.put('files/one', '2');
  await bLooks();
  assert.deepEqual(await b.holds(), { 'files/one': digestOf('2') });
  await b.put('files/one', '3');
  await bLooks();
  assert.deepEqual(await b.holds(), { 'files/one': digestOf('3') });
  await aLooks();
  assert.deepEqual(await a.holds(), { 'files/one': digestOf('3') });
});

test('other bytes on both sides: both stay, are named, and the rest goes on; deleting one side ends it', async (t) => {
  for (const loser of ['a', 'b'] as const) {
    const { a, b, aLooks, bLooks, fromA, fromB } = await pair(t);
    await a.put('files/x', 'of a');
    await b.put('files/x', 'of b');
    await a.put('files/more', 'more');
    for (let round = 0; round < 2; round += 1) {
      await bLooks();
      await aLooks();
      assert.deepEqual(await a.holds(), { 'files/x': digestOf('of a'), 'files/more': digestOf('more') });
      assert.deepEqual(await b.holds(), { 'files/x': digestOf('of b'), 'files/more': digestOf('more') });
      const named = { repository: 'files', path: 'x', here: digestOf('of a'), there: digestOf('of b') };
      assert.deepEqual(
        fromB.standing.conflicts.map(({ since: _since, ...conflict }) => conflict),
        [named],
      );
      assert.equal(fromA.standing.conflicts.length, 1);
    }
    await { a, b }[loser].remove('files/x');
    // In either order, and with a look too many.
    await aLooks();
    await bLooks();
    await aLooks();
    const kept = digestOf(loser === 'a' ? 'of b' : 'of a');
    assert.deepEqual(await a.holds(), { 'files/x': kept, 'files/more': digestOf('more') }, loser);
    assert.deepEqual(await b.holds(), await a.holds(), loser);
    await bLooks();
    assert.deepEqual([fromA.standing.conflicts, fromB.standing.conflicts], [[], []], loser);
  }
});

test('a deletion does not take what was put there meanwhile', async (t) => {
  const { a, b, aLooks, bLooks } = await pair(t);
  await a.put('files/x', '1');
  await bLooks();
  await aLooks();
  await a.put('files/x', '2');
  await b.remove('files/x');
  await aLooks();
  assert.deepEqual(await a.holds(), { 'files/x': digestOf('2') });
  await bLooks();
  await aLooks();
  assert.deepEqual(await b.holds(), { 'files/x': digestOf('2') });
  assert.deepEqual(await a.holds(), await b.holds());
});

test('a repository of another kind is left alone, and named', async (t) => {
  const { a, b, bLooks, fromA } = await pair(t);
  await a.put('tools/x', 'x');
  await a.put('files/y', 'y');
  await b.app.catalog.transaction(async (tx) => {
    await tx.ensureRepository('tools', 'policy');
    await tx.publish('tools', { reason: 'repo create' });
  });
  await bLooks();
  assert.deepEqual(await b.holds(), { 'files/y': digestOf('y') });
  assert.deepEqual(
    fromA.standing.failures.map(({ repository, code }) => [repository, code]),
    [['tools', 'repository.kind']],
  );
});

test('a twin that forgot everything gets everything, and nothing is deleted', async (t) => {
  const { a, b, aLooks, bLooks } = await pair(t);
  await a.put('files/one', '1');
  await b.put('files/two', '2');
  await bLooks();
  await aLooks();
  const fresh = await Twin.start(t);
  await look(a.replicatorOf(fresh.server));
  assert.equal(Object.keys(await a.holds()).length, 2);
  await look(fresh.replicatorOf(a.server));
  await look(a.replicatorOf(fresh.server));
  assert.deepEqual(await fresh.holds(), await a.holds());
  // The marks alone are lost, as with a catalog that was made anew.
  for (const key of ['replica.node', 'replica.seen:files']) await b.app.catalog.setMeta(key, undefined);
  await aLooks();
  await bLooks();
  await aLooks();
  assert.deepEqual(await a.holds(), await b.holds());
  assert.equal(Object.keys(await a.holds()).length, 2);
});

test('a twin that was restored from a backup gets back what it has lost', async (t) => {
  const { a, b, bLooks, aLooks } = await pair(t);
  await b.put('files/old', 'old');
  await aLooks();
  await bLooks();
  await b.app.catalog.transaction(async () => undefined);
  const backup = path.join(await tempDir(t), 'data');
  await cp(b.dir, backup, { recursive: true });
  await b.put('files/new', 'new');
  await b.remove('files/old');
  await aLooks();
  assert.deepEqual(await a.holds(), { 'files/new': digestOf('new') });
  const restored = await Twin.start(t, backup);
  assert.deepEqual(await restored.holds(), { 'files/old': digestOf('old') });
  await look(a.replicatorOf(restored.server));
  assert.equal((await a.holds())['files/new'], digestOf('new'), 'the backup deleted something');
  await look(restored.replicatorOf(a.server));
  assert.equal((await restored.holds())['files/new'], digestOf('new'));
  await look(a.replicatorOf(restored.server));
  assert.deepEqual(await a.holds(), await restored.holds());
});

test('a twin that began as a copy of the other is another one', async (t) => {
  const a = await Twin.start(t);
  await a.put('files/one', '1');
  const copy = path.join(await tempDir(t), 'data');
  await a.app.catalog.meta('replica.node');
  await look(a.replicatorOf(a.server)); // gives it a name
  await cp(a.dir, copy, { recursive: true });
  const b = await Twin.start(t, copy);
  await b.put('files/two', '2');
  await look(a.replicatorOf(b.server));
  await a.put('files/three', '3');
  await look(b.replicatorOf(a.server));
  await look(a.replicatorOf(b.server));
  assert.equal(Object.keys(await a.holds()).length, 3);
  assert.deepEqual(await a.holds(), await b.holds());
});

const side = fc.constantFrom('a' as const, 'b' as const);
const NAMES = ['x', 'y', 'd/z'] as const;
const name = fc.constantFrom(...NAMES);
const looks = fc.array(side, { maxLength: 4 });

test('property: what only one side changed is in the end as that side has it', async (t) => {
  const content = fc.option(fc.integer({ max: 3, min: 0 }));
  const change = fc.record({ name, side, content, before: looks });
  const once = fc.uniqueArray(change, { selector: (each) => each.name, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(once, { minLength: 1, maxLength: 4 }), async (generations) => {
      const { a, b, aLooks, bLooks } = await pair(t);
      const twins = { a, b };
      const expected: Record<string, string> = { 'files/always': digestOf('always') };
      await a.put('files/always', 'always');
      await bLooks();
      for (const changes of generations) {
        for (const each of changes) {
          for (const who of each.before) await (who === 'a' ? aLooks() : bLooks());
          const at = `files/${each.name}`;
          if (each.content === null) await twins[each.side].remove(at);
          else await twins[each.side].put(at, String(each.content));
          if (each.content === null) delete expected[at];
          else expected[at] = digestOf(String(each.content));
        }
        // Each looks once; only then may the other side change the same path.
        await aLooks();
        await bLooks();
        assert.deepEqual(await a.holds(), expected);
        assert.deepEqual(await b.holds(), expected);
      }
    }),
    { numRuns: Number(process.env.RUNS ?? 15) },
  );
});

test('property: whatever both do, in whatever order they look, they end with the same, but for conflicts', async (t) => {
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('put' as const), side, name, content: fc.integer({ max: 3 }) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), side, name }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('look' as const), side }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const { a, b, aLooks, bLooks, fromA, fromB } = await pair(t);
      const twins = { a, b };
      for (const twin of [a, b]) await twin.put('files/always', 'always');
      for (const each of steps) {
        if (each.do === 'put') await twins[each.side].put(`files/${each.name}`, String(each.content));
        else if (each.do === 'remove') await twins[each.side].remove(`files/${each.name}`);
        else await (each.side === 'a' ? aLooks() : bLooks());
      }
      for (let round = 0; round < 4; round += 1) {
        await aLooks();
        await bLooks();
      }
      const [atA, atB] = [await a.holds(), await b.holds()];
      const names = (list: readonly { path: string }[]) => list.map(({ path: at }) => `files/${at}`).sort();
      const conflicts = names(fromA.standing.conflicts);
      assert.deepEqual(names(fromB.standing.conflicts), conflicts);
      for (const at of new Set([...Object.keys(atA), ...Object.keys(atB)])) {
        const isConflict = conflicts.includes(at);
        assert.equal(atA[at] !== atB[at], isConflict, `${at}: ${atA[at]} and ${atB[at]}`);
      }
      assert.deepEqual([(await aLooks()).changes, (await bLooks()).changes], [[], []]);
    }),
    { numRuns: Number(process.env.RUNS ?? 20) },
  );
});
