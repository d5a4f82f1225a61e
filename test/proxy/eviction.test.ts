import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { Origin } from '../support/origin.ts';
import { read, scene, sourceAt } from './scene.ts';

const MiB = 1024 * 1024;

test('what nobody used for longest makes room; what is pinned, small or in a repository stays', async (t) => {
  const origin = await Origin.start(t);
  const made = await scene(t, { conductors: [sourceAt(origin)], cacheSize: 7 * MiB, pinned: ['6.1'] });
  const { pull, repository } = made;
  const bytesOf = new Map<string, Buffer>();
  const fetchOne = async (name: string, size = 2 * MiB) => {
    const bytes = testBytes(size, bytesOf.size + 1);
    bytesOf.set(name, bytes);
    origin.files.set(`/repos/${name}`, { bytes });
    made.clock += 1000;
    await pull.pull(`repos/${name}`);
  };
  const digestOfOne = (name: string) => digestOf(bytesOf.get(name) ?? Buffer.alloc(0));
  const held = { path: 'held-policies/app@2', digest: digestOf(Buffer.alloc(1)), size: 8 * MiB, facts: {} };
  await repository.catalog.transaction((tx) => tx.keepPulled({ ...held, usedAt: new Date(0) }));
  await fetchOne('6.1/pinned.iso');
  await fetchOne('list.xml', 1000);
  await fetchOne('old.iso');
  await fetchOne('used.iso');
  await fetchOne('new.iso');
  await until('room was made', () => pull.counters.evicted === 1);
  const kept = async () =>
    (await repository.catalog.pulledPage({ after: held.path, limit: 10 })).map(({ path }) => path.slice(6));
  assert.deepEqual(await kept(), ['6.1/pinned.iso', 'list.xml', 'new.iso', 'used.iso']);
  assert.equal(await repository.blobs.stat(digestOfOne('old.iso')), undefined, 'its bytes are gone at once');

  made.clock += 1000;
  await read(pull, 'repos/used.iso');
  await repository.publish('mine', [{ path: 'new', digest: digestOfOne('new.iso'), size: 2 * MiB }]);
  await fetchOne('newer.iso');
  await until('room was made again', () => pull.counters.evicted === 2);
  assert.deepEqual(await kept(), ['6.1/pinned.iso', 'list.xml', 'newer.iso', 'used.iso']);
  assert.ok(await repository.blobs.stat(digestOfOne('new.iso')), 'a repository holds it');
  assert.ok(await repository.catalog.pulled(held.path), 'what is held back neither counts nor goes');
});
