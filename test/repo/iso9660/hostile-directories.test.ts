import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { newAllowance, spendEntry } from '../../../src/repo/formats/iso9660/allowance.ts';
import { openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { type BuiltIso, buildIso, type IsoOptions, type IsoTree } from '../../media/iso-builder.ts';
import { both16, both32, CL, NM, PX, RE } from '../../media/system-use.ts';
import { collect, openBuilt, refuses, walkAll } from './support.ts';

const deep = process.env.AIRLOCK_DEEP === '1' ? {} : { skip: 'takes half a minute: set AIRLOCK_DEEP=1' };

const TREE = { a: { b: { 'c.rpm': 'C' } }, 'd.rpm': 'D', 'e.rpm': 'E' };

/** Walking an image with these bytes patched in must be refused, without many reads or a large buffer. */
async function refusesWalk(
  patch: (built: BuiltIso) => void,
  code: Parameters<typeof refuses>[1],
  message: RegExp,
  { tree = TREE as IsoTree, ...options }: IsoOptions & { tree?: IsoTree } = {},
): Promise<void> {
  const { iso, source } = await openBuilt(tree, options, patch);
  await refuses(walkAll(iso), code, message);
  assert.ok(source.reads < 100, `${source.reads} reads`);
  assert.ok(source.largest <= 64 * 1024, `a buffer of ${source.largest} bytes`);
}

/** Lets the record of `path` point to the directory `to`. */
const redirect =
  (path: string, to: string) =>
  ({ image, layout }: BuiltIso) => {
    both32(layout.directory(to).offset / 2048).copy(image, layout.record(path).offset + 2);
  };

describe('directory cycles', () => {
  for (const [path, to] of [
    ['a', ''],
    ['a/b', ''],
    ['a/b', 'a'],
  ] as const) {
    test(`/${path} is /${to}`, async () => {
      await refusesWalk(redirect(path, to), 'iso.invalid', new RegExp(`"/${path}" is one of its own parents: a cycle`));
      const { iso } = await openBuilt(TREE, {}, redirect(path, to));
      await refuses(iso.stat(`${path}/${path}/${path}`), 'iso.invalid', /a cycle/);
    });
  }

  test('a directory that lies in itself', () =>
    refusesWalk(
      ({ image, layout }) => {
        both32(layout.directory('a').offset / 2048).copy(image, layout.record('a/b').offset + 2);
      },
      'iso.invalid',
      /"\/a\/b" is one of its own parents/,
    ));

  test('through Rock Ridge relocation', () =>
    refusesWalk(() => {}, 'iso.invalid', /"\/a\/b" is one of its own parents/, {
      systemUse: (entries, at) =>
        at.path === 'a/b' && at.role === 'child' ? [...entries, CL(at.blockOf(''))] : entries,
    }));

  test('in Joliet', () =>
    refusesWalk(
      ({ image, layout }) =>
        both32(layout.directory('', 'joliet').offset / 2048).copy(image, layout.record('a/b', 'joliet').offset + 2),
      'iso.invalid',
      /"\/a\/b" is one of its own parents/,
      { joliet: true, rockRidge: false },
    ));

  test('two parents of one directory: a tree that doubles at every level is not walked', async () => {
    const level = (depth: number): IsoTree => (depth === 0 ? {} : { l: level(depth - 1), r: {} });
    await refusesWalk(
      ({ image, layout }) => {
        for (let path = ''; path.length < 60; path += 'l/') {
          both32(layout.directory(`${path}l`).offset / 2048).copy(image, layout.record(`${path}r`).offset + 2);
        }
      },
      'iso.invalid',
      /"(?:l\/)+r" is reached from two places/,
      { tree: level(40) },
    );
  });
});

describe('relocated directories', () => {
  const relocated = (block: (at: Parameters<NonNullable<IsoOptions['systemUse']>>[1]) => number): IsoOptions => ({
    systemUse(entries, at) {
      if (at.role === 'child' && at.path === 'd.rpm') return [NM('d'), PX(0o040755), CL(block(at))];
      return at.role === 'child' && at.path === 'a' ? [...entries, RE()] : entries;
    },
  });

  test('behind the image', () =>
    refusesWalk(
      () => {},
      'iso.truncated',
      /a directory reaches/,
      relocated(() => 0xffffff),
    ));
  test('where nothing is', () =>
    refusesWalk(
      () => {},
      'iso.invalid',
      /byte 0: a directory record/,
      relocated(() => 0),
    ));
  test('where a file is', () =>
    refusesWalk(
      () => {},
      'iso.invalid',
      /directory record/,
      relocated((at) => at.blockOf('e.rpm')),
    ));
  test('that say that they lie elsewhere', () =>
    refusesWalk(
      ({ image, layout }) => both32(layout.directory('').offset / 2048).copy(image, layout.directory('a').offset + 2),
      'iso.invalid',
      /says that it lies elsewhere/,
      relocated((at) => at.blockOf('a')),
    ));
  test('of 4 GiB', () =>
    refusesWalk(
      ({ image, layout }) => both32(0xffffffff).copy(image, layout.directory('a').offset + 10),
      'iso.limit',
      /"\/d" has 4294967295 bytes/,
      relocated((at) => at.blockOf('a')),
    ));
});

describe('a directory', () => {
  test('of 0xffffffff bytes takes no memory', async () => {
    const built = buildIso(TREE);
    both32(0xffffffff).copy(built.image, built.layout.record('a').offset + 10);
    const source = countingSource(built.image, { size: 2 ** 41 });
    await refuses(walkAll(await openIso(source)), 'iso.limit', /"\/a" has 4294967295 bytes; the limit is 67108864/);
    assert.ok(source.bytes < 20_000);
  });

  test('of no bytes', () =>
    refusesWalk(
      ({ image, layout }) => both32(0).copy(image, layout.record('a').offset + 10),
      'iso.invalid',
      /"\/a" has no content/,
    ));

  test('behind the image', () =>
    refusesWalk(
      ({ image, layout }) => both32(0x7fffffff).copy(image, layout.record('a').offset + 2),
      'iso.truncated',
      /"\/a" .*reaches to byte/,
    ));

  test('longer than the image', () =>
    refusesWalk(
      ({ image, layout }) => both32(2 ** 24).copy(image, layout.record('a').offset + 10),
      'iso.truncated',
      /"\/a"/,
    ));

  test('in several sections', () =>
    refusesWalk(
      ({ image, layout }) => image.writeUInt8(0x82, layout.record('a').offset + 25),
      'iso.invalid',
      /"\/a" has several sections/,
    ));

  test('that does not start with itself, as zeroed or foreign sectors do not', async () => {
    await refusesWalk(
      ({ image, layout }) => image.fill(0, layout.directory('a').offset, layout.directory('a').offset + 2048),
      'iso.invalid',
      /a sector of a directory is empty/,
    );
    await refusesWalk(
      ({ image, layout }) => image.writeUInt8(5, layout.directory('a').offset + 33),
      'iso.invalid',
      /does not start with itself/,
    );
  });

  test('that holds itself or its parent among its files', async () => {
    const withIdentifier = (byte: number): IsoOptions => ({
      record(record, at) {
        if (at.path !== 'e.rpm' || at.role !== 'child') return undefined;
        const short = Buffer.concat([record.subarray(0, 34), record.subarray(33 + record.readUInt8(32))]);
        const bytes = short.length % 2 === 0 ? short : short.subarray(0, -1);
        bytes.writeUInt8(1, 32);
        bytes.writeUInt8(byte, 33);
        bytes.writeUInt8(bytes.length, 0);
        return bytes;
      },
      rockRidge: false,
    });
    await refusesWalk(() => {}, 'iso.invalid', /holds itself twice/, withIdentifier(0));
    await refusesWalk(() => {}, 'iso.invalid', /its parent in the wrong place/, withIdentifier(1));
  });

  test('with an empty sector, or bytes behind its last record', async () => {
    const tree = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`file-${n}`, '']));
    for (const sector of [1, 2]) {
      await refusesWalk(
        ({ image, layout }) => {
          const start = layout.directory('').offset + sector * 2048;
          image.fill(0, start, start + 2048);
        },
        'iso.invalid',
        /a sector of a directory is empty/,
        { tree },
      );
    }
    await refusesWalk(
      ({ image, layout }) => image.writeUInt8(1, layout.directory('a').offset + 2047),
      'iso.invalid',
      /has bytes behind its last record/,
    );
  });

  test('in which a name comes twice', async () => {
    await refusesWalk(() => {}, 'iso.invalid', /the name "d.rpm" comes twice in "\/"/, {
      systemUse: (entries, at) => (at.path === 'e.rpm' && at.role === 'child' ? [NM('d.rpm'), PX(0o100644)] : entries),
    });
  });

  test('of more than a million files', deep, async () => {
    const { image, layout } = buildIso({ XXXXXXXX: '' }, { rockRidge: false });
    const start = layout.directory('').offset;
    const size = 56 * 2 ** 20;
    both32(size).copy(image, layout.descriptors.primary + 166);
    both32(2 ** 20).copy(image, layout.descriptors.primary + 80);
    const [record] = layout.records.filter(({ at }) => at.role === 'child');
    assert.ok(record);
    const template = image.subarray(record.offset, record.offset + record.length);
    const files = countingSource(image, { size: 2 ** 31 });
    const directory = {
      size: 2 ** 31,
      async readAt(into: Uint8Array, position: number): Promise<number> {
        const read = await files.readAt(into, position);
        const bytes = Buffer.from(into.buffer, into.byteOffset, into.byteLength);
        for (let at = 0; at < into.byteLength && position >= start; at += 2048)
          writeSector(bytes.subarray(at, at + 2048), position + at);
        return read;
      },
    };
    // Every sector is full of records of distinct names, the first one begins as the image has it.
    const writeSector = (sector: Buffer, position: number) => {
      const first = position === start ? 68 : 0;
      for (let at = first; at + template.length <= sector.length; at += template.length) {
        template.copy(sector, at);
        sector.write((position - start + at).toString(36).toUpperCase().padStart(8, '0'), at + 33, 'latin1');
      }
    };
    const iso = await openIso(directory);
    let count = 0;
    const counting = async () => {
      for await (const _ of iso.walk()) count += 1;
    };
    await refuses(counting(), 'iso.limit', /too many files; the limit is 1000000/);
    assert.equal(count, 1_000_000);
  });
});

