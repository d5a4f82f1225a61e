import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { openApp } from '../../../src/app.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../../src/repo/blobs/layout.ts';
import { sliceStat } from '../../../src/repo/blobs/slice-reader.ts';
import type { Place } from '../../../src/repo/catalog/artifact.ts';
import { type PruneReport, prune } from '../../../src/repo/upkeep/prune.ts';
import { testArtifact } from '../../support/artifacts.ts';
import { needsTracing, startTraced } from '../../support/strace.ts';
import { PackageScene, quietly, sha256 } from '../packages/scene.ts';
import { makeScene } from './support.ts';

/** Takes paths of `tools` out for good. */
async function withdraw(data: string, ...paths: string[]): Promise<void> {
  const app = await openApp({ dataDir: data });
  try {
    await app.catalog.transaction((tx) => tx.publish('tools', { reason: 'test', withdraw: paths }));
  } finally {
    await app.close();
  }
}

test('it says what still waits, until when, and how not to wait', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('kept', 'kept');
  await add('one', 'first');
  await add('two', 'second one');
  assert.equal((await run('prune')).stdout, 'Freed 0 B in 0 blobs.\n');
  const before = Date.now();
  await withdraw(data, 'one');
  await withdraw(data, 'two');
  const { json: report } = await json<PruneReport>('prune', '--grace', '2d');
  assert.deepEqual([report.removed.length, report.waiting.blobs, report.waiting.bytes], [0, 2, 15]);
  const [first = '', last = ''] = report.waiting.since ?? [];
  assert.ok(Date.parse(String(first)) >= before && Date.parse(String(first)) < Date.parse(String(last)));
  const said = await run('prune', '--grace', '2d');
  const day = new Date(Date.parse(String(first)) + 2 * 24 * 3600_000).toISOString().slice(0, 10);
  assert.match(
    said.stdout,
    /^Freed 0 B in 0 blobs\.\n15 B in 2 blobs wait until .* UTC.*; "airlock prune --grace 0" frees them now\.\n$/,
  );
  assert.ok(said.stdout.includes(day), said.stdout);
  assert.match((await run('prune', '--grace', '0')).stdout, /^Freed 15 B in 2 blobs\.\n$/);
  assert.equal((await json<PruneReport>('prune', '--grace', '2d')).json.waiting.since, null);
});

/** An image made of packages, recorded with what lies where in it. */
async function addImage(
  scene: PackageScene,
  packages: readonly Buffer[],
): Promise<{ digest: Digest; places: Place[] }> {
  const digest = await scene.store(Buffer.concat(packages));
  const stored = await scene.blobs.stat(digest);
  assert.ok(stored !== undefined);
  const places: Place[] = [];
  let start = 0;
  for (const bytes of packages) {
    const place = { container: digest, start };
    const slice = sliceStat(stored, { digest: sha256(bytes), size: bytes.length, start });
    await scene.catalog.transaction((tx) => tx.recordSlice(slice, place));
    places.push(place);
    start += bytes.length;
  }
  return { digest, places };
}

function packageOf(bytes: Buffer, places: readonly (Place | undefined)[]) {
  const origins = places.map((within) => ({ within: within ?? null, release: null }));
  return {
    path: `Packages/${sha256(bytes).slice(7, 17)}.rpm`,
    artifact: testArtifact(0, { digest: sha256(bytes), size: bytes.length, kind: 'rpm', origins }),
  };
}

async function pruneAll({ blobs, catalog }: PackageScene): Promise<PruneReport> {
  const now = new Date(Date.now() + 1000);
  return await prune(blobs, catalog, { ...quietly(), now, before: now, dryRun: false });
}

test('images that share packages go at once, and what is needed of them is told once', async (t) => {
  const scene = await PackageScene.make(t);
  const [shared, one, two] = ['shared', 'one', 'two'].map((name) => Buffer.from(`package ${name}`));
  assert.ok(shared !== undefined && one !== undefined && two !== undefined);
  const first = await addImage(scene, [shared, one]);
  const second = await addImage(scene, [two, shared]);
  const put = [
    packageOf(shared, [first.places[0], second.places[1]]),
    packageOf(one, [first.places[1]]),
    packageOf(two, [second.places[0]]),
  ];
  await scene.catalog.transaction(async (tx) => {
    await tx.ensureRepository('packages', 'rpm');
    await tx.publish('packages', { reason: 'test', put });
  });
  const { removed, relocated } = await pruneAll(scene);
  assert.deepEqual(removed.map(({ digest }) => digest).sort(), [first.digest, second.digest].sort());
  const needed = [shared, one, two].map(sha256).sort();
  assert.deepEqual(relocated.map(({ digest }) => digest).sort(), needed);
  assert.deepEqual(await scene.stored(), needed);
});

test('an image that another one could not stand in for is not kept from going', async (t) => {
  const scene = await PackageScene.make(t);
  const bytes = Buffer.from('package');
  const image = await addImage(scene, [Buffer.from('before'), bytes]);
  const other = await addImage(scene, [Buffer.from('other'), bytes]);
  await scene.catalog.transaction(async (tx) => {
    await tx.ensureRepository('packages', 'rpm');
    await tx.publish('packages', { reason: 'test', put: [packageOf(bytes, [image.places[1], other.places[1]])] });
    await tx.ensureRepository('images', 'file');
    const artifact = testArtifact(0, { digest: other.digest, size: 12 });
    await tx.publish('images', { reason: 'test', put: [{ path: 'other.iso', artifact }] });
  });
  await utimes(blobPath(scene.data, other.digest), 1, 1); // nobody knows whether it still is what it was
  const { removed } = await pruneAll(scene);
  assert.ok(removed.some(({ digest }) => digest === image.digest));
  await scene.catalog.transaction((tx) => tx.publish('images', { reason: 'test', withdraw: ['other.iso'] }));
  assert.deepEqual(
    (await pruneAll(scene)).removed.map(({ digest }) => digest),
    [other.digest],
  );
});

test('stopped, it ends soon; the next one frees the rest', needsTracing(), async (t) => {
  const { dir, data, json, add } = await makeScene(t);
  const texts = ['one', 'two', 'three'];
  const files = [];
  for (const each of texts) files.push(await add(each, each));
  await withdraw(data, ...texts);
  const hold = ['-e', 'trace=unlink', '-e', 'inject=unlink:signal=SIGSTOP:when=1'];
  for (const file of files) hold.unshift('-P', file);
  const running = await startTraced(['--data', data, 'prune', '--grace', '0'], path.join(dir, 'trace'), hold, 'pool');
  t.after(() => running.child.kill('SIGKILL'));
  await running.stopped();
  running.child.kill('SIGTERM');
  running.child.kill('SIGCONT');
  const { code, stderr } = await running.result;
  assert.equal(code, 5, stderr);
  assert.match(stderr, /error \(interrupted\)/);
  assert.equal(files.filter((file) => existsSync(file)).length, 2);
  assert.equal((await json('prune', '--grace', '0')).code, 0);
  assert.deepEqual(
    files.filter((file) => existsSync(file)),
    [],
  );
  assert.equal((await json('doctor')).code, 0);
});
