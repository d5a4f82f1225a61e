import assert from 'node:assert/strict';
import { isAirlockError } from '../../../src/errors.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import type { Artifact } from '../../../src/repo/catalog/artifact.ts';
import { packTexts } from '../../../src/repo/catalog/packages.ts';
import { testArtifact, testDigest, testStat } from '../../support/artifacts.ts';
import { type CatalogUnderTest, type Check, collected } from './under-test.ts';

const IMAGE = 100;

/** Packages 1 and 2 are slices of image 100, and 3 is stored by itself. */
async function imported(under: CatalogUnderTest): Promise<void> {
  await under.catalog.transaction(async (tx) => {
    await tx.recordBlob(testStat(IMAGE));
    for (const n of [1, 2]) await tx.recordBlob(testStat(n), { container: testDigest(IMAGE), start: 10 * n });
    await tx.recordBlob(testStat(3));
  });
  await under.publish('images', { put: [{ path: 'image', artifact: testArtifact(IMAGE) }] });
  await under.publish('rpms', { put: [1, 2, 3].map((n) => ({ path: `${n}`, artifact: packageOf(n) })) });
}

function packageOf(n: number): Artifact {
  const within = n === 3 ? null : { container: testDigest(IMAGE), start: 10 * n };
  return testArtifact(n, { kind: 'rpm', origins: [{ within, release: null }] });
}

async function pruned(under: CatalogUnderTest): Promise<number[]> {
  const remove = () => Promise.resolve();
  return (await collected(under.catalog.prune({ before: under.later(), remove }))).map(({ size }) => size);
}

export function sliceChecks(check: Check): void {
  check('a slice tells where it lies, until it is stored by itself', async (under) => {
    await imported(under);
    const within = { container: testDigest(IMAGE), start: 20 };
    assert.deepEqual((await under.catalog.blob(testDigest(2)))?.within, within);
    assert.equal((await under.catalog.blob(testDigest(3)))?.within, null);
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(2, 'again')));
    assert.deepEqual((await under.catalog.blob(testDigest(2)))?.within, within);
    await under.catalog.transaction((tx) => tx.recordBlob(testStat(2, 'alone'), null));
    assert.equal((await under.catalog.blob(testDigest(2)))?.within, null);
    const slices = await under.catalog.slicesOf(testDigest(IMAGE), { limit: 10 });
    assert.deepEqual(
      slices.map(({ size }) => size),
      [1],
    );
    assert.deepEqual(await under.catalog.slicesOf(testDigest(IMAGE), { after: testDigest(1), limit: 10 }), []);
  });

  check('an image stays while something refers to a slice of it, and is named as stranded', async (under) => {
    await imported(under);
    await under.publish('images', { withdraw: ['image'] });
    await under.publish('rpms', { withdraw: ['1'] });
    const stranded = async () => (await under.catalog.stranded(under.later())).map(({ size }) => size);
    assert.deepEqual(await stranded(), [IMAGE]);
    assert.deepEqual(await pruned(under), [1]);
    assert.deepEqual(await pruned(under), []);
    await under.publish('rpms', { withdraw: ['2'] });
    assert.deepEqual(await pruned(under), [2]);
    assert.deepEqual(await stranded(), []);
    assert.deepEqual(await pruned(under), [IMAGE]);
    assert.ok((await under.catalog.blob(testDigest(3))) !== undefined);
  });

  check('a forgotten slice casts doubt on its image only', async (under) => {
    await imported(under);
    await under.catalog.transaction((tx) => tx.forgetBlob(testDigest(1)));
    assert.equal((await under.catalog.blob(testDigest(IMAGE)))?.stamp, null);
    assert.equal((await under.catalog.blob(testDigest(2)))?.stamp, 'stamp 2');
    assert.equal((await under.catalog.blob(testDigest(3)))?.stamp, 'stamp 3');
  });

  check('a change made for another revision than the published one is refused', async (under) => {
    await under.publish('a', { put: [{ path: 'x', artifact: testArtifact(1) }] });
    const publish = (base: number) =>
      under.catalog.transaction((tx) => tx.publish('a', { reason: 'test', base, remove: ['x'] }));
    await assert.rejects(publish(0), (error) => isAirlockError(error, 'revision.moved'));
    await assert.rejects(publish(2), (error) => isAirlockError(error, 'revision.moved'));
    assert.equal(await publish(1), 2);
  });

  packageChecks(check);
}

function packageChecks(check: Check): void {
  const texts = { primary: Buffer.from('<a/>'), filelists: Buffer.from('<b/>'), other: Buffer.from('<c>é</c>') };
  const provides = [
    { name: 'p', flags: 8, evr: '1:2-3' },
    { name: '/bin/p', flags: 0, evr: null },
  ];

  check('what repodata says of packages is kept as long as they are', async (under) => {
    await imported(under);
    const record = (n: number) => ({ digest: testDigest(n), texts: packTexts(texts), provides });
    await under.catalog.recordPackages([record(1), record(2)]);
    await under.catalog.recordPackages([record(1)]);
    const digests: Digest[] = [1, 2, 3].map(testDigest);
    for (const text of ['primary', 'filelists', 'other'] as const) {
      const found = await under.catalog.packageTexts(text, digests);
      assert.deepEqual(
        [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([digest, bytes]) => [digest, bytes.toString()]),
        [1, 2].map((n) => [testDigest(n), texts[text].toString()]),
      );
    }
    await under.publish('rpms', { withdraw: ['1'] });
    await pruned(under);
    assert.deepEqual([...(await under.catalog.packageTexts('other', digests)).keys()], [testDigest(2)]);
  });

  check('published packages of which nothing is recorded are known', async (under) => {
    await imported(under);
    await under.catalog.recordPackages([{ digest: testDigest(1), texts: packTexts(texts), provides }]);
    const unrecorded = async (limit = 10) => (await under.catalog.unrecordedPackages('rpms', limit)).sort();
    assert.deepEqual(await unrecorded(), [testDigest(2), testDigest(3)]);
    assert.equal((await unrecorded(1)).length, 1);
    await under.publish('rpms', { remove: ['2'], put: [{ path: 'x', artifact: testArtifact(100) }] });
    assert.deepEqual(await unrecorded(), [testDigest(3)]);
    assert.deepEqual(await under.catalog.unrecordedPackages('images', 10), []);
  });

  check('what published packages provide is found by name', async (under) => {
    await imported(under);
    await under.catalog.recordPackages([{ digest: testDigest(1), texts: packTexts(texts), provides }]);
    assert.deepEqual(await under.catalog.provides('rpms', 'p'), [provides[0]]);
    assert.deepEqual(await under.catalog.provides('rpms', '/bin/p'), [provides[1]]);
    assert.deepEqual(await under.catalog.provides('images', 'p'), []);
    await under.publish('rpms', { remove: ['1'] });
    assert.deepEqual(await under.catalog.provides('rpms', 'p'), []);
  });
}
