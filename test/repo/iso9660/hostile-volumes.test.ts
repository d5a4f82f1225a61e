import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { type BuiltIso, buildIso, type IsoOptions } from '../../media/iso-builder.ts';
import { both16, both32 } from '../../media/system-use.ts';
import { openBuilt, refuses, walkAll } from './support.ts';

const TREE = { 'a.rpm': 'A'.repeat(3000), directory: { 'b.rpm': 'B'.repeat(3000) } };

/** Opening an image with these bytes patched in must be refused after a few reads. */
async function refusesPatched(
  patch: (built: BuiltIso) => void,
  code: Parameters<typeof refuses>[1],
  message: RegExp,
  options: IsoOptions = {},
): Promise<void> {
  await refuses(openBuilt(TREE, options, patch), code, message);
}

describe('a source that is no ISO 9660 image', () => {
  test('because it is too short', async () => {
    for (const size of [0, 1, 2048, 16 * 2048, 17 * 2048 - 1]) {
      await refuses(openIso(countingSource(Buffer.alloc(size))), 'iso.truncated', new RegExp(`ends at byte ${size}`));
    }
  });

  test('because nothing in it says so', async () => {
    const source = countingSource(Buffer.alloc(0), { size: 4 * 2 ** 30 });
    await refuses(openIso(source), 'iso.invalid', /not an ISO 9660 image/);
    assert.equal(source.reads, 1);
    const page = Buffer.from('<html><title>Please log in</title></html>'.repeat(2000));
    await refuses(openIso(countingSource(page)), 'iso.invalid', /byte 32768: this is not an ISO 9660 image/);
  });

  test('because it holds only UDF', async () => {
    const image = Buffer.alloc(64 * 2048);
    image.write('\x00BEA01\x01', 16 * 2048, 'latin1');
    image.write('\x00NSR02\x01', 17 * 2048, 'latin1');
    await refuses(openIso(countingSource(image)), 'iso.invalid', /only a UDF file system/);
  });
});

describe('volume descriptors', () => {
  test('without a primary one', () =>
    refusesPatched(
      ({ image, layout }) => image.writeUInt8(3, layout.descriptors.primary),
      'iso.invalid',
      /no primary volume descriptor/,
    ));

  test('without a terminator', () =>
    refusesPatched(
      ({ image, layout }) => image.fill(0, layout.descriptors.terminator, layout.descriptors.terminator + 7),
      'iso.invalid',
      /end without a terminator/,
    ));

  test('without end', async () => {
    const { image } = buildIso(TREE);
    const endless = Buffer.concat([image.subarray(0, 17 * 2048), ...Array(5000).fill(image.subarray(32768, 34816))]);
    const source = countingSource(endless);
    await refuses(openIso(source), 'iso.limit', /64 volume descriptors and no terminator/);
    assert.equal(source.reads, 64);
  });

  test('of an unknown version', () =>
    refusesPatched(
      ({ image, layout }) => image.writeUInt8(2, layout.descriptors.primary + 6),
      'iso.invalid',
      /version is 2 instead of 1/,
    ));

  for (const size of [0, 1, 256, 3000, 4096, 65535]) {
    test(`with blocks of ${size} bytes`, () =>
      refusesPatched(
        ({ image, layout }) => both16(size).copy(image, layout.descriptors.primary + 128),
        'iso.invalid',
        new RegExp(`block size is ${size} bytes`),
      ));
  }

  for (const [what, offset, bytes] of [
    ['the volume space size', 80, both32(343, 344)],
    ['the logical block size', 128, both16(2048, 2049)],
    ['location of extent', 158, both32(20, 0x14000000)],
    ['data length', 166, both32(2048, 0)],
  ] as const) {
    test(`whose two byte orders disagree on ${what}`, () =>
      refusesPatched(
        ({ image, layout }) => bytes.copy(image, layout.descriptors.primary + offset),
        'iso.invalid',
        new RegExp(`${what} is \\d+ in little-endian order but \\d+ in big-endian order`),
      ));
  }

  test('of Joliet are checked too', async () => {
    const patch = ({ image, layout }: BuiltIso) => both16(512, 513).copy(image, (layout.descriptors.joliet ?? 0) + 128);
    await refusesPatched(patch, 'iso.invalid', /logical block size is 512/, { joliet: true });
  });

  test('with a root that is no directory', () =>
    refusesPatched(
      ({ image, layout }) => image.writeUInt8(0, layout.descriptors.primary + 156 + 25),
      'iso.invalid',
      /root directory is not marked as a directory/,
    ));

  test('with a root of 4 GiB', async () => {
    const { image, layout } = buildIso(TREE);
    both32(0xffffffff).copy(image, layout.descriptors.primary + 166);
    const source = countingSource(image, { size: 2 ** 40 });
    await refuses(openIso(source), 'iso.limit', /"\/" has 4294967295 bytes; the limit is 67108864/);
    assert.ok(source.largest <= 2048);
  });

  test('with a root behind the image', () =>
    refusesPatched(
      ({ image, layout }) => both32(0xffffffff).copy(image, layout.descriptors.primary + 158),
      'iso.truncated',
      /a directory reaches to byte/,
    ));

  test('with a root where no directory is', async () => {
    const patch = ({ image, layout }: BuiltIso, block: number) =>
      both32(block).copy(image, layout.descriptors.primary + 158);
    await refusesPatched((built) => patch(built, 0), 'iso.invalid', /byte 0: a directory record says/);
    await refusesPatched(
      (built) => patch(built, built.layout.file('a.rpm').offset / 2048),
      'iso.invalid',
      /a directory record of 65 bytes has an identifier of 65 bytes/,
    );
  });
});

