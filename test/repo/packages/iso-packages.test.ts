import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import type { ByteSource } from '../../../src/repo/blobs/blob-store.ts';
import { fileSource } from '../../../src/repo/blobs/file-source.ts';
import type { PackageRecord } from '../../../src/repo/catalog/packages.ts';
import { readVendorKeys } from '../../../src/repo/formats/openpgp/key-files.ts';
import { type FindOptions, findPackages } from '../../../src/repo/packages/iso-packages.ts';
import { PackageThreads } from '../../../src/repo/packages/package-threads.ts';
import { buildIso, type IsoTree } from '../../media/iso-builder.ts';
import { buildRpm } from '../../media/rpm-builder.ts';
import { makeSigner } from '../../media/vendor-site.ts';
import { buildSigned } from '../rpm/signed.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'airlock-iso-packages-'));
after(() => rmSync(dir, { recursive: true }));

const signer = await makeSigner();
const keys = await readVendorKeys(Buffer.from(signer.publicKey), new Date());
const names = Array.from({ length: 40 }, (_, number) => `part-${number}`);
const signed = await Promise.all(names.map(async (name) => [`${name}.rpm`, await signedPackage(name)] as const));

async function signedPackage(name: string): Promise<Buffer> {
  const files = [`/usr/bin/${name}`, `/opt/${name}/data`].map((file) => [file] as const);
  return (await buildSigned({ name, files }, { rsa: signer.signBinary })).file;
}

/** An image that is large enough for threads, in a file. */
function imageOf(tree: IsoTree): { source: ByteSource; inFile: { fd: number; start: number } } & Disposable {
  const file = path.join(dir, 'image.iso');
  const { image } = buildIso({ ...tree, padding: Buffer.alloc(limits.packages.threadsFrom) }, {});
  writeFileSync(file, image);
  const inFile = { fd: openSync(file, 'r'), start: 0 };
  return { source: fileSource(inFile, image.length), inFile, [Symbol.dispose]: () => closeSync(inFile.fd) };
}

async function find(source: ByteSource, options: Partial<FindOptions> = {}) {
  const records: PackageRecord[] = [];
  const recordPackages = async (batch: readonly PackageRecord[]) => void records.push(...batch);
  const policy = { signatures: 'required', isExplicit: true } as const;
  const signal = new AbortController().signal;
  try {
    const found = await findPackages({ recordPackages }, source, {
      keys,
      policy,
      revoked: new Map(),
      signal,
      ...options,
    });
    return { found, records };
  } catch (error) {
    assert.ok(error instanceof AirlockError, String(error));
    return { error: error.toJSON() };
  }
}

test('threads find what one finds alone, in the same order', async () => {
  using image = imageOf({ Packages: Object.fromEntries(signed) });
  const alone = await find(image.source);
  const together = await find({ ...image.source, inFile: image.inFile });
  assert.equal(alone.found?.packages.length, names.length);
  assert.ok(alone.found?.packages.every(({ verification }) => verification.status === 'signature'));
  assert.deepEqual(together, alone);
});

test('threads refuse what one refuses alone', async () => {
  const damaged = Buffer.from(await signedPackage('damaged'));
  damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
  const bad = {
    'cut.rpm': signed[0]?.[1].subarray(0, 300) ?? '',
    'damaged.rpm': damaged,
    'empty.rpm': '',
    'unsigned.rpm': buildRpm({ name: 'unsigned' }).file,
  };
  using image = imageOf({ Packages: { ...Object.fromEntries(signed), ...bad } });
  const alone = await find(image.source);
  const refused = alone.error?.details.packages ?? [];
  assert.equal(Array.isArray(refused) && refused.length, Object.keys(bad).length);
  assert.deepEqual(await find({ ...image.source, inFile: image.inFile }), alone);
});

test('an import that is stopped leaves no threads behind', async () => {
  using image = imageOf({ Packages: Object.fromEntries(signed) });
  const stop = new AbortController();
  const { error } = await find(
    { ...image.source, inFile: image.inFile },
    { signal: stop.signal, onBytes: () => stop.abort() },
  );
  assert.equal(error?.code, 'interrupted');
  assert.deepEqual(
    process.getActiveResourcesInfo().filter((name) => name === 'MessagePort'),
    [],
  );
});

test('what threads cannot do is left to whoever asks', async () => {
  await using threads = new PackageThreads(keys, { signatures: 'required' });
  assert.equal(await threads.examine({ fd: -1, start: 0, size: 1000 }), undefined);
  const file = path.join(dir, 'one.rpm');
  const bytes = await signedPackage('one');
  writeFileSync(file, bytes);
  const fd = openSync(file, 'r');
  try {
    const examined = await threads.examine({ fd, start: 0, size: bytes.length });
    assert.equal(examined?.read?.facts.name, 'one');
  } finally {
    closeSync(fd);
  }
  await threads[Symbol.asyncDispose]();
  assert.equal(await threads.examine({ fd: -1, start: 0, size: 1 }), undefined);
});