test('an allowance lasts for as many files as the limit says', () => {
  const allowance = newAllowance(0);
  for (let n = 0; n < 1_000_000; n += 1) spendEntry(allowance, n);
  assert.throws(() => spendEntry(allowance, 77), /byte 77: too many files; the limit is 1000000/);
});

describe('a directory record', () => {
  for (const [what, offset, bytes, message] of [
    [
      'byte orders disagree on its location',
      2,
      both32(30, 31),
      /location of extent is 30 in little-endian order but 31/,
    ],
    ['byte orders disagree on its length', 10, both32(1, 0), /data length is 1 in little-endian order but 0/],
    ['byte orders disagree on its volume', 28, both16(1, 2), /volume sequence number is 1/],
    ['is interleaved', 26, Buffer.from([1]), /interleaved/],
    ['has an interleave gap', 27, Buffer.from([1]), /interleaved/],
    ['lies on another volume', 28, both16(2), /"e.rpm" lies on volume 2 of a set, and this is volume 1/],
    ['has an identifier of no bytes', 32, Buffer.from([0]), /an empty identifier/],
    ['has an identifier longer than itself', 32, Buffer.from([255]), /an identifier of 255 bytes/],
    ['is shorter than its fixed part', 0, Buffer.from([33]), /says that it is 33 bytes long/],
    ['is one byte long', 0, Buffer.from([1]), /says that it is 1 bytes long/],
    ['has length 0, so that it and all behind it would be lost', 0, Buffer.from([0]), /bytes behind its last record/],
  ] as const) {
    test(what, () =>
      refusesWalk(
        ({ image, layout }) => bytes.copy(image, layout.record('e.rpm').offset + offset),
        'iso.invalid',
        message,
      ),
    );
  }

  test('crosses the end of its sector', async () => {
    const tree = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`file-${n}`, '']));
    await refusesWalk(
      ({ image, layout }) => {
        const { offset } = layout.directory('');
        const inFirst = layout.records.filter((record) => record.offset < offset + 2048).at(-1);
        image.writeUInt8(250, inFirst?.offset ?? 0);
      },
      'iso.invalid',
      /a directory record of 250 bytes crosses the end of its sector/,
      { tree },
    );
  });

  test('of a file that lies behind the image, on any block', async () => {
    for (const block of [0x100000, 0xffffffff]) {
      await refusesWalk(
        ({ image, layout }) => both32(block).copy(image, layout.record('e.rpm').offset + 2),
        'iso.truncated',
        new RegExp(`"e.rpm" \\(from byte ${block * 2048}\\) reaches to byte ${block * 2048 + 1}`),
      );
    }
  });

  test('of a file of 4 GiB in a small image', () =>
    refusesWalk(
      ({ image, layout }) => both32(0xffffffff).copy(image, layout.record('e.rpm').offset + 10),
      'iso.truncated',
      /"e.rpm"/,
    ));
});

