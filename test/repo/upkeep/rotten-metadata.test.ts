/** Metadata of ours that rots on the disk: who tells, and what writes it anew. */
import assert from 'node:assert/strict';
import { open, readFile, rm } from 'node:fs/promises';
import { test } from 'node:test';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../../src/repo/blobs/layout.ts';
import type { VerifyReport } from '../../../src/repo/upkeep/verify.ts';
import { airlock, airlockJson, startServer } from '../../support/cli.ts';
import { PackageScene, REPOSITORY, sha256 } from '../packages/scene.ts';

interface Metadata {
  readonly path: string;
  readonly digest: Digest;
}

/** The metadata of a revision that we wrote ourselves. */
async function metadataOf({ catalog }: PackageScene, revision: number): Promise<Metadata[]> {
  const found: Metadata[] = [];
  for await (const { path, artifact } of catalog.entries(REPOSITORY, revision)) {
    if (/^repodata\/.*-primary\.xml/.test(path)) found.push({ path, digest: artifact.digest });
  }
  assert.ok(found.length > 0);
  return found;
}

/** Changes a byte in the middle, where it lies; the length stays. */
async function rot(scene: PackageScene, metadata: readonly Metadata[]): Promise<void> {
  for (const { digest } of metadata) {
    const file = await open(blobPath(scene.data, digest), 'r+');
    const { size } = await file.stat();
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, size >> 1);
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, size >> 1);
    await file.close();
  }
}

/** Two revisions, the second with a package more; the metadata of both is rotten, and `verify` has been run. */
async function made(t: Parameters<typeof PackageScene.make>[0]) {
  const scene = await PackageScene.make(t);
  const files = await scene.packages('one', 'two');
  const [one = '', two = ''] = files;
  await scene.import([one]);
  await scene.import([two]);
  const [first, second] = [await metadataOf(scene, 1), await metadataOf(scene, 2)];
  await rot(scene, [...first, ...second]);
  const run = (...args: string[]) => airlock(['--data', scene.data, ...args]);
  const verified = await airlockJson<VerifyReport>(['--data', scene.data, 'verify']);
  const isThere = async (all: readonly Metadata[]) => {
    for (const { digest } of all) {
      const bytes = await readFile(blobPath(scene.data, digest)).catch(() => Buffer.alloc(0));
      if (sha256(bytes) !== digest) return false;
    }
    return true;
  };
  return { scene, run, verified, first, second, isThere, files };
}

test('verify names rotten metadata, and says what writes it anew', async (t) => {
  const { scene, run, verified, first, second, isThere } = await made(t);
  assert.equal(verified.code, 4);
  const published = second.map(({ path }) => `${REPOSITORY}/${path}`);
  assert.deepEqual(
    verified.json.damage.flatMap(({ artifacts }) => artifacts).toSorted(),
    published.toSorted(),
    'older revisions are no path',
  );
  assert.equal(verified.json.damage.length, first.length + second.length);
  for (const path of published) {
    const line = verified.stderr.split('\n').find((each) => each.includes(path)) ?? '';
    assert.match(line, /is damaged, kept in .*\. "airlock verify --repair" writes it anew\.$/);
  }
  const again = await run('verify');
  assert.match(again.stderr, /is missing\. "airlock verify --repair" writes it anew\.\n/);

  const repaired = await run('verify', '--repair');
  assert.match(repaired.stdout, /\nssr-el9-x86_64 is at revision 2 now, and its metadata is written anew\.\n/);
  assert.ok(await isThere(second), 'the same packages have the same metadata');
  assert.equal((await run('verify')).code, 0);
  const server = await startServer(t, scene.data);
  for (const { path, digest } of second) {
    const answer = await fetch(`${server.url}/repos/${REPOSITORY}/${path}`);
    assert.deepEqual([answer.status, sha256(Buffer.from(await answer.arrayBuffer()))], [200, digest]);
  }
});

test('the next import writes it anew', async (t) => {
  const { scene, run, second, isThere, files } = await made(t);
  await scene.import(files.slice(1));
  assert.ok(await isThere(second));
  assert.equal((await run('verify')).code, 0);
});

test('publishing a revision again writes it anew', async (t) => {
  const { scene, run, first, second, isThere } = await made(t);
  const published = await run('repo', 'publish', REPOSITORY, '2');
  assert.equal(published.code, 0, published.stderr);
  assert.match(published.stdout, /is at revision 2 now/);
  assert.ok(await isThere(second));
  const older = await run('repo', 'publish', REPOSITORY, '1');
  assert.equal(older.code, 0, older.stderr);
  assert.match(older.stdout, /is at revision 3 now, equal to 1/);
  assert.ok(await isThere(first));
  assert.deepEqual(await metadataOf(scene, 3), first);
  assert.equal((await scene.catalog.revisions(REPOSITORY))[0]?.reason, 'publish 1');
  assert.equal((await run('verify')).code, 0);
});

test('a revision of which a package is gone is not published again', async (t) => {
  const { scene, run, first } = await made(t);
  const [one] = (await scene.import(await scene.packages('one'))).packages;
  assert.ok(one);
  await rm(blobPath(scene.data, one.digest as Digest));
  await run('verify');
  const published = await run('repo', 'publish', REPOSITORY, '1');
  assert.equal(published.code, 3, published.stdout);
  assert.match(published.stderr, /revision\.incomplete/);
  for (const { digest } of first) assert.equal(await scene.catalog.blob(digest), undefined, 'nothing was written');
});
