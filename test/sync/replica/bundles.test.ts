/** What a bundle brings to one conductor of a pair holds for the other one, too. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import type { RepositoryPlan } from '../../../src/sync/replica/plan.ts';
import { withoutRevoked } from '../../../src/sync/replica/revoked.ts';
import { revoke } from '../../../src/sync/trust/published-revocations.ts';
import { testArtifact, testDigest } from '../../support/artifacts.ts';
import { coded, Place, refusedWith, scene } from '../scene.ts';
import { digestOf, pair } from './twins.ts';

/** An export station, and a pair of conductors at its site. */
async function site(t: TestContext) {
  const [made, twins] = [await scene(t), await pair(t)];
  const { bytes } = await made.station.publisher.root();
  const [a, b] = [new Place(twins.a.app), new Place(twins.b.app)];
  for (const conductor of [a, b]) await conductor.trust.add(bytes, { site: 'north' });
  return { ...made, ...twins, siteA: a, siteB: b };
}

test('a bundle older than what the twin has imported is refused, and comes back to neither', async (t) => {
  const { station, folder, siteA, siteB, aLooks, bLooks } = await site(t);
  const sent = async (content: string) => {
    await station.put('tools', 'a.txt', content);
    const to = await folder(content);
    await station.export(to);
    return to;
  };
  const [one, two, three] = [await sent('one'), await sent('two'), await sent('three')];
  await siteA.import(two);
  await bLooks();
  const error = await refusedWith(siteB, one, 4, 'trust.rollback');
  assert.match(error.message, /This is bundle 1, and tools\/a\.txt came here .* out of bundle 2/);
  await aLooks();
  assert.deepEqual(await siteA.published(), { 'tools/a.txt': 'two' });

  // The other way round, where a bundle has landed before.
  await siteB.import(three);
  await aLooks();
  assert.deepEqual(await siteA.published(), { 'tools/a.txt': 'three' });
  await refusedWith(siteA, two, 4, 'trust.rollback');
  assert.equal((await siteA.import(three)).sequence, 3);
  await bLooks();
  assert.deepEqual(await siteB.published(), { 'tools/a.txt': 'three' });
  assert.equal((await siteB.import(three)).outcome, 'present');
});

test('high numbers by stolen keys, which the twin took over: rotating the keys recovers both', async (t) => {
  const { station, folder, siteA, siteB, aLooks, bLooks } = await site(t);
  await station.put('other', 'b.txt', 'other');
  await station.export(await folder('first'));
  const state = path.join(station.dir, 'keys/publisher/state.json');
  const good = await readFile(state, 'utf8');
  const high = { snapshot: 900_000, timestamp: 900_000, sites: { north: { sequence: 900_000, signed: 900_000 } } };
  await writeFile(state, JSON.stringify({ ...JSON.parse(good), ...high }));
  await station.put('tools', 'a.txt', 'stolen');
  await station.export(await folder('stolen'));
  await siteA.import(await folder('stolen'));
  await bLooks();
  assert.equal((await siteB.published())['tools/a.txt'], 'stolen');
  await writeFile(state, good);

  await station.publisher.rotate();
  await station.put('tools', 'a.txt', 'second');
  await station.export(await folder('second'), { repositories: ['tools'] });
  await siteA.import(await folder('second'));
  await bLooks();
  assert.equal((await siteB.published())['tools/a.txt'], 'second');
  // What the stolen keys brought, and nothing replaced since, stands in the way of no bundle.
  await station.put('tools', 'a.txt', 'third');
  await station.put('other', 'b.txt', 'another');
  await station.export(await folder('third'));
  await siteA.import(await folder('third'));
  await bLooks();
  const published = { 'tools/a.txt': 'third', 'other/b.txt': 'another' };
  assert.deepEqual(await siteB.published(), published);
  await station.put('tools', 'a.txt', 'fourth');
  await station.export(await folder('fourth'));
  await siteB.import(await folder('fourth'));
  await aLooks();
  assert.deepEqual(await siteA.published(), { ...published, 'tools/a.txt': 'fourth' });
});

test('revoked content that somebody puts on the twin is not taken over, and is named', async (t) => {
  const { a, b, station, folder, siteA, fromB, aLooks } = await site(t);
  await a.put('files/bad', 'bad');
  await revoke(station.dir, [{ digest: digestOf('bad'), name: 'bad', reason: 'test' }]);
  await station.export(await folder('list'));
  assert.equal((await siteA.import(await folder('list'))).revoked.length, 1);
  await b.put('files/bad', 'bad');
  await b.put('files/good', 'good');
  for (const more of ['', 'more']) {
    if (more !== '') await b.put(`files/${more}`, more);
    await aLooks();
    assert.deepEqual(Object.keys(await a.holds()).sort(), [
      'files/good',
      ...(more === '' ? [] : [`files/${more}`]),
      'tools/a.txt',
    ]);
    const [failure] = fromB.standing.failures;
    assert.deepEqual([failure?.repository, failure?.code], ['files', 'trust.revoked']);
    assert.match(failure?.message ?? '', /files\/bad \(sha256:.* was revoked for this site/);
  }
  // It ends when it is deleted there.
  await b.remove('files/bad');
  await aLooks();
  assert.deepEqual(fromB.standing.failures, []);
});

test('with a revoked image, packages stay away that nothing else brought', () => {
  const [IMAGE, OTHER] = [100, 200];
  const packageOf = (n: number, ...images: number[]) => {
    const origins = images.map((image) => ({ within: { container: testDigest(image), start: 10 * n }, release: null }));
    const artifact = testArtifact(n, { kind: 'rpm', origins });
    return { path: `Packages/${n}.rpm`, since: n, artifact, within: null, how: 'take' as const };
  };
  const plan = (...take: RepositoryPlan['take']): RepositoryPlan => ({
    repository: 'tools',
    kind: 'rpm',
    isListed: true,
    base: 1,
    take,
    drop: [],
    conflicts: [],
    signature: undefined,
    marks: { peer: 'b', seen: { revision: 3, at: 1 }, merged: [], refused: [] },
    isWhole: true,
  });
  const all = plan(packageOf(1, IMAGE), packageOf(2, IMAGE, OTHER), packageOf(3, OTHER));
  const { plan: left, refused } = withoutRevoked(all, new Set([testDigest(IMAGE)]));
  assert.deepEqual(left.take, [packageOf(2, OTHER), packageOf(3, OTHER)]);
  assert.deepEqual(left.marks.refused, [{ path: 'Packages/1.rpm', since: 1 }]);
  assert.deepEqual(
    [...refused.values()].map(({ code }) => code),
    ['trust.revoked'],
  );
  const many = plan(...Array.from({ length: limits.replica.refused + 1 }, (_, index) => packageOf(index, IMAGE)));
  assert.throws(() => withoutRevoked(many, new Set([testDigest(IMAGE)])), coded('trust.revoked'));
});
