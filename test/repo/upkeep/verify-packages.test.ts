/** RPM repositories whose bytes rot: what becomes of their packages and of the metadata that names them. */
import assert from 'node:assert/strict';
import { appendFile, readFile, rm } from 'node:fs/promises';
import { test } from 'node:test';
import type { BlobStore, Digest } from '../../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../../src/repo/blobs/layout.ts';
import { openRepositoryKey } from '../../../src/repo/formats/openpgp/repository-key.ts';
import type { PackagesContext } from '../../../src/repo/packages/prepare-change.ts';
import { silent } from '../../../src/repo/progress.ts';
import { type VerifyReport, verify } from '../../../src/repo/upkeep/verify.ts';
import { testArtifact } from '../../support/artifacts.ts';
import { airlockJson, startServer } from '../../support/cli.ts';
import { PackageScene, quietly, REPOSITORY } from '../packages/scene.ts';

const SIGNATURE = 'repodata/repomd.xml.asc';

async function digestAt({ catalog }: PackageScene, at: string, repository = REPOSITORY): Promise<Digest> {
  const digest = (await catalog.lookup(repository, at))?.artifact.digest;
  assert.ok(digest !== undefined, at);
  return digest;
}

function repair(scene: PackageScene, context: PackagesContext = scene.context(), notes: string[] = []) {
  const progress = { ...silent, note: (line: string) => void notes.push(line) };
  return verify(context, { ...quietly(), progress, now: Date.now, repair: true });
}

test('a signature of metadata that is damaged is made again', async (t) => {
  const scene = await PackageScene.make(t);
  const first = await scene.import(await scene.packages('one'));
  await appendFile(blobPath(scene.data, await digestAt(scene, SIGNATURE)), '\n');
  const { code, json } = await airlockJson<VerifyReport>(['--data', scene.data, 'verify', '--repair']);
  assert.equal(code, 4);
  assert.deepEqual([json.damage.length, json.withdrawn], [1, []]);
  assert.equal(json.revisions[REPOSITORY], first.revision + 1);
  const server = await startServer(t, scene.data);
  assert.equal((await fetch(`${server.url}/repos/${REPOSITORY}/${SIGNATURE}`)).status, 200);
  assert.deepEqual((await repair(scene)).damage, []);
});

test('metadata that rotted, though its stamp is the same, keeps nobody from writing it', async (t) => {
  const scene = await PackageScene.make(t);
  await scene.import(await scene.packages('one'));
  const published: string[] = [];
  for await (const { path, artifact } of scene.catalog.entries(REPOSITORY, 1)) {
    if (/-(primary|filelists|other)\.xml/.test(path)) published.push(artifact.digest);
  }
  let read = 0;
  const rotten: BlobStore = {
    ...scene.blobs,
    async open(digest, range) {
      const reader = await scene.blobs.open(digest, range);
      if (!published.includes(digest)) return reader;
      return {
        ...reader,
        close: () => reader.close(),
        async readAt(into, position) {
          const length = await reader.readAt(into, position);
          if (position > reader.size / 3) return length; // the index at the end, which is right
          into[12] = (into[12] ?? 0) ^ 0xff;
          read += 1;
          return length;
        },
      };
    },
  };
  const { revision } = await scene.import(await scene.packages('one'), { context: scene.context({ blobs: rotten }) });
  assert.equal(revision, 1, 'the same packages have the same metadata');
  assert.ok(read > 0, 'the published files were looked at');
  assert.deepEqual((await repair(scene)).damage, []);
});

test('--repair leaves a repository with a vendor’s metadata to the next sync, and repairs the others', async (t) => {
  const scene = await PackageScene.make(t);
  const { catalog } = scene;
  const lost = await scene.store(Buffer.from('lost'));
  const put = (at: string, facts: object = {}) => ({
    path: at,
    artifact: testArtifact(0, { digest: lost, size: 4, facts: { ...facts } }),
  });
  await catalog.transaction(async (tx) => {
    await tx.ensureRepository('mirror', 'rpm');
    const repomd = { verbatim: true, files: [] };
    await tx.publish('mirror', { reason: 'test', put: [put('repodata/repomd.xml', repomd), put('Packages/a.rpm')] });
    await tx.ensureRepository('tools', 'file');
    await tx.publish('tools', { reason: 'test', put: [put('a')] });
  });
  await rm(blobPath(scene.data, lost));
  const { code, json, stderr } = await airlockJson<VerifyReport>(['--data', scene.data, 'verify', '--repair']);
  assert.equal(code, 4, stderr);
  assert.deepEqual([json.damage.length, json.withdrawn, json.revisions], [1, ['tools/a'], { tools: 2 }]);
  assert.match(stderr, /mirror .*upstream sync/);
  assert.equal((await catalog.repository('mirror'))?.published, 1);
});

test('a package that is imported again while others are taken out stays', async (t) => {
  const scene = await PackageScene.make(t);
  const [one = '', two = '', three = ''] = await scene.packages('one', 'two', 'three');
  const { packages } = await scene.import([one, two, three]);
  const [first, second] = [one, two].map((file) => packages.find((each) => each.file === file));
  for (const each of [first, second]) await rm(blobPath(scene.data, (each?.digest ?? '') as Digest));
  let signed = 0;
  const context = scene.context({
    async repositoryKey() {
      signed += 1;
      if (signed === 1) await scene.import([one]); // all that changes is that its bytes are here again
      return await openRepositoryKey(scene.data);
    },
  });
  const { withdrawn } = await repair(scene, context);
  assert.deepEqual(withdrawn, [`${REPOSITORY}/${second?.path}`]);
  assert.equal(await digestAt(scene, first?.path ?? ''), first?.digest);
  assert.ok(
    (await readFile(one)).equals(await readFile(blobPath(scene.data, await digestAt(scene, first?.path ?? '')))),
  );
  const metadata = await readFile(blobPath(scene.data, await digestAt(scene, 'repodata/repomd.xml')), 'utf8');
  await scene.import([three]);
  assert.equal(await readFile(blobPath(scene.data, await digestAt(scene, 'repodata/repomd.xml')), 'utf8'), metadata);
  assert.deepEqual((await repair(scene)).damage, []);
});
