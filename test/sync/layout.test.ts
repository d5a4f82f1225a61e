import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { layOut } from '../../src/sync/bundle/layout.ts';
import { localMemory } from '../../src/sync/bundle/local-bytes.ts';
import {
  FORMAT,
  type Manifest,
  type ManifestBlob,
  type ManifestDraft,
  type ManifestEntry,
} from '../../src/sync/bundle/manifest.ts';
import { manifestLines } from '../../src/sync/bundle/manifest-lines.ts';
import { parseMedium, volumeSize } from '../../src/sync/bundle/medium-size.ts';
import { readManifest } from '../../src/sync/bundle/read-manifest.ts';
import { requireHeader } from '../../src/sync/bundle/tar-header.ts';
import { testArtifact, testDigest } from '../support/artifacts.ts';
import { coded } from './scene.ts';

const MIB = 2 ** 20;
const sizes = fc.array(fc.oneof(fc.nat(3000), fc.nat(40 * MIB)), { maxLength: 20 });

/** A manifest that can be changed: what cannot be said of one is what the tests are about. */
interface Loose {
  head: object;
  volumes: object[];
  repositories: { name: string; entries: ManifestEntry[] }[];
  blobs: ManifestBlob[];
}

function manifestOf(list: readonly number[], limit: number): Loose {
  const items = list.map((size, index) => ({ digest: testDigest(index + 1), size }));
  const volumes = layOut(items, limit);
  const entries = volumes.flatMap((volume) => volume.entries);
  const { name: format, major, minor } = FORMAT;
  return {
    head: { format, major, minor, site: 'north', sequence: 1, created: '2026-01-01T00:00:00.000Z', base: null },
    volumes: volumes.map(({ name, size }) => ({ name, size })),
    repositories: [
      {
        name: 'tools',
        entries: items.map(({ digest, size }, index) => ({
          path: `f/${index}`,
          artifact: { ...testArtifact(1), digest, size },
        })),
      },
    ],
    blobs: items.map(({ digest, size }) => ({
      in: 'volumes',
      digest,
      size,
      pieces: entries
        .filter((entry) => entry.digest === digest)
        .map(({ volume, entry, offset, length }) => ({ volume, entry, offset, length })),
    })),
  };
}

async function bytesOf({ head, volumes, repositories, blobs }: Loose): Promise<Buffer> {
  const draft = {
    ...head,
    volumes,
    repositories: repositories.map(({ name }) => ({ name, kind: 'file', revision: 1 })),
    blobs: new Map(blobs.map((blob, index) => [index, blob])),
    entriesOf: (name: string) => repositories.find((each) => each.name === name)?.entries ?? [],
  };
  let text = '';
  for await (const line of manifestLines(draft as unknown as ManifestDraft)) text += `${line}\n`;
  return Buffer.from(text);
}

async function read(bytes: Buffer): Promise<Manifest> {
  return await readManifest(localMemory(bytes));
}

test('layout: volumes stay within the limit, hold every byte once and in order, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, fc.integer({ min: 2048, max: 50_000 }), async (list, blocks) => {
      const limit = blocks * 512;
      const items = list.map((size, index) => ({ digest: testDigest(index + 1), size }));
      const volumes = layOut(items, limit);
      for (const { size } of volumes) assert.ok(size <= limit && size % 512 === 0);
      for (const { digest, size } of items) {
        let from = 0;
        for (const entry of volumes.flatMap(({ entries }) => entries).filter((each) => each.digest === digest)) {
          assert.equal(entry.from, from);
          from += entry.length;
        }
        assert.equal(from, size);
      }
      const manifest = manifestOf(list, limit); // the reader checks that they tile
      const bytes = await bytesOf(manifest);
      assert.deepEqual(Object.keys(JSON.parse(bytes.toString('utf8')) as object).slice(-3), [
        'volumes',
        'repositories',
        'blobs',
      ]);
      const { blobs, volumes: listed, repositories, entriesOf } = await read(bytes);
      assert.deepEqual(
        [[...blobs.values()], listed, repositories[0]?.entries],
        [manifest.blobs, manifest.volumes, list.length],
      );
      assert.deepEqual([...entriesOf('tools')], manifest.repositories[0]?.entries);
    }),
    { numRuns: 100 },
  );
});

