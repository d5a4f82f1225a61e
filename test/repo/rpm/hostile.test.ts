import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changelogsOf } from '../../../src/repo/formats/rpm/changelogs.ts';
import { dependenciesOf } from '../../../src/repo/formats/rpm/dependencies.ts';
import { filesOf } from '../../../src/repo/formats/rpm/files.ts';
import { openRpm } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { TAG, TYPE } from '../../../src/repo/formats/rpm/tags.ts';
import { type CountingSource, countingSource } from '../../media/byte-sources.ts';
import {
  buildRpm,
  type IndexEntry,
  i18n,
  int8,
  int16,
  int32,
  int64,
  type RpmOptions,
  string,
  strings,
} from '../../media/rpm-builder.ts';
import { isRpmError, openBuilt, readAll, refuses, refusesAtOnce } from './support.ts';

/** A source that says it is 1 TiB long, so that no size in the package can be beyond its end. */
function endless(file: Buffer): CountingSource {
  return countingSource(file, { size: 2 ** 40 });
}

describe('what is no package', () => {
  for (const [name, content, code, message] of [
    ['an empty file', '', 'rpm.invalid', /is empty/],
    ['two bytes', Buffer.from('edab', 'hex'), 'rpm.invalid', /not an RPM package/],
    ['a web page', '<!DOCTYPE html><html><body>Please log in</body></html>', 'rpm.invalid', /web page/],
    ['a text', 'x'.repeat(5000), 'rpm.invalid', /not an RPM package/],
    ['a delta', `drpm${'x'.repeat(500)}`, 'rpm.unsupported', /delta RPM/],
    ['half a lead', buildRpm().file.subarray(0, 50), 'rpm.truncated', /the lead/],
    ['a lead and nothing', buildRpm().file.subarray(0, 96), 'rpm.truncated', /the signature header/],
    [
      'a lead and noise',
      Buffer.concat([buildRpm().file.subarray(0, 96), Buffer.alloc(500, 7)]),
      'rpm.invalid',
      /start/,
    ],
  ] as const) {
    test(name, () => refuses(openRpm(countingSource(Buffer.from(content as string))), code, message));
  }
});

describe('the lead', () => {
  const lead = (change: (lead: Buffer) => void) => openBuilt({ lead: change });
  test('of rpm 1 and 2', async () => {
    await refuses(
      lead((bytes) => bytes.writeUInt8(2, 4)),
      'rpm.unsupported',
      /format version 2/,
    );
    await refuses(
      lead((bytes) => bytes.writeUInt16BE(1, 78)),
      'rpm.unsupported',
      /signatures of type 1/,
    );
  });
  test('of no known type', () =>
    refuses(
      lead((bytes) => bytes.writeUInt16BE(2, 6)),
      'rpm.invalid',
      /type 2/,
    ));
  test('says nothing else that counts', async () => {
    const { facts } = await openBuilt({ lead: (bytes) => bytes.fill(0xff, 8, 78) });
    assert.equal(facts.name, 'tiny');
  });
});

describe('formats to come', () => {
  for (const format of [0, 1, 5, 7, 0xffffffff]) {
    test(`format ${format}`, () =>
      refuses(
        openBuilt({ tags: [int32(TAG.rpmFormat, format)] }),
        'rpm.unsupported',
        RegExp(`format version ${format},`),
      ));
  }
  test('a delta in the clothes of a package', () =>
    refuses(openBuilt({ tags: [string(TAG.payloadFormat, 'drpm')] }), 'rpm.unsupported', /delta/));
});

