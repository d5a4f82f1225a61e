/** Changes of an RPM repository: its metadata is that of the packages, however they came to be there. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { changePackages } from '../../../src/repo/packages/change-packages.ts';
import { type PackageEdit, REPOMD } from '../../../src/repo/packages/prepare-change.ts';
import { PackageScene, REPOSITORY } from './scene.ts';

async function repomdOf({ catalog }: PackageScene): Promise<Digest | undefined> {
  return (await catalog.lookup(REPOSITORY, REPOMD))?.artifact.digest;
}

const ALL_STAY: NonNullable<PackageEdit['keep']> = ({ artifact }) => artifact;

test('packages that come one by one give the metadata that they give together', async (t) => {
  const together = await PackageScene.make(t);
  await together.import(await together.packages('one', 'two', 'three', 'four'));
  const single = await PackageScene.make(t);
  for (const name of ['three', 'one', 'four', 'two', 'two']) await single.import(await single.packages(name));
  assert.equal((await single.catalog.repository(REPOSITORY))?.published, 4);
  assert.equal(await repomdOf(single), await repomdOf(together));
});

test('an edit that may touch all packages, and touches none, changes nothing', async (t) => {
  const scene = await PackageScene.make(t);
  await scene.import(await scene.packages('one', 'two', 'three'));
  const before = await repomdOf(scene);
  const revision = await changePackages(scene.context(), { repository: REPOSITORY, reason: 'test', keep: ALL_STAY });
  assert.equal(revision, 1);
  assert.equal(await repomdOf(scene), before);
});

test('a package that takes the place of another is listed instead of it', async (t) => {
  const scene = await PackageScene.make(t);
  await scene.import(await scene.packages('one', 'two'));
  const [one] = (await scene.import(await scene.packages('one'))).packages;
  const [three] = (await scene.import(await scene.packages('three'))).packages;
  assert.ok(one !== undefined && three !== undefined);
  const artifact = (await scene.catalog.lookup(REPOSITORY, three.path))?.artifact;
  assert.ok(artifact !== undefined);
  const edit = { repository: REPOSITORY, reason: 'test', add: [{ path: one.path, artifact }], mayReplace: () => true };
  await changePackages(scene.context(), edit);
  const listed = (await scene.catalog.listedPackages(REPOSITORY)).map((key) => key.split(' ', 1)[0]);
  assert.deepEqual([...new Set(listed)], ['three', 'two']);
});

test('packages of which nothing is recorded are read once for all metadata', async (t) => {
  const names = ['one', 'two', 'three', 'four'];
  const scene = await PackageScene.make(t);
  const { packages } = await scene.import(await scene.packages(...names));
  const fresh = await PackageScene.make(t);
  await fresh.import(await fresh.packages(...names.slice(1)));
  const database = new DatabaseSync(path.join(scene.data, 'catalog.sqlite'));
  database.exec('delete from provides; delete from packages');
  database.close();
  const read: Digest[] = [];
  const context = scene.context({
    blobs: {
      ...scene.blobs,
      open: (digest, ...range) => {
        read.push(digest);
        return scene.blobs.open(digest, ...range);
      },
    },
  });
  const gone = packages.find((each) => each.package.startsWith('one-'))?.path;
  const keep: PackageEdit['keep'] = (entry) => (entry.path === gone ? 'gone' : entry.artifact);
  await changePackages(context, { repository: REPOSITORY, reason: 'test', keep });
  assert.equal(await repomdOf(scene), await repomdOf(fresh));
  const left: readonly string[] = packages.filter((each) => each.path !== gone).map(({ digest }) => digest);
  assert.deepEqual(read.filter((digest) => left.includes(digest)).sort(), [...left].sort());
});
