/** Packages on their way in: what becomes of those that are stored before all of them are there. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { limits } from '../../../src/limits.ts';
import type { BlobStore } from '../../../src/repo/blobs/blob-store.ts';
import { sliceStat } from '../../../src/repo/blobs/slice-reader.ts';
import { LEASE_MS } from '../../../src/repo/catalog/catalog.ts';
import { prune } from '../../../src/repo/upkeep/prune.ts';
import { airlockJson } from '../../support/cli.ts';
import { importRpmWords, type Refusal } from '../../support/conductor.ts';
import { needs } from '../../support/needs.ts';
import { PackageScene, quietly, sha256, TARGET } from '../packages/scene.ts';
import { injecting } from '../upkeep/support.ts';

const DAY = 24 * 3600_000;

async function pruneNow({ blobs, catalog, clock }: PackageScene, grace: number): Promise<number> {
  const now = new Date(clock.now);
  const options = { ...quietly(), now, before: new Date(clock.now - grace), dryRun: false };
  return (await prune(blobs, catalog, options)).removed.length;
}

/** Reads packages so slowly that the leases of the first ones are over when there is a prune, before the last one. */
async function importSlowly(t: TestContext, scene: PackageScene, files: readonly string[], grace: number) {
  const clock = t.mock.method(performance, 'now', () => scene.clock.now);
  let created = 0;
  const create: BlobStore['create'] = async (options) => {
    created += 1;
    if (created > 1 && created <= files.length) scene.clock.now += LEASE_MS * 0.6;
    if (created === files.length) await pruneNow(scene, grace);
    return await scene.blobs.create(options);
  };
  try {
    return await scene.import(files, { context: scene.context({ blobs: { ...scene.blobs, create } }) });
  } finally {
    clock.mock.restore();
  }
}

test('packages that take longer than a lease are still there when they are published', async (t) => {
  const scene = await PackageScene.make(t);
  const files = await scene.packages('one', 'two', 'three', 'four');
  const { packages } = await importSlowly(t, scene, files, DAY);
  assert.equal(packages.length, 4);
  const stored: readonly string[] = await scene.stored();
  for (const { digest } of packages) assert.ok(stored.includes(digest), digest);
});

test('without grace they may go, and are then not published', async (t) => {
  const scene = await PackageScene.make(t);
  const files = await scene.packages('one', 'two', 'three', 'four');
  await assert.rejects(importSlowly(t, scene, files, 0), { code: 'blob.missing' });
  assert.deepEqual(await scene.catalog.repositories(), []);
});

test('what was recorded on the way goes if nothing is published, and what was here before stays', async (t) => {
  const scene = await PackageScene.make(t);
  const [before = '', ...others] = await scene.packages('before', 'one', 'two');
  const here = await scene.store(await readFile(before));
  const files = [before, ...others, await scene.package('foreign', 'aarch64')];
  await assert.rejects(scene.import(files), { code: 'rpm.foreign-arch' });
  assert.deepEqual(await scene.stored(), [here]);
  assert.deepEqual(
    (await scene.catalog.blobs({ limit: 9 })).map(({ digest }) => digest),
    [here],
  );
});

test('a package that lies in an image stays there', async (t) => {
  const scene = await PackageScene.make(t);
  const [file = ''] = await scene.packages('one');
  const bytes = await readFile(file);
  const image = Buffer.concat([Buffer.alloc(100), bytes]);
  const container = await scene.store(image);
  const digest = sha256(bytes);
  const stored = await scene.blobs.stat(container);
  assert.ok(stored !== undefined);
  const slice = sliceStat(stored, { digest, size: bytes.length, start: 100 });
  await scene.catalog.transaction((tx) => tx.recordSlice(slice, { container, start: 100 }));
  await scene.import([file]);
  assert.deepEqual((await scene.catalog.blob(digest))?.within, { container, start: 100 });
  assert.ok(!(await scene.stored()).includes(digest));
});

test('a search for packages can be interrupted', async (t) => {
  const scene = await PackageScene.make(t);
  await scene.packages('one');
  const signal = AbortSignal.abort();
  await assert.rejects(scene.import([path.join(scene.dir, 'packages')], { signal }), { code: 'interrupted' });
  await mkdir(path.join(scene.dir, 'empty', 'deeper'), { recursive: true });
  await assert.rejects(scene.import([path.join(scene.dir, 'empty')], { signal }), { code: 'interrupted' });
});

test(
  'a folder that this user may not read is passed over, one that the medium lost is not',
  needs('strace'),
  async (t) => {
    const scene = await PackageScene.make(t);
    const [one = ''] = await scene.packages('one', 'two');
    const folder = path.join(scene.dir, 'packages');
    const below = path.join(folder, 'below');
    await mkdir(below);
    await rename(one, path.join(below, path.basename(one)));
    const words = importRpmWords([folder], 'check-rpm-signature', 'disabled');
    const run = (fault: string) => {
      const wrapper = injecting(scene.dir, below, 'openat', `error=${fault}`);
      return airlockJson<Refusal & { packages: unknown[]; warnings: string[] }>(
        ['--data', path.join(scene.dir, 'other'), ...words],
        { wrapper },
      );
    };
    const lost = await run('EIO');
    assert.deepEqual([lost.code, lost.json.error.code], [5, 'source.lost'], lost.stderr);
    const { code, json, stderr } = await run('EACCES');
    assert.equal(code, 0, stderr);
    assert.equal(json.packages.length, 1);
    assert.match(json.warnings.join('\n'), /passed over: .*below.* \(this user may not read it\)/);
  },
);

test('folders that are too deep are passed over', async (t) => {
  const scene = await PackageScene.make(t);
  const [one = ''] = await scene.packages('one', 'two');
  const folder = path.join(scene.dir, 'packages');
  const deep = path.join(folder, ...Array.from({ length: limits.hunt.depth + 1 }, () => 'd'));
  await mkdir(deep, { recursive: true });
  await rename(one, path.join(deep, path.basename(one)));
  const { packages, warnings } = await scene.import([folder], { target: TARGET });
  assert.deepEqual(
    packages.map((each) => each.package),
    ['two-1-1.noarch'],
  );
  assert.match(warnings.join('\n'), /passed over: .*deeper than/);
});