test('manifest: what does not fit together is refused', async () => {
  const good = manifestOf([10, 2 * MIB, 600], MIB);
  const broken = async (change: (value: Loose) => void) => {
    const value = structuredClone(good);
    change(value);
    await assert.rejects(read(await bytesOf(value)), coded('bundle.invalid', 'path.invalid'));
  };
  await read(await bytesOf(good));
  const first = (value: Loose) => {
    const [blob] = value.blobs;
    if (blob?.in !== 'volumes') assert.fail();
    return blob;
  };
  await broken((value) => value.blobs.pop());
  await broken((value) => value.blobs.push(...value.blobs));
  await broken((value) => Object.assign(first(value).pieces[0] ?? {}, { offset: 1024 }));
  await broken((value) => Object.assign(first(value).pieces[0] ?? {}, { length: 11 }));
  await broken((value) => Object.assign(first(value).pieces[0] ?? {}, { volume: 9 }));
  await broken((value) => Object.assign(first(value), { size: -1 }));
  await broken((value) => Object.assign(value.volumes[0] ?? {}, { size: 2 ** 43 }));
  await broken((value) => Object.assign(value.volumes[0] ?? {}, { name: '../x.tar' }));
  await broken((value) => value.volumes.push(...value.volumes));
  await broken((value) => value.repositories.push(...value.repositories));
  await broken((value) => Object.assign(value.repositories[0] ?? {}, { name: '../x' }));
  await broken((value) => Object.assign(value.repositories[0]?.entries[0] ?? {}, { path: '../x' }));
  await broken((value) => Object.assign(value.repositories[0]?.entries[0] ?? {}, { path: 'f/1' }));
  await broken((value) => Object.assign(value.repositories[0]?.entries[0]?.artifact ?? {}, { size: 11 }));
  const slice = { in: 'blob', digest: testDigest(9), size: 5, of: testDigest(1) } as const;
  await broken((value) => value.blobs.push({ ...slice, start: 8 }));
  await broken((value) => value.blobs.push({ ...slice, of: testDigest(10), start: 0 }));
  await assert.rejects(
    read(await bytesOf({ ...good, head: { ...good.head, major: 2 } })),
    coded('bundle.newer-format'),
  );
  await assert.rejects(read(Buffer.from('{"format":"airlock-bundle","major":2}')), coded('bundle.newer-format'));
  await read(await bytesOf({ ...good, head: { ...good.head, minor: 9, later: true } }));
  const withParity = (parity: unknown) => ({ ...good, head: { ...good.head, parity } });
  const size = Math.max(...(await read(await bytesOf(good))).volumes.map((volume) => volume.size));
  await read(await bytesOf(withParity({ name: 'parity.bin', size })));
  for (const wrong of [null, {}, { name: 'parity.bin', size: size + 512 }, { name: '../x.bin', size }]) {
    await assert.rejects(read(await bytesOf(withParity(wrong))), coded('bundle.invalid'));
  }
});

test('manifest: what is not laid out in lines is refused', async () => {
  const text = (await bytesOf(manifestOf([10, 2 * MIB], MIB))).toString('utf8');
  const lines = text.split('\n');
  for (const wrong of [
    '',
    '\n',
    '{"a":',
    '[]',
    JSON.stringify(JSON.parse(text)),
    text.replaceAll('\n', '\r\n'),
    ...lines.map((_, at) => lines.slice(0, at).join('\n')).slice(0, -2),
    `${text}{}\n`,
    lines.toReversed().join('\n'),
    text.replace('"path"', `"x":"${' '.repeat(limits.bundle.manifestLine * 2)}","path"`),
  ]) {
    await assert.rejects(read(Buffer.from(wrong)), coded('bundle.invalid'), wrong.slice(-60));
  }
});

test('manifest: a delta must be told whole, and rest on what the site is said to have', async () => {
  const good = manifestOf([10, 2000], MIB);
  const held = { in: 'site', digest: testDigest(7), size: 5000, since: 1 } as const;
  const [small, large] = good.blobs;
  if (small?.in !== 'volumes' || large?.in !== 'volumes') assert.fail();
  const deltaOf = (change: object): Loose => {
    const delta = { digest: testDigest(8), size: 10, recipe: 4 };
    const blob = { ...small, in: 'delta', size: 70, bases: [held.digest], delta, ...change } as ManifestBlob;
    const value = structuredClone({ ...good, blobs: [blob, large, held] });
    Object.assign(value.repositories[0]?.entries[0]?.artifact ?? {}, { size: 70 });
    return value;
  };
  await read(await bytesOf(deltaOf({})));
  for (const change of [
    { bases: [] },
    { bases: [testDigest(6)] },
    { bases: [large.digest] },
    { bases: [small.digest] },
    { bases: Array.from({ length: limits.delta.bases + 1 }, () => held.digest) },
    { delta: { digest: testDigest(8), size: 9, recipe: 4 } },
    { delta: { digest: testDigest(8), size: 10, recipe: 11 } },
    { delta: { digest: testDigest(8), size: 10, recipe: 0 } },
    { delta: { digest: testDigest(8), size: 10, recipe: limits.delta.recipeBytes + 1 } },
    { pieces: [] },
    { in: 'patch' },
  ]) {
    await assert.rejects(
      read(await bytesOf(deltaOf(change))),
      coded('bundle.invalid'),
      JSON.stringify(change).slice(0, 99),
    );
  }
});

test('manifest: no bytes make the reader fail otherwise than by saying so', async () => {
  const good = await bytesOf(manifestOf([10, 2 * MIB], MIB));
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), async (at, byte) => {
      const bytes = Buffer.from(good);
      bytes[at] = byte;
      try {
        await read(bytes);
      } catch (error) {
        assert.ok(error instanceof AirlockError, String(error));
      }
    }),
    { numRuns: 300 },
  );
});

test('media: sizes by name and by number', () => {
  assert.equal(volumeSize(parseMedium('fat32'), 0), 4 * 2 ** 30 - 512);
  assert.equal(volumeSize(parseMedium('700MiB'), 10 ** 9), 700 * MIB);
  assert.ok(volumeSize(parseMedium('dvd'), 10 * MIB) < 4_700_372_992 - 10 * MIB);
  for (const wrong of ['', '4', 'floppy', '1.5GiB', '-1', '5 GB', '99999999999999999999']) {
    assert.throws(() => parseMedium(wrong), coded('usage.invalid'));
  }
});

test('volumes: no header makes the reader fail otherwise than by saying so', () => {
  const sane = fc.uint8Array({ minLength: 512, maxLength: 512 });
  fc.assert(
    fc.property(fc.oneof(sane, fc.uint8Array({ maxLength: 512 })), (bytes) => {
      const check = () =>
        requireHeader(Buffer.from(bytes), { name: 'blobs/x', size: 1 }, { name: 'volume-0001.tar', where: '/m' });
      assert.throws(check, coded('bundle.invalid'));
    }),
    { numRuns: 300 },
  );
});
