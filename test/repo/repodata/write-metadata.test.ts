import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { crc32, gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { COMPRESSION, type Compression } from '../../../src/repo/formats/repodata/compression.ts';
import { crc32Joined } from '../../../src/repo/formats/repodata/crc32-joined.ts';
import { readIndex } from '../../../src/repo/formats/repodata/member-index.ts';
import { type METADATA_KINDS, metadataFrame } from '../../../src/repo/formats/repodata/metadata-kinds.ts';
import type { PackageList } from '../../../src/repo/formats/repodata/write-metadata.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { type Listed, listOf, type Written, written } from './support.ts';

const BOTH: readonly Compression[] = ['gzip', 'zstd'];

function sha256(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A package with made-up metadata. */
function listed(name: string, size = 300): Listed {
  const fragment = Buffer.from(`<package name="${name}">${name.repeat(Math.ceil(size / name.length))}</package>\n`);
  return {
    digest: sha256(name),
    sortKey: name,
    fragments: { primary: fragment, filelists: fragment, other: fragment },
  };
}

function many(count: number, size?: number): Listed[] {
  return Array.from({ length: count }, (_, index) => listed(`package-${String(index).padStart(6, '0')}`, size));
}

function xmlOf(kind: (typeof METADATA_KINDS)[number], packages: readonly Listed[]): Buffer {
  const { head, foot } = metadataFrame(kind, packages.length);
  return Buffer.concat([head, ...packages.map(({ fragments }) => fragments[kind]), foot]);
}

/** The members of a file, decompressed one by one as the index has them. */
async function membersOf({ bytes }: Written, compression: Compression): Promise<Buffer[]> {
  const format = COMPRESSION[compression];
  const members = [...(await readIndex(countingSource(bytes), format)).values()].flat();
  return Promise.all(
    members.map(async (member) => {
      const { position, length } = member;
      return Buffer.concat(await format.decompress(bytes.subarray(position, position + length), [member]));
    }),
  );
}

test('property: the CRC of two texts in a row', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), fc.uint8Array({ maxLength: 5000 }), (first, second) => {
      assert.equal(crc32Joined(crc32(first), crc32(second), second.length), crc32(Buffer.concat([first, second])));
    }),
  );
  const zeros = Buffer.alloc(1 << 20);
  assert.equal(crc32Joined(crc32('a'), crc32(zeros), zeros.length), crc32(Buffer.concat([Buffer.from('a'), zeros])));
});

