import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AirlockError } from '../../src/errors.ts';
import { layOut } from '../../src/sync/bundle/layout.ts';
import { FORMAT, type Manifest, manifestLines, parseManifest } from '../../src/sync/bundle/manifest.ts';
import { parseMedium, volumeSize } from '../../src/sync/bundle/medium-size.ts';
import { requireHeader } from '../../src/sync/bundle/tar-header.ts';
import { testArtifact, testDigest } from '../support/artifacts.ts';
import { coded } from './scene.ts';

const MIB = 2 ** 20;
const sizes = fc.array(fc.oneof(fc.nat(3000), fc.nat(40 * MIB)), { maxLength: 20 });

function manifestOf(list: readonly number[], limit: number): Manifest {
  const items = list.map((size, index) => ({ digest: testDigest(index + 1), size }));
  const volumes = layOut(items, limit);
  const entries = volumes.flatMap((volume) => volume.entries);
  return {
    format: FORMAT.name,
    major: FORMAT.major,
    minor: FORMAT.minor,
    site: 'north',
    sequence: 1,
    created: '2026-01-01T00:00:00.000Z',
    base: null,
    volumes: volumes.map(({ name, size }) => ({ name, size })),
    repositories: [
      {
        name: 'tools',
        kind: 'file',
        revision: 1,
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

function bytesOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

test('layout: volumes stay within the limit, hold every byte once and in order, and nothing else', () => {
  fc.assert(
    fc.property(sizes, fc.integer({ min: 2048, max: 50_000 }), (list, blocks) => {
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
      assert.deepEqual(parseManifest(Buffer.from([...manifestLines(manifest)].join('\n'))), manifest);
    }),
    { numRuns: 100 },
  );
});

test('manifest: what does not fit together is refused', () => {
  const good = manifestOf([10, 2 * MIB, 600], MIB);
  const broken = (change: (value: Manifest) => void) => {
    const value = structuredClone(good) as Manifest;
    change(value);
    assert.throws(() => parseManifest(bytesOf(value)), coded('bundle.invalid', 'path.invalid'));
  };
  parseManifest(bytesOf(good));
  const first = (value: Manifest) => {
    const [blob] = value.blobs;
    if (blob?.in !== 'volumes') assert.fail();
    return blob;
  };
  broken((value) => value.blobs.pop());
  broken((value) => value.blobs.push(...value.blobs));
  broken((value) => Object.assign(first(value).pieces[0] ?? {}, { offset: 1024 }));
  broken((value) => Object.assign(first(value).pieces[0] ?? {}, { length: 11 }));
  broken((value) => Object.assign(first(value).pieces[0] ?? {}, { volume: 9 }));
  broken((value) => Object.assign(first(value), { size: -1 }));
  broken((value) => Object.assign(value.volumes[0] ?? {}, { size: 2 ** 43 }));
  broken((value) => Object.assign(value.volumes[0] ?? {}, { name: '../x.tar' }));
  broken((value) => Object.assign(value.repositories[0] ?? {}, { name: '../x' }));
  broken((value) => Object.assign(value.repositories[0]?.entries[0] ?? {}, { path: '../x' }));
  broken((value) => Object.assign(value.repositories[0]?.entries[0] ?? {}, { path: 'f/1' }));
  broken((value) => value.blobs.push({ in: 'blob', digest: testDigest(9), size: 5, of: testDigest(1), start: 8 }));
  broken((value) => value.blobs.push({ in: 'blob', digest: testDigest(9), size: 5, of: testDigest(10), start: 0 }));
  assert.throws(() => parseManifest(bytesOf({ ...good, major: 2 })), coded('bundle.newer-format'));
  assert.throws(() => parseManifest(Buffer.from('{"a":')), coded('bundle.invalid'));
  parseManifest(bytesOf({ ...good, minor: 9, later: true }));
});

test('manifest: no bytes make the reader fail otherwise than by saying so', () => {
  const good = bytesOf(manifestOf([10, 2 * MIB], MIB));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
      const bytes = Buffer.from(good);
      bytes[at] = byte;
      try {
        parseManifest(bytes);
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
      const check = () => requireHeader(Buffer.from(bytes), { name: 'blobs/x', size: 1 }, 'volume-0001.tar');
      assert.throws(check, coded('bundle.invalid'));
    }),
    { numRuns: 300 },
  );
});
