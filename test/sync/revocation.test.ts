/** What was revoked is withdrawn wherever it is held, and does not come back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT } from '../../src/errors.ts';
import { digestOfBytes } from '../../src/repo/blobs/digest-of.ts';
import type { Artifact } from '../../src/repo/catalog/artifact.ts';
import { withdrawContent } from '../../src/sync/bundle/withdraw.ts';
import { testArtifact, testDigest, testStat } from '../support/artifacts.ts';
import { airlock } from '../support/cli.ts';
import { type Place, scene } from './scene.ts';

/** Digests that `prune` would let go once its grace is over. */
async function released({ app: { catalog } }: Place): Promise<string[]> {
  const before = new Date(Date.now() + 60_000);
  const told: string[] = [];
  for await (const { digest } of catalog.prune({ before, dryRun: true, remove: () => Promise.reject() }))
    told.push(digest);
  return told;
}

test('revocation: content that had been replaced is not published again, here or at the site', async (t) => {
  const { station, site, folder } = await scene(t);
  const digest = digestOfBytes(Buffer.from('faulty'));
  await station.put('tools', 'x.bin', 'faulty');
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  await station.put('tools', 'x.bin', 'mended');
  await station.export(await folder('two'));
  await site.import(await folder('two'));
  const at = ({ dir }: Place, ...args: string[]) => airlock(['--data', dir, ...args]);
  assert.equal((await at(station, 'repo', 'publish', 'tools', '2')).code, EXIT.done);
  await station.put('tools', 'x.bin', 'mended');

  const revoked = await at(station, 'keys', 'revoke', digest);
  assert.equal(revoked.code, EXIT.done, revoked.stderr);
  await station.export(await folder('three'));
  assert.deepEqual((await site.import(await folder('three'))).revoked, []); // nothing published was concerned
  for (const [place, revision] of [
    [station, '2'],
    [site, '1'],
  ] as const) {
    const again = await at(place, 'repo', 'publish', 'tools', revision);
    assert.equal(again.code, EXIT.unverified, again.stdout);
    assert.match(again.stderr, /x\.bin.*trust\.revoked|trust\.revoked.*x\.bin/s);
    assert.equal((await place.published())['tools/x.bin'], 'mended');
    // Nobody holds it any more.
    assert.deepEqual(await released(place), [digest]);
  }
  assert.equal((await at(site, 'repo', 'publish', 'tools', '2')).code, EXIT.done);
});

test('revocation: with an image go packages of older revisions that only it brought', async (t) => {
  const { site } = await scene(t);
  const { catalog } = site.app;
  const [IMAGE, OTHER] = [100, 200];
  const packageOf = (n: number, ...images: number[]): Artifact => {
    const origins = images.map((image) => ({ within: { container: testDigest(image), start: 10 * n }, release: null }));
    return testArtifact(n, { kind: 'rpm', origins });
  };
  await catalog.transaction(async (tx) => {
    for (const n of [IMAGE, OTHER]) await tx.recordBlob(testStat(n));
    for (const n of [1, 2]) await tx.recordSlice(testStat(n), { container: testDigest(IMAGE), start: 10 * n });
    await tx.ensureRepository('images', 'file');
    await tx.ensureRepository('rpms', 'rpm');
    const images = [IMAGE, OTHER].map((n) => ({ path: `${n}`, artifact: testArtifact(n) }));
    await tx.publish('images', { reason: 'test', put: images });
    const put = [
      { path: '1', artifact: packageOf(1, IMAGE) },
      { path: '2', artifact: packageOf(2, IMAGE, OTHER) },
    ];
    await tx.publish('rpms', { reason: 'test', put });
    await tx.publish('rpms', { reason: 'test', remove: ['1', '2'] });
  });
  const withdrawn = await withdrawContent(await site.app.ingest(), new Set([testDigest(IMAGE)]), 'revoked');
  assert.deepEqual(
    withdrawn.map(({ path }) => path),
    [`${IMAGE}`],
  );
  assert.deepEqual(await released(site), [testDigest(1)]);
});
