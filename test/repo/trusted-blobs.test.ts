import assert from 'node:assert/strict';
import { readdir, readFile, readlink, utimes, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { isAirlockError } from '../../src/errors.ts';
import type { BlobReader, Digest } from '../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../src/repo/blobs/layout.ts';
import { MemoryStore } from '../../src/repo/blobs/memory-store.ts';
import type { Catalog } from '../../src/repo/catalog/catalog.ts';
import { type TrustEvent, TrustedBlobs } from '../../src/repo/trusted-blobs.ts';
import { TestRepository, testBytes } from './http/support.ts';

async function openFiles(dir: string): Promise<string[]> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return links.filter((link) => link.startsWith(`${dir}/blobs/`));
}

async function readAll(reader: BlobReader): Promise<Buffer> {
  const bytes = Buffer.alloc(reader.size);
  assert.equal(await reader.readAt(bytes, 0), reader.size);
  return bytes;
}

test('files stay open between uses, within a bound, and are closed by their last user', async (t) => {
  const repository = await TestRepository.make(t);
  const digests = await Promise.all([1, 2, 3, 4].map((seed) => repository.store(testBytes(1000, seed))));
  const trusted = new TrustedBlobs({ catalog: repository.catalog, blobs: repository.blobs, openBlobs: 2 });
  const readers = await Promise.all([...digests, ...digests].map((digest) => trusted.open(digest)));
  for (const [i, reader] of readers.entries()) assert.deepEqual(await readAll(reader), testBytes(1000, (i % 4) + 1));
  for (const reader of readers) {
    await reader.close();
    await reader.close();
  }
  assert.equal(trusted.openBlobs, 2);
  assert.equal((await openFiles(repository.dir)).length, 2);
  const last = await trusted.open(digests[3] ?? 'sha256:');
  trusted.close();
  assert.deepEqual(await readAll(last), testBytes(1000, 4));
  await last.close();
  assert.deepEqual(await openFiles(repository.dir), []);
});

test('a touched blob is hashed once for all who wait', async (t) => {
  const repository = await TestRepository.make(t);
  const bytes = testBytes(3_000_000);
  const digest = await repository.store(bytes);
  await utimes(blobPath(repository.dir, digest), 1, 1);
  const events: TrustEvent[] = [];
  const trusted = new TrustedBlobs({ ...repository, onEvent: (event) => events.push(event) });
  const readers = await Promise.all(Array.from({ length: 20 }, () => trusted.open(digest)));
  for (const reader of readers) {
    assert.deepEqual(await readAll(reader), bytes);
    await reader.close();
  }
  trusted.close();
  assert.deepEqual(
    events.map(({ event }) => event),
    ['proven'],
  );
});

test('a catalog that cannot be written is no reason not to serve what is right', async (t) => {
  const repository = await TestRepository.make(t);
  const digest = await repository.store(testBytes(1000));
  await utimes(blobPath(repository.dir, digest), 1, 1);
  const events: TrustEvent[] = [];
  const catalog = Object.create(repository.catalog, {
    blob: { value: repository.catalog.blob.bind(repository.catalog) },
    version: { value: () => 1 },
    transaction: { value: () => Promise.reject(new Error('disk full')) },
  });
  const trusted = new TrustedBlobs({ catalog, blobs: repository.blobs, onEvent: (event) => events.push(event) });
  for (let i = 0; i < 3; i += 1) {
    const reader = await trusted.open(digest);
    assert.deepEqual(await readAll(reader), testBytes(1000));
    await reader.close();
    trusted.close();
  }
  assert.deepEqual(
    events.map(({ event }) => event),
    ['proven', 'not-recorded'],
  );
});

test('damage is told with the paths that hold it', async (t) => {
  const repository = await TestRepository.make(t);
  const blobs = new MemoryStore();
  const writer = await blobs.create();
  await writer.writeAt(0, testBytes(1000));
  const stat = await writer.commit();
  await repository.catalog.transaction((tx) => tx.recordBlob(stat));
  await repository.publish('images', [{ path: '6.3/x.iso', digest: stat.digest, size: 1000 }]);
  const trusted = new TrustedBlobs({ catalog: repository.catalog, blobs });
  blobs.tamper(stat.digest, () => testBytes(1000, 2));
  await assert.rejects(trusted.open(stat.digest), (error) => {
    assert.ok(isAirlockError(error, 'blob.damaged'));
    assert.deepEqual(error.details.artifacts, ['images/6.3/x.iso']);
    assert.match(error.message, /images\/6\.3\/x\.iso.*Import it again/s);
    return true;
  });
  await assert.rejects(trusted.open(stat.digest), (error) => isAirlockError(error, 'blob.missing'));
  assert.equal(trusted.quarantined, 1);
});

for (const way of ['open', 'read'] as const) {
  test(`a good copy that comes while a damaged one is looked at stays (${way})`, async (t) => {
    const repository = await TestRepository.make(t);
    const digest = await repository.store(testBytes(1000));
    const file = blobPath(repository.dir, digest);
    await writeFile(file, testBytes(1000, 2));
    if (way === 'read') {
      const stat = await repository.blobs.stat(digest);
      assert.ok(stat !== undefined);
      await repository.catalog.transaction((tx) => tx.recordBlob(stat)); // as bytes that rot under their stamp
    }
    let isThere = false;
    const importAgain = async () => {
      if (isThere) return;
      isThere = true;
      await repository.store(testBytes(1000));
    };
    // Whatever is asked of the catalog once the bytes were found wrong, the good copy is there before.
    const { catalog } = repository;
    const watched = Object.create(catalog, {
      blob: { value: catalog.blob.bind(catalog) },
      version: { value: () => 1 },
      entriesOf: { value: (of: Digest) => importAgain().then(() => catalog.entriesOf(of)) },
      transaction: {
        value: (work: Parameters<Catalog['transaction']>[0]) => importAgain().then(() => catalog.transaction(work)),
      },
    });
    const trusted = new TrustedBlobs({ catalog: watched, blobs: repository.blobs });
    if (way === 'read') assert.deepEqual(await trusted.read(digest), testBytes(1000));
    else {
      const reader = await trusted.open(digest);
      assert.deepEqual(await readAll(reader), testBytes(1000));
      await reader.close();
    }
    trusted.close();
    assert.equal(trusted.quarantined, 0);
    assert.deepEqual(await readFile(file), testBytes(1000));
    assert.notEqual(await catalog.blob(digest), undefined);
  });
}

test('bytes that were never recorded are not opened', async (t) => {
  const repository = await TestRepository.make(t);
  const writer = await repository.blobs.create();
  await writer.writeAt(0, testBytes(1000));
  const { digest } = await writer.commit();
  const trusted = new TrustedBlobs(repository);
  await assert.rejects(trusted.open(digest), (error) => isAirlockError(error, 'blob.missing'));
  await assert.rejects(trusted.read(digest), (error) => isAirlockError(error, 'blob.missing'));
});

test('a blob that leaves the catalog is not served from its open file', async (t) => {
  const repository = await TestRepository.make(t);
  const digest = await repository.store(testBytes(1000));
  const trusted = new TrustedBlobs(repository);
  await (await trusted.open(digest)).close();
  await repository.catalog.transaction((tx) => tx.forgetBlob(digest));
  await assert.rejects(trusted.open(digest), (error) => isAirlockError(error, 'blob.missing'));
  assert.equal(trusted.openBlobs, 0);
});