describe('a truncated image', () => {
  test('is refused wherever it is cut, before anything in it is read', async () => {
    const { image } = buildIso(TREE, { joliet: true, padSectors: 3 });
    for (let size = image.length - 1; size > 0; size -= 509) {
      const source = countingSource(image.subarray(0, size));
      await refuses(
        openIso(source),
        'iso.truncated',
        new RegExp(`reaches to byte \\d+, but the image ends at byte ${size}`),
      );
      assert.ok(source.reads <= 4);
    }
  });

  test('whose volume claims less is refused where a file is missing', async () => {
    const { image, layout } = buildIso(TREE);
    both32(20).copy(image, layout.descriptors.primary + 80);
    const last = layout.file('directory/b.rpm');
    const size = last.offset + last.length - 1;
    const iso = await openIso(countingSource(image.subarray(0, size)));
    assert.equal((await iso.stat('a.rpm'))?.size, 3000);
    const message = new RegExp(`"b.rpm".* reaches to byte ${size + 1}, but the image ends at byte ${size}`);
    await refuses(walkAll(iso), 'iso.truncated', message);
    await refuses(iso.stat('directory/b.rpm'), 'iso.truncated', message);
  });

  test('that shrinks while it is read', async () => {
    const { image } = buildIso(TREE);
    const whole = countingSource(image);
    let end = image.length;
    const iso = await openIso({
      size: image.length,
      readAt: (into, position) => whole.readAt(into.subarray(0, Math.max(0, end - position)), position),
    });
    const file = await iso.stat('a.rpm');
    assert.ok(file);
    end = (iso.extents(file)[0]?.start ?? 0) + 100;
    await refuses(iso.readFile(file, 5000), 'iso.truncated', new RegExp(`"a.rpm" .*ends at byte ${end}`));
    await refuses(iso.source(file).readAt(Buffer.alloc(10), 95), 'iso.truncated', /"a.rpm"/);
    end = 40_000;
    await refuses(walkAll(iso), 'iso.truncated', /a directory/);
  });

  test('whose source fails gives the failure as it is', async () => {
    const failure = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
    await assert.rejects(openIso({ size: 1e6, readAt: () => Promise.reject(failure) }), failure);
  });
});