test('files that lie on top of each other over and over', async () => {
  const tree = {
    big: 'x'.repeat(500_000),
    ...Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`f${n}`, ''])),
  };
  const alias =
    (count: number) =>
    ({ image, layout }: BuiltIso) => {
      const { offset } = layout.record('big');
      for (let n = 0; n < count; n += 1) image.copy(image, layout.record(`f${n}`).offset + 2, offset + 2, offset + 18);
    };
  const some = await openBuilt(tree, {}, alias(100));
  assert.equal((await walkAll(some.iso)).size, 301);
  const many = await openBuilt(tree, {}, alias(300));
  await refuses(
    walkAll(many.iso),
    'iso.limit',
    /files that overlap, many times the size of the image; the limit is 100/,
  );
});

describe('a file in several sections', () => {
  const tree = { big: 'x'.repeat(6000), next: 'y' };

  test('that lacks its last one', async () => {
    await refusesWalk(
      ({ image, layout }) => image.writeUInt8(0x80, layout.record('big', 'primary', 2).offset + 25),
      'iso.invalid',
      /"big" lacks its last section/,
      { tree, sectionLimit: 2048 },
    );
    await refusesWalk(
      ({ image, layout }) => image.writeUInt8(0x80, layout.record('next').offset + 25),
      'iso.invalid',
      /"next" lacks its last section/,
      { tree },
    );
  });

  test('that goes on with a directory', () =>
    refusesWalk(
      ({ image, layout }) => image.writeUInt8(2, layout.record('big', 'primary', 1).offset + 25),
      'iso.invalid',
      /"big" lacks its last section/,
      { tree, sectionLimit: 2048 },
    ));

  test('that has more than 4096 of them', async () => {
    const options = { rockRidge: false, sectionLimit: 2048 };
    const most = await openBuilt({ big: Buffer.alloc(4096 * 2048) }, options);
    assert.equal((await collect(most.iso.list()))[0]?.size, 4096 * 2048);
    const more = await openBuilt({ big: Buffer.alloc(4097 * 2048) }, options);
    await refuses(walkAll(more.iso), 'iso.limit', /has 4097 sections; the limit is 4096/);
  });
});