for (const compression of BOTH) {
  describe(`metadata as ${compression}`, () => {
    test('is what its digests and sizes say', async () => {
      for (const count of [0, 1, 2, 500]) {
        const packages = many(count);
        const result = await written('filelists', listOf(packages), compression);
        const xml = xmlOf('filelists', packages);
        assert.equal(result.size, result.bytes.length);
        assert.equal(result.digest, sha256(result.bytes));
        const content = compression === 'gzip' ? gunzipSync(result.bytes) : xml;
        assert.equal(result.openSize, content.length);
        assert.equal(result.openDigest, sha256(content));
        assert.deepEqual(content.subarray(0, xml.length), xml);
        assert.match(content.toString('utf8', xml.length), /^(<!-- airlock [A-Za-z0-9+/=]+ [0-9a-f]{8} -->\n)?$/);
        const inside = Buffer.concat(await membersOf(result, compression));
        assert.deepEqual(inside, Buffer.concat(packages.map(({ fragments }) => fragments.filelists)));
      }
    });

    test('does not depend on the state before, and asks only for what changed', async () => {
      const all = many(2000);
      const before = await written('primary', listOf(all.filter((_, index) => index !== 1234)), compression);
      const fresh = await written('primary', listOf(all), compression);
      const list = listOf(all);
      const next = await written('primary', list, compression, countingSource(before.bytes));
      assert.deepEqual(next.bytes, fresh.bytes);
      assert.equal(next.copied + list.asked, 2000);
      assert.ok(list.asked > 0 && list.asked <= 4 * limits.repodata.groupPackages, `${list.asked} asked`);
    });

    test('copies all of what is the same', async () => {
      const list = listOf(many(700));
      const first = await written('other', list, compression);
      list.asked = 0;
      const again = await written('other', list, compression, countingSource(first.bytes));
      assert.deepEqual({ ...again, copied: 0 }, { ...first, copied: 0 });
      assert.deepEqual([again.copied, list.asked], [700, 0]);
    });

    test('property: any set from any other set gives the same bytes', async () => {
      const pool = many(300, 40);
      const subset = fc.subarray(pool);
      await fc.assert(
        fc.asyncProperty(subset, subset, async (former, next) => {
          const before = await written('primary', listOf(former), compression);
          const fresh = await written('primary', listOf(next), compression);
          const after = await written('primary', listOf(next), compression, countingSource(before.bytes));
          assert.deepEqual(after.bytes, fresh.bytes);
        }),
        { numRuns: 30 },
      );
    });

    test('a group of large packages is several members, and copied as one', async () => {
      const list = listOf(many(100, 300_000));
      const first = await written('filelists', list, compression);
      const members = await membersOf(first, compression);
      assert.ok(members.length > 20);
      for (const { length } of members) assert.ok(length < limits.repodata.member + 400_000);
      list.asked = 0;
      const again = await written('filelists', list, compression, countingSource(first.bytes));
      assert.equal(again.digest, first.digest);
      assert.equal(list.asked, 0);
    });

    test('an index of any length is found again', async () => {
      const list = listOf(many(0));
      const digests = Array.from(
        { length: 6000 },
        (_, index): Digest => `sha256:${index.toString(16).padStart(56, '0')}00000000`,
      );
      const borders: PackageList = {
        count: digests.length,
        digests: () => digests,
        fragments: (_, wanted) => wanted.map((digest) => Buffer.from(digest)),
      };
      const result = await written('primary', borders, compression);
      assert.equal((await readIndex(countingSource(result.bytes), COMPRESSION[compression])).size, 6000);
      assert.equal(list.asked, 0);
      if (compression === 'gzip') assert.equal(gunzipSync(result.bytes).length, result.openSize);
    });

    test('a file of another kind, compression or origin before does no harm', async () => {
      const packages = many(300);
      const fresh = await written('primary', listOf(packages), compression);
      const other = await written('primary', listOf(packages), compression === 'gzip' ? 'zstd' : 'gzip');
      const filelists = await written('filelists', listOf(packages), compression);
      const { bytes } = fresh;
      const strangers = [
        ...[
          other.bytes,
          filelists.bytes,
          Buffer.alloc(0),
          Buffer.alloc(3),
          Buffer.alloc(5000, 255),
          bytes.subarray(0, -1),
        ],
        ...[bytes.subarray(1), Buffer.concat([bytes, bytes]), Buffer.concat([bytes, Buffer.alloc(100)])],
      ];
      for (const stranger of strangers) {
        const result = await written('primary', listOf(packages), compression, countingSource(stranger));
        assert.equal(result.digest, fresh.digest);
      }
    });

    test('damage before is found', async () => {
      const packages = many(300);
      const fresh = await written('primary', listOf(packages), compression);
      const [group] = (await readIndex(countingSource(fresh.bytes), COMPRESSION[compression])).values();
      const place = group?.[0];
      assert.ok(place);
      const damaged = Buffer.from(fresh.bytes);
      const at = place.position + Math.floor(place.length / 2);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x55, at);
      await assert.rejects(written('primary', listOf(packages), compression, countingSource(damaged)), (error) =>
        isAirlockError(error, 'blob.damaged'),
      );
    });

    test('no bytes of the index make it fail', async () => {
      const packages = many(300);
      const { bytes } = await written('primary', listOf(packages), compression);
      const index = bytes.length - 200;
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: index, max: bytes.length - 1 }),
          fc.integer({ min: 1, max: 255 }),
          async (at, flip) => {
            const wrong = Buffer.from(bytes);
            wrong.writeUInt8(wrong.readUInt8(at) ^ flip, at);
            await written('primary', listOf(packages), compression, countingSource(wrong)).catch((error: unknown) =>
              assert.ok(isAirlockError(error, 'blob.damaged'), String(error)),
            );
          },
        ),
        { numRuns: 100 },
      );
    });

    test('a list that counts wrongly is found', async () => {
      const list = listOf(many(10));
      const wrong: PackageList = {
        count: 11,
        digests: () => list.digests(),
        fragments: (...of) => list.fragments(...of),
      };
      const short: PackageList = { count: 10, digests: () => list.digests(), fragments: () => [] };
      for (const each of [wrong, short]) {
        await assert.rejects(written('primary', each, compression), (error) => isAirlockError(error, 'internal'));
      }
    });

    test('what the sink and the fragments throw comes through', async () => {
      const broken: PackageList = {
        ...{ count: 1, digests: () => [sha256('a')] },
        async *fragments() {
          yield Buffer.from('a');
          throw new Error('fragment');
        },
      };
      await assert.rejects(written('primary', broken, compression), /^Error: fragment$/);
    });
  });
}