describe('giant counts', () => {
  for (const [where, most, bytes] of [
    ['signature', 32, 64],
    ['header', 65_535, 64],
  ] as const) {
    for (const count of [most + 1, 0x0fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      test(`${count} tags in the ${where}`, async () => {
        const { file, layout } = buildRpm();
        file.writeUInt32BE(count, layout[where].start + 8);
        const source = endless(file);
        await refuses(openRpm(source), 'rpm.limit', RegExp(`counts ${count} tags; the limit is ${most}`));
        assert.ok(source.bytes < 2000 && source.largest < 1000, 'no memory is taken');
      });
      test(`${count} bytes in the ${where}`, async () => {
        const { file, layout } = buildRpm();
        file.writeUInt32BE(Math.max(count, bytes * 2 ** 20 + 1), layout[where].start + 12);
        const source = endless(file);
        await refuses(openRpm(source), 'rpm.limit', /counts \d+ bytes; the limit is 67108864/);
        assert.ok(source.bytes < 2000 && source.largest < 1000, 'no memory is taken');
      });
    }
    test(`counts within the limits but beyond the file, in the ${where}`, async () => {
      const { file, layout } = buildRpm();
      file.writeUInt32BE(most, layout[where].start + 8);
      file.writeUInt32BE(bytes * 2 ** 20, layout[where].start + 12);
      const source = countingSource(file);
      await refuses(openRpm(source), 'rpm.truncated', /header reaches to byte/);
      assert.ok(source.largest < 1000, 'no memory is taken');
    });
  }

  test('no tags at all', async () => {
    const nothing = Buffer.from('8eade801000000000000000000000000', 'hex');
    await refuses(openBuilt({ header: () => nothing }), 'rpm.invalid', /the header is empty/);
    await refuses(openBuilt({ signature: () => nothing }), 'rpm.invalid', /the signature header is empty/);
  });

  // Behind the verified index they are bounded by the data, and nothing is held for them.
  for (const count of [3, 1000, 0x0fff_ffff, 0xffff_ffff]) {
    test(`${count} values where there is one`, async () => {
      for (const tag of [TAG.summary, TAG.buildTime, TAG.provideName, TAG.provideFlags]) {
        const lie = (entries: IndexEntry[]) => {
          for (const entry of entries) if (entry.tag === tag) entry.count = count;
        };
        await refuses(openBuilt({ headerEntries: lie }), 'rpm.invalid', /an entry of the header is wrong/);
      }
    });
  }
});

/** Opens a package in whose index one entry is changed. */
function withEntry(tag: number, change: Partial<IndexEntry>, options: RpmOptions = {}): Promise<unknown> {
  return openBuilt({
    ...options,
    headerEntries: (entries) => {
      const entry = entries.find((candidate) => candidate.tag === tag);
      assert.ok(entry);
      Object.assign(entry, change);
    },
  });
}

describe('entries', () => {
  const wrong = /an entry of the header is wrong \(tag \d+, type \d+, offset \d+, count \d+\)/;
  test('offsets that point elsewhere', async () => {
    const { layout } = buildRpm();
    const length = layout.header.end - layout.header.data;
    for (const offset of [0, 1, length - 16, length - 1, length, length + 1, 0x7fffffff, -1, -16, -0x80000000]) {
      await refuses(withEntry(TAG.summary, { offset }), 'rpm.invalid', wrong);
    }
  });
  test('data that overlaps', async () => {
    await refuses(withEntry(TAG.version, { offset: 2 }), 'rpm.invalid', wrong);
  });
  test('data out of line', async () => {
    await refuses(withEntry(TAG.buildTime, { type: TYPE.int64 }), 'rpm.invalid', wrong);
    const odd = { tag: 1500, type: TYPE.string, count: 1, data: Buffer.from('xx\0') };
    const { layout } = buildRpm({ tags: [odd, int32(1501, 1)] });
    const offset = layout.header.dataOf(1500) - layout.header.data + 3;
    await refuses(withEntry(1501, { offset }, { tags: [odd, int32(1501, 1)] }), 'rpm.invalid', wrong);
  });
  test('types that do not exist', async () => {
    for (const type of [0, 10, 16, 255, 0xffffffff]) await refuses(withEntry(TAG.name, { type }), 'rpm.invalid', wrong);
  });
  test('nothing, and a string that is two', async () => {
    await refuses(withEntry(TAG.summary, { count: 0 }), 'rpm.invalid', wrong);
    await refuses(withEntry(TAG.name, { count: 2 }), 'rpm.invalid', wrong);
  });
  test('tags from the inside of rpm', async () => {
    for (const tag of [0, 61, 62, 63, 64, 99, -1, -0x80000000])
      await refuses(withEntry(100, { tag }), 'rpm.invalid', wrong);
  });
  test('data that belongs to no tag', async () => {
    const longer = { tag: 1500, type: TYPE.string, count: 1, data: Buffer.from('ab\0hidden\0') };
    await refuses(openBuilt({ tags: [longer] }), 'rpm.invalid', wrong);
    await refuses(openBuilt({ tags: [{ ...longer, tag: 9000 }] }), 'rpm.invalid', /bytes that belong to no tag/);
    await refuses(
      openBuilt({ signatureTags: [{ ...longer, tag: 2000 }] }),
      'rpm.invalid',
      /signature header has 7 bytes/,
    );
  });
  test('a string without an end', async () => {
    const last = { tag: 9000, type: TYPE.string, count: 1, data: Buffer.from('no end') };
    await refuses(openBuilt({ tags: [last] }), 'rpm.invalid', wrong);
    // There the end would be in the region's trailer, or behind the header.
    await refuses(openBuilt({ format: 3, tags: [last] }), 'rpm.invalid', wrong);
    await refuses(
      openBuilt({ tags: [{ ...last, type: TYPE.stringArray, count: 3, data: Buffer.from('a\0b\0c') }] }),
      'rpm.invalid',
      wrong,
    );
  });
});

describe('the immutable region', () => {
  const trailer = (field: number, change: (number: number) => number) => (header: Buffer) => {
    const at = header.length - 16 + 4 * field;
    header.writeUInt32BE(change(header.readUInt32BE(at)) >>> 0, at);
    return header;
  };
  test('its first entry', async () => {
    for (const change of [{ type: 6 }, { count: 15 }, { count: 32 }, { offset: 0x7fffffff }, { offset: -16 }]) {
      await refuses(withEntry(63, change), 'rpm.invalid', /an entry of the header is wrong/);
    }
    await refuses(withEntry(63, { offset: 0 }), 'rpm.invalid', /behind its immutable region/);
    for (const tag of [61, 62, 64]) await refuses(withEntry(63, { tag }), 'rpm.invalid', /wrong/);
  });
  test('its trailer', async () => {
    for (const header of [trailer(0, () => 61), trailer(1, () => 6), trailer(3, () => 8)]) {
      await refuses(openBuilt({ header }), 'rpm.invalid', /does not end as it should/);
      await refuses(openBuilt({ signature: header }), 'rpm.invalid', /of the signature header does not/);
    }
    for (const change of [
      (n: number) => n + 16,
      (n: number) => n - 16,
      (n: number) => -n,
      (n: number) => n + 1,
      () => 0,
    ]) {
      await refuses(openBuilt({ header: trailer(2, change) }), 'rpm.invalid', /does not hold all of its/);
    }
  });
  test('tags behind it cannot give the package another name', async () => {
    const header = (bytes: Buffer) => appendEntry(bytes, string(TAG.name, 'evil'));
    await refuses(openBuilt({ header }), 'rpm.invalid', /behind its immutable region, which no digest covers/);
    const signature = (bytes: Buffer) => appendEntry(bytes, string(TAG.name, 'evil'));
    await refuses(openBuilt({ signature }), 'rpm.invalid', /behind its immutable region/);
  });
  test('an entry behind it whose data is within', async () => {
    const header = (bytes: Buffer) => appendEntry(bytes, { ...string(TAG.name, ''), data: Buffer.alloc(0) });
    await refuses(openBuilt({ header }), 'rpm.invalid', /does not hold all of its/);
  });
});

/** Adds an entry behind a finished header's region, as rpm's database does with what it learns later. */
function appendEntry(header: Buffer, { tag, type, count, data }: ReturnType<typeof string>): Buffer {
  const [entries, length] = [header.readUInt32BE(8), header.readUInt32BE(12)];
  const end = 16 + 16 * entries;
  const entry = Buffer.alloc(16);
  for (const [column, number] of [tag, type, length, count].entries()) entry.writeUInt32BE(number, 4 * column);
  const intro = Buffer.from(header.subarray(0, 16));
  intro.writeUInt32BE(entries + 1, 8);
  intro.writeUInt32BE(length + data.length, 12);
  return Buffer.concat([intro, header.subarray(16, end), entry, header.subarray(end), data]);
}

describe('identity', () => {
  const none = /cannot be the (?:name|version|release|architecture) of a package/;
  for (const part of ['name', 'version', 'release', 'arch'] as const) {
    test(`bad ${part}s`, async () => {
      const bad = [
        '',
        ' ',
        'a b',
        'a/b',
        '../evil',
        '/',
        '\u0001',
        'a\nb',
        'ä',
        Buffer.from([0xff]),
        '\u007f',
        '\\u202e/x',
      ];
      for (const text of bad) await refuses(openBuilt({ [part]: text }), 'rpm.invalid', none);
      await refuses(openBuilt({ [part]: 'a'.repeat(256) }), 'rpm.limit', /256 bytes long/);
      assert.equal((await openBuilt({ [part]: 'a'.repeat(255) })).facts[part].length, 255);
      const tag = TAG[part];
      const message = part === 'arch' ? /has no architecture/ : RegExp(`has no ${part}`);
      await refuses(openBuilt({ without: [tag] }), 'rpm.invalid', message);
      for (const other of [int32(tag, 1), int8(tag, 1), strings(tag, 'a', 'b')]) {
        await refuses(openBuilt({ tags: [other] }), 'rpm.invalid', /does not hold a string|2 values instead of one/);
      }
      await refuses(openBuilt({ tags: [string(tag, 'a'), string(tag, 'b')] }), 'rpm.invalid', /holds tag \d+ twice/);
    });
  }
  test('dashes would move the borders between the parts', async () => {
    await refuses(openBuilt({ version: '1-2' }), 'rpm.invalid', none);
    await refuses(openBuilt({ release: '1-2' }), 'rpm.invalid', none);
    await refuses(openBuilt({ name: '-a' }), 'rpm.invalid', none);
    await refuses(openBuilt({ arch: 'x86-64' }), 'rpm.invalid', none);
  });
  test('what rpmbuild allows', async () => {
    const { facts } = await openBuilt({ name: 'libstdc++_a.b-c%{d}', version: '1.0~rc1^git+2_3', release: '1.el9' });
    assert.equal(facts.name, 'libstdc++_a.b-c%{d}');
  });
  test('an epoch of another kind', async () => {
    for (const epoch of [int16(TAG.epoch, 1), int64(TAG.epoch, 1), string(TAG.epoch, '1'), int32(TAG.epoch, 1, 2)]) {
      await refuses(openBuilt({ tags: [epoch] }), 'rpm.invalid', /does not hold a number|2 values instead of one/);
    }
  });
  test('source and binary at once', () =>
    refuses(openBuilt({ tags: [int32(TAG.sourcePackage, 1)] }), 'rpm.invalid', /source package, and names its own/));
  test('sizes beyond all sizes', async () => {
    for (const size of [2n ** 53n, 2n ** 64n - 1n]) {
      await refuses(openBuilt({ tags: [int64(TAG.longSize, size)] }), 'rpm.invalid', /beyond all sizes/);
    }
  });
  test('other facts of a wrong type', async () => {
    for (const tag of [int32(TAG.summary, 1), int32(TAG.url, 1), string(TAG.size, '1'), int32(TAG.payloadFormat, 1)]) {
      await refuses(openBuilt({ tags: [tag] }), 'rpm.invalid', /does not hold/);
    }
    await refuses(openBuilt({ tags: [i18n(TAG.sourceRpm, 'a'), i18n(TAG.sourceRpm, 'b')] }), 'rpm.invalid', /twice/);
  });
  test('tags that nobody reads may come twice', async () => {
    assert.equal((await openBuilt({ tags: [string(1064, '4'), string(1064, '5')] })).facts.name, 'tiny');
  });
});

describe('lists', () => {
  const [names, flags, versions] = [
    strings(TAG.requireName, 'a', 'b'),
    int32(TAG.requireFlags, 8, 8),
    strings(TAG.requireVersion, '1', '2'),
  ];
  test('dependencies that do not fit each other', async () => {
    for (const tags of [
      [names, int32(TAG.requireFlags, 8), versions],
      [names, flags, strings(TAG.requireVersion, '1')],
      [names, flags, strings(TAG.requireVersion, '1', '2', '3')],
    ]) {
      const { rpm } = await openBuilt({ tags });
      refusesAtOnce(() => [...dependenciesOf(rpm, 'requires')], 'rpm.invalid', /the package has 2 requires but/);
    }
    const { rpm } = await openBuilt({ tags: [flags, versions] });
    refusesAtOnce(() => [...dependenciesOf(rpm, 'requires')], 'rpm.invalid', /the package has 0 requires but 2/);
    for (const tags of [
      [int32(TAG.requireName, 1, 2), flags, versions],
      [names, int16(TAG.requireFlags, 8, 8), versions],
    ]) {
      const wrong = await openBuilt({ tags });
      refusesAtOnce(() => [...dependenciesOf(wrong.rpm, 'requires')], 'rpm.invalid', /does not hold/);
    }
  });
  test('dependencies too long to be true', async () => {
    const long = await openBuilt({ tags: [strings(TAG.requireName, 'a'.repeat(70_000))] });
    refusesAtOnce(() => [...dependenciesOf(long.rpm, 'requires')], 'rpm.limit', /70000 bytes/);
    const version = await openBuilt({
      tags: [strings(TAG.requireName, 'a'), strings(TAG.requireVersion, '1'.repeat(1025))],
    });
    refusesAtOnce(() => [...dependenciesOf(version.rpm, 'requires')], 'rpm.limit', /1025 bytes/);
  });
  test('a million empty strings too many', async () => {
    const many = (tag: number) => ({ tag, type: TYPE.stringArray, count: 1_000_001, data: Buffer.alloc(1_000_001) });
    const { rpm } = await openBuilt({
      tags: [
        many(TAG.requireName),
        many(TAG.oldFileNames),
        { ...int32(TAG.changelogTime, 1), count: 100_001, data: Buffer.alloc(400_004) },
      ],
    });
    refusesAtOnce(() => [...dependenciesOf(rpm, 'requires')], 'rpm.limit', /1000001 requires; the limit is 1000000/);
    refusesAtOnce(() => [...filesOf(rpm)], 'rpm.limit', /1000001 files/);
    refusesAtOnce(() => [...changelogsOf(rpm)], 'rpm.limit', /100001 changelog entries/);
    const { rpm: directories } = await openBuilt({ files: [['/a']], tags: [many(TAG.dirNames)] });
    refusesAtOnce(() => [...filesOf(directories)], 'rpm.limit', /1000001 files or directories/);
  });
  test('files that do not fit each other', async () => {
    const files = [['/a/b'], ['/a/c']] as const;
    for (const tag of [
      int16(TAG.fileModes, 0),
      int32(TAG.fileFlags, 0),
      int32(TAG.dirIndexes, 0),
      strings(TAG.baseNames, 'a'),
    ]) {
      const { rpm } = await openBuilt({ files, tags: [tag] });
      refusesAtOnce(() => [...filesOf(rpm)], 'rpm.invalid', /the package has \d files but/);
    }
    for (const index of [1, 2, 0x7fffffff, -1]) {
      const { rpm } = await openBuilt({ files, tags: [int32(TAG.dirIndexes, 0, index)] });
      refusesAtOnce(
        () => [...filesOf(rpm)],
        'rpm.invalid',
        /file 1 lies in a directory that the package does not name/,
      );
    }
    const { rpm } = await openBuilt({ files, without: [TAG.dirIndexes] });
    refusesAtOnce(() => [...filesOf(rpm)], 'rpm.invalid', /2 files but 0 values/);
  });
  test('one long directory for many files', async () => {
    const { rpm } = await openBuilt({
      files: [['/a/b'], ['/a/c']],
      tags: [strings(TAG.dirNames, `/${'d'.repeat(5000)}/`)],
    });
    refusesAtOnce(() => [...filesOf(rpm)], 'rpm.limit', /a path of more than 4096 bytes/);
    const count = 150_000;
    const { rpm: wide } = await openBuilt({
      tags: [
        strings(TAG.dirNames, `/${'d'.repeat(4090)}/`),
        { tag: TAG.baseNames, type: TYPE.stringArray, count, data: Buffer.alloc(count) },
        { tag: TAG.dirIndexes, type: TYPE.int32, count, data: Buffer.alloc(4 * count) },
      ],
    });
    refusesAtOnce(
      () => {
        for (const { path } of filesOf(wide)) assert.ok(path);
      },
      'rpm.limit',
      /all paths together/,
    );
  });
  test('a changelog that does not fit itself', async () => {
    for (const tags of [
      [int32(TAG.changelogTime, 1, 2), strings(TAG.changelogName, 'a'), strings(TAG.changelogText, 'b')],
      [int32(TAG.changelogTime, 1), strings(TAG.changelogName, 'a', 'b'), strings(TAG.changelogText, 'b')],
      [int32(TAG.changelogTime, 1), strings(TAG.changelogName, 'a')],
      [strings(TAG.changelogText, 'b')],
    ]) {
      const { rpm } = await openBuilt({ tags });
      refusesAtOnce(() => [...changelogsOf(rpm)], 'rpm.invalid', /the changelog has \d times but/);
    }
  });
  test('paths are data', async () => {
    const { rpm } = await openBuilt({ files: [['../../etc/passwd'], ['/a/../../b'], ['\u0001\n']] });
    assert.deepEqual(
      Array.from(filesOf(rpm), ({ path }) => path),
      ['../../etc/passwd', '/a/../../b', '\u0001\n'],
    );
  });
});

describe('cut at every fiftieth of its length', () => {
  for (const format of [3, 4, 6] as const) {
    test(`format ${format}`, async () => {
      const { file } = buildRpm({ format, files: [['/a/b'], ['/a/c']], archive: Buffer.alloc(3000, 'noise') });
      await readAll(file);
      for (let part = 0; part < 50; part += 1) {
        const length = Math.floor((file.length * part) / 50);
        const source = countingSource(file.subarray(0, length), { maxReads: 20 });
        await refuses(openRpm(source), length === 0 ? 'rpm.invalid' : 'rpm.truncated', /is empty|is cut short/);
      }
      for (let length = 0; length < file.length; length += 1) {
        await assert.rejects(readAll(file.subarray(0, length)), isRpmError);
      }
    });
  }
});
