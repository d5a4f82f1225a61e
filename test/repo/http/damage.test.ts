import assert from 'node:assert/strict';
import { readdir, rm, utimes } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { blobPath, quarantineDir } from '../../../src/repo/blobs/layout.ts';
import type { RunningServer } from '../../../src/repo/http/server.ts';
import { tamperFile } from '../blobs/support.ts';
import { type LogLine, metric, TestRepository, testBytes } from './support.ts';

const sizes = { small: 5000, medium: 200_000, big: 2_500_000 };
type Size = keyof typeof sizes;

interface Damaged {
  readonly repository: TestRepository;
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly server: RunningServer & { log: LogLine[] };
}

async function start(t: TestContext, size: Size, memoryCache = 32 << 20): Promise<Damaged> {
  const repository = await TestRepository.make(t);
  const bytes = testBytes(sizes[size]);
  const digest = await repository.put('images/6.3/x.iso', bytes);
  return { repository, digest, bytes, server: await repository.serve(t, { memoryCache }) };
}

interface Answer {
  readonly status: number;
  readonly bytes: Buffer;
  /** Of an error. */
  readonly code: string;
}

async function ask(server: RunningServer, path = '/repos/images/6.3/x.iso'): Promise<Answer> {
  const response = await fetch(new URL(path, server.url));
  const bytes = Buffer.from(await response.arrayBuffer());
  const isError = response.headers.get('content-type')?.startsWith('application/json') === true;
  return { status: response.status, bytes, code: isError ? JSON.parse(bytes.toString()).error.code : '' };
}

const flip = (bytes: Uint8Array) => {
  const at = bytes.length >> 1;
  return bytes.with(at, (bytes[at] ?? 0) ^ 1);
};

for (const size of ['small', 'medium', 'big'] as const) {
  const changes = { flipped: flip, cut: (bytes: Uint8Array) => bytes.subarray(0, -7), emptied: () => new Uint8Array() };
  for (const [what, change] of Object.entries(changes)) {
    test(`a ${size} blob that was ${what} is quarantined and never served`, async (t) => {
      const { repository, digest, server } = await start(t, size);
      await tamperFile(repository.dir, digest, change);
      for (const answer of await Promise.all(Array.from({ length: 5 }, () => ask(server)))) {
        assert.equal(answer.status, 500);
        assert.match(answer.code, /^blob\.(damaged|missing)$/);
        assert.ok(!answer.bytes.includes(repository.dir), 'tells where files lie');
      }
      assert.equal((await ask(server)).code, 'blob.missing');
      assert.equal((await ask(server)).status, 500);
      assert.equal(await metric(server, 'airlock_quarantined_blobs_total'), 1);
      assert.equal((await readdir(quarantineDir(repository.dir))).length, 1);
      assert.equal(await repository.catalog.blob(digest), undefined);
      const line = server.log.find(({ message }) => message.includes('quarantine'));
      assert.deepEqual(line?.facts.artifacts, ['images/6.3/x.iso']);

      await repository.store(testBytes(sizes[size]));
      assert.equal((await ask(server)).status, 200, 'imported again, it is served again');
    });
  }

  test(`a ${size} blob that went away`, async (t) => {
    const { repository, digest, server } = await start(t, size);
    await rm(blobPath(repository.dir, digest), { force: true });
    const answer = await ask(server);
    assert.equal(answer.status, 500);
    assert.equal(answer.code, 'blob.missing');
    const head = await fetch(new URL('/repos/images/6.3/x.iso', server.url), { method: 'HEAD' });
    assert.equal(head.status, 500);
  });

  test(`a ${size} blob that was only touched is hashed, recorded and served`, async (t) => {
    const { repository, digest, bytes, server } = await start(t, size);
    const before = await repository.catalog.blob(digest);
    await utimes(blobPath(repository.dir, digest), new Date(), new Date());
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask(server)));
    assert.ok(answers.every((answer) => answer.status === 200 && answer.bytes.equals(bytes)));
    const after = await repository.catalog.blob(digest);
    assert.notEqual(after?.stamp, before?.stamp);
    assert.equal(after?.stamp, (await repository.blobs.stat(digest))?.stamp);
    assert.equal(server.log.filter(({ message }) => message.includes('touched')).length, 1);
  });

  test(`a ${size} blob that was never proven is hashed before it is served`, async (t) => {
    const { repository, digest, bytes, server } = await start(t, size);
    await repository.catalog.restoreBlobs([{ digest, size: bytes.length }]);
    assert.ok((await ask(server)).bytes.equals(bytes));
  });
}

test('a blob damaged after it was opened is not served again from the open file', async (t) => {
  const { repository, digest, bytes, server } = await start(t, 'big');
  assert.ok((await ask(server)).bytes.equals(bytes));
  assert.equal(await metric(server, 'airlock_open_blobs'), 1);
  await tamperFile(repository.dir, digest, flip);
  assert.equal((await ask(server)).status, 500);
  assert.equal(await metric(server, 'airlock_open_blobs'), 0);
});

test('what lies in memory is right, but is not served once the blob is forgotten', async (t) => {
  const { repository, digest, bytes, server } = await start(t, 'small');
  assert.ok((await ask(server)).bytes.equals(bytes));
  await tamperFile(repository.dir, digest, flip);
  assert.ok((await ask(server)).bytes.equals(bytes));
  await repository.blobs.quarantine(digest);
  await repository.catalog.transaction((tx) => tx.forgetBlob(digest));
  assert.equal((await ask(server)).status, 500);
});

test('small bodies are hashed when they are loaded, even under an equal stamp', async (t) => {
  const { repository, digest, server } = await start(t, 'small');
  await tamperFile(repository.dir, digest, flip);
  const stamp = (await repository.blobs.stat(digest))?.stamp ?? '';
  await repository.catalog.transaction((tx) => tx.recordBlob({ digest, size: sizes.small, stamp }));
  assert.equal((await ask(server)).code, 'blob.damaged');
  assert.equal(await metric(server, 'airlock_quarantined_blobs_total'), 1);
});

test('a damaged blob of several names takes down only these', async (t) => {
  const { repository, digest, bytes, server } = await start(t, 'big');
  await repository.publish('images', [{ path: 'other/name.iso', digest, size: bytes.length }]);
  await repository.put('images/6.3/good.iso', testBytes(1000, 7));
  await tamperFile(repository.dir, digest, flip);
  assert.equal((await ask(server)).status, 500);
  assert.equal((await ask(server, '/repos/images/other/name.iso')).status, 500);
  assert.equal((await ask(server, '/repos/images/6.3/good.iso')).status, 200);
});

test('a file that shrinks while it is being sent cuts the connection, not the truth', async (t) => {
  const repository = await TestRepository.make(t);
  const bytes = testBytes(40_000_000);
  const digest = await repository.put('images/x.iso', bytes);
  const server = await repository.serve(t);
  const answer = await fetch(new URL('/repos/images/x.iso', server.url));
  assert.equal(answer.status, 200);
  const reader = answer.body?.getReader();
  await reader?.read();
  await tamperFile(repository.dir, digest, (all) => all.subarray(0, 1000));
  await assert.rejects(async () => {
    for (;;) if ((await reader?.read())?.done !== false) return;
  });
});
