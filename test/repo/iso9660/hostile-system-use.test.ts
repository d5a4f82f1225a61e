import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { type BuiltIso, buildIso, type IsoOptions, type RecordPlace, symlink } from '../../media/iso-builder.ts';
import { both32, CE, CL, component, entry, NM, PX, SL } from '../../media/system-use.ts';
import { content, openBuilt, refuses, walkAll } from './support.ts';

/** System Use entries of the file `victim`, next to two others. */
function victim(entries: (at: RecordPlace) => Buffer[], options: IsoOptions = {}) {
  return openBuilt(
    { before: 'b', victim: 'v'.repeat(5000), zz: 'z' },
    { ...options, systemUse: (usual, at) => (at.path === 'victim' && at.role === 'child' ? entries(at) : usual) },
  );
}

/** An image whose `victim` has these entries is refused, after few reads. */
async function refusesEntries(
  entries: Buffer[] | ((at: RecordPlace) => Buffer[]),
  code: Parameters<typeof refuses>[1],
  message: RegExp,
): Promise<void> {
  const { iso, source } = await victim(typeof entries === 'function' ? entries : () => entries);
  const { reads } = source;
  await refuses(walkAll(iso), code, message);
  assert.ok(source.reads - reads < 100, `${source.reads - reads} reads`);
  assert.ok(source.largest <= 64 * 1024);
}

const FILE = PX(0o100644);
const pad = (length: number) => entry('ZZ', Buffer.alloc(length - 4));

describe('continuation areas (CE)', () => {
  /** An image whose `victim` continues in an area of its own content, written by `area`. */
  async function withArea(area: (block: number) => Buffer[], length?: number) {
    const built = await victim((at) => [NM('victim'), FILE, CE(at.blockOf('victim'), 0, length ?? total(area(0)))]);
    const { offset } = built.layout.file('victim');
    Buffer.concat(area(offset / 2048)).copy(built.image, offset);
    return built;
  }
  const total = (buffers: Buffer[]) => buffers.reduce((sum, { length }) => sum + length, 0);

  test('that point to themselves', async () => {
    const { iso, source } = await withArea((block) => [pad(20), CE(block, 0, 48)]);
    const { reads } = source;
    await refuses(walkAll(iso), 'iso.invalid', /continuation areas run in a circle/);
    assert.ok(source.reads - reads <= 2);
  });

  test('that point to each other', async () => {
    const { iso } = await withArea((block) => [CE(block, 28, 28), CE(block, 0, 28)], 28);
    await refuses(walkAll(iso), 'iso.invalid', /continuation areas run in a circle/);
  });

  test('that go on and on, overlapping', async () => {
    const { iso, source } = await withArea(
      (block) => Array.from({ length: 70 }, (_, n) => CE(block, (n + 1) * 28, 28)),
      28,
    );
    const { reads } = source;
    await refuses(walkAll(iso), 'iso.limit', /65 continuation areas of one record; the limit is 64/);
    assert.ok(source.reads - reads <= 2, 'one block is read once');
  });

  test('that leave their block', async () => {
    for (const [offset, length] of [
      [2047, 2],
      [0, 2049],
      [2048, 1],
      [0xffffffff, 1],
      [0, 0xffffffff],
      [0xffffffff, 0xffffffff],
    ] as const) {
      await refusesEntries(
        (at) => [NM('victim'), FILE, CE(at.blockOf('victim'), offset, length)],
        'iso.invalid',
        new RegExp(`\\(offset ${offset}, length ${length}\\) leaves its block of 2048 bytes`),
      );
    }
  });

  test('that lie behind the image', async () => {
    for (const block of [0x10000, 0xffffffff]) {
      await refusesEntries(
        [NM('victim'), FILE, CE(block, 0, 100)],
        'iso.truncated',
        /a continuation area reaches to byte/,
      );
    }
  });

  test('whose numbers disagree in byte order', async () => {
    for (const [position, what] of [
      [0, 'block'],
      [1, 'offset'],
      [2, 'length'],
    ] as const) {
      const numbers = [both32(0), both32(0), both32(100)];
      numbers[position] = both32(1, 2);
      await refusesEntries(
        [FILE, entry('CE', ...numbers)],
        'iso.invalid',
        new RegExp(`the ${what} of a continuation area is 1`),
      );
    }
  });

  test('that are announced twice, or in an entry of the wrong length', async () => {
    await refusesEntries([FILE, CE(0, 0, 10), CE(0, 0, 10)], 'iso.invalid', /two CE entries/);
    await refusesEntries([FILE, entry('CE', both32(0))], 'iso.invalid', /a CE entry is 12 bytes long instead of 28/);
    await refusesEntries([FILE, entry('CE', both32(0), both32(0), both32(1), [0])], 'iso.invalid', /29 bytes long/);
  });

  test('that are empty are nothing', async () => {
    const { iso } = await victim(() => [NM('victim'), FILE, CE(0xffffffff, 0, 0)]);
    assert.equal((await walkAll(iso)).size, 3);
  });

  test('with damaged entries', async () => {
    const damaged = Buffer.from([0x4e, 0x4d, 0, 1, 0, 0x41]);
    const { iso } = await withArea(() => [damaged]);
    await refuses(walkAll(iso), 'iso.invalid', /entry says that it is 0 bytes long, where 4 to 6 are possible/);
  });

  test('of zeros, as a lost block would be, when the name went on there', async () => {
    const { iso } = await openBuilt(
      { areas: '\0'.repeat(2048), victim: 'v' },
      {
        systemUse: (usual, at) =>
          at.path === 'victim' && at.role === 'child' ? [NM('vic', 1), FILE, CE(at.blockOf('areas'), 0, 100)] : usual,
      },
    );
    await refuses(walkAll(iso), 'iso.invalid', /announces another piece/);
  });

  test('shared by many records are not read without end', async () => {
    // 64 areas of a whole block each, which 3000 files all name: 375 MiB to read in an image of under a MiB.
    const tree: Record<string, string> = { areas: '\0'.repeat(64 * 2048) };
    for (let n = 0; n < 3000; n += 1) tree[`f${n}`] = '';
    const { image, layout } = buildIso(tree, {
      systemUse: (entries, at) =>
        at.role === 'child' && at.path.startsWith('f') ? [...entries, CE(at.blockOf('areas'), 0, 2048)] : entries,
    });
    const { offset } = layout.file('areas');
    for (let n = 0; n < 64; n += 1) {
      const filler = [...Array.from({ length: 8 }, () => pad(250)), pad(20)];
      const next = n < 63 ? CE(offset / 2048 + n + 1, 0, 2048) : pad(28);
      Buffer.concat([...filler, next]).copy(image, offset + n * 2048);
    }
    const source = countingSource(image);
    await refuses(walkAll(await openIso(source)), 'iso.limit', /too many bytes in continuation areas/);
    assert.ok(source.bytes < 300 * 2 ** 20, `${source.bytes} bytes`);
  });
});

describe('System Use entries', () => {
  for (const length of [0, 1, 2, 3]) {
    test(`of length ${length}`, () =>
      refusesEntries(
        [NM('victim'), FILE, Buffer.from([0x5a, 0x5a, length, 1, 0, 0])],
        'iso.invalid',
        new RegExp(`says that it is ${length} bytes long`),
      ));
  }

  test('longer than their area', () =>
    refusesEntries(
      [NM('victim'), FILE, Buffer.from([0x5a, 0x5a, 255, 1])],
      'iso.invalid',
      /says that it is 255 bytes long/,
    ));

  test('behind zeros', () =>
    refusesEntries([FILE, Buffer.alloc(4), NM('victim')], 'iso.invalid', /the impossible signature "\\u0000\\u0000"/));

  test('too short for what they are', async () => {
    await refusesEntries([entry('NM')], 'iso.invalid', /the NM entry is 4 bytes long, but 5 are needed/);
    await refusesEntries([entry('PX', [1, 2])], 'iso.invalid', /the PX entry is 6 bytes long, but 12 are needed/);
    await refusesEntries([PX(0o120777), entry('SL')], 'iso.invalid', /the SL entry is 4 bytes long/);
    await refusesEntries([entry('CL')], 'iso.invalid', /the CL entry is 4 bytes long/);
    await refusesEntries(
      [entry('TF', [0x03], Buffer.alloc(7))],
      'iso.invalid',
      /the TF entry is 12 bytes long, but 19/,
    );
    await refusesEntries(
      [entry('TF', [0x82], Buffer.alloc(7))],
      'iso.invalid',
      /the TF entry is 12 bytes long, but 22/,
    );
  });

  test('whose numbers disagree in byte order', async () => {
    await refusesEntries(
      [entry('PX', both32(0o100644, 0o120777), Buffer.alloc(24))],
      'iso.invalid',
      /the file mode in PX is/,
    );
    await refusesEntries([entry('CL', both32(1, 2))], 'iso.invalid', /the location of a moved directory is 1/);
  });

  test('of the root directory are no better trusted', async () => {
    const rootEntries = (last: (usual: Buffer[], at: RecordPlace) => Buffer[]): IsoOptions => ({
      systemUse: (entries, at) => (at.path === '' && at.role === 'self' ? last(entries, at) : entries),
    });
    const broken = rootEntries((usual) => [...usual.slice(0, 2), Buffer.from([0x45, 0x52, 0, 1])]);
    await refuses(openBuilt({ a: '' }, broken), 'iso.invalid', /says that it is 0 bytes long/);
    const behind = rootEntries((usual) => [...usual.slice(0, 2), CE(0xffffff, 0, 100)]);
    await refuses(openBuilt({ a: '' }, behind), 'iso.truncated', /a continuation area/);
    const loop = rootEntries((usual, at) => [...usual.slice(0, 2), CE(at.blockOf('a'), 0, 28)]);
    const patch = ({ image, layout }: BuiltIso) => {
      CE(layout.file('a').offset / 2048, 0, 28).copy(image, layout.file('a').offset);
    };
    await refuses(openBuilt({ a: 'x'.repeat(100) }, loop, patch), 'iso.invalid', /run in a circle/);
  });
});

describe('names', () => {
  for (const name of ['..', '.', 'a/b', '/etc/passwd', '../../etc/passwd', 'a\0b', '/', '\0']) {
    test(`${JSON.stringify(name)} in Rock Ridge`, () =>
      refusesEntries([NM(name), FILE], 'iso.invalid', /the name ".*" is not possible/));
  }

  test('of no bytes, after all', () => refusesEntries([NM(''), FILE], 'iso.invalid', /the name "" is not possible/));

  test('that stand for "." or "..", or for nothing known', async () => {
    for (const flags of [2, 4, 8, 0x20, 0x80]) {
      await refusesEntries([NM('', flags), FILE], 'iso.invalid', new RegExp(`has the flags ${flags}: it is no name`));
      await refusesEntries([NM('victim', flags), FILE], 'iso.invalid', new RegExp(`has the flags ${flags}`));
    }
  });

  test('put together from pieces', async () => {
    await refusesEntries([NM('.', 1), NM('.'), FILE], 'iso.invalid', /the name ".." is not possible/);
    await refusesEntries([NM('..', 1), NM('/x'), FILE], 'iso.invalid', /the name "..\/x" is not possible/);
    await refusesEntries([NM('victim'), FILE, NM('other')], 'iso.invalid', /two Rock Ridge names/);
    await refusesEntries([NM('victim', 1), FILE], 'iso.invalid', /announces another piece, and there is none/);
  });

  test('that are no UTF-8', async () => {
    for (const bytes of [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0x61, 0xe2, 0x82]]) {
      await refusesEntries([NM(Buffer.from(bytes)), FILE], 'iso.invalid', /a name is not UTF-8: hexadecimal/);
    }
  });

  test('that are endless', async () => {
    const pieces = Array.from({ length: 6 }, (_, n) => NM('x'.repeat(200), n < 5 ? 1 : 0));
    await refusesEntries([...pieces, FILE], 'iso.limit', /a name of 1200 bytes; the limit is 1024/);
  });

  test('in messages are quoted and cut', async () => {
    const { iso } = await victim(() => [NM(`\x1b[2J\n/${'y'.repeat(190)}`), FILE]);
    await assert.rejects(walkAll(iso), (error: Error) => {
      assert.match(error.message, /"\\u001b\[2J\\n\/yyy/);
      assert.ok(error.message.length < 500);
      return true;
    });
  });

  test('of plain identifiers and Joliet are checked as well', async () => {
    const identifier = (bytes: Buffer, tree: 'primary' | 'joliet'): IsoOptions => ({
      rockRidge: false,
      joliet: tree === 'joliet',
      record(record, at) {
        if (at.role === 'child' && at.tree === tree) bytes.copy(record, 33);
        return undefined;
      },
    });
    const ucs2 = (text: string) => Buffer.from(text, 'utf16le').swap16();
    const cases = [
      [Buffer.from('../X.;1'), 'primary', /the name "..\/X" is not possible/],
      [Buffer.from('\0\0\0\0.;1'), 'primary', /is not possible/],
      [Buffer.from([0xff, 0xff]), 'primary', /not UTF-8/],
      [ucs2('../x'), 'joliet', /the name "..\/x/],
      [ucs2('a\0'), 'joliet', /is not possible/],
      [Buffer.from([0xd8, 0x00]), 'joliet', /not UCS-2/],
      [Buffer.from([0xdc, 0x00]), 'joliet', /not UCS-2/],
    ] as const;
    for (const [bytes, tree, message] of cases) {
      const { iso } = await openBuilt({ abcd: 'x' }, identifier(Buffer.from(bytes), tree));
      await refuses(walkAll(iso), 'iso.invalid', message);
    }
  });

  test('of Joliet with half a character', async () => {
    const { iso } = await openBuilt({ ab: 'x' }, { rockRidge: false, joliet: true }, ({ image, layout }) => {
      image.writeUInt8(3, layout.record('ab', 'joliet').offset + 32);
    });
    await refuses(walkAll(iso), 'iso.invalid', /not UCS-2/);
  });
});

describe('symbolic links', () => {
  const LINK = PX(0o120777);

  test('that climb out are told as they are, and never followed', async () => {
    const { iso } = await openBuilt({
      up: symlink('../../../../etc/passwd'),
      abs: symlink('/etc/passwd'),
      self: symlink('self'),
    });
    const entries = await walkAll(iso);
    assert.equal(entries.get('up')?.target, '../../../../etc/passwd');
    assert.equal(entries.get('abs')?.target, '/etc/passwd');
    assert.equal(await iso.stat('self/self'), undefined);
    await assert.rejects(content(iso, 'up'), /is a symlink, not a file/);
  });

  test('without, or with more than, a target', async () => {
    await refusesEntries([NM('victim'), LINK], 'iso.invalid', /calls it a symlink, but gives no link target/);
    await refusesEntries(
      [NM('victim'), FILE, SL([component('x')])],
      'iso.invalid',
      /calls it a file, but gives a link target/,
    );
    await refusesEntries([NM('victim'), LINK, SL([])], 'iso.invalid', /impossible target|no link target/);
    await refusesEntries([NM('victim'), LINK, SL([component('a\0b')])], 'iso.invalid', /impossible target/);
    await refusesEntries(
      [NM('victim'), LINK, SL([component('\xff')].map(() => Buffer.from([0, 1, 0xff])))],
      'iso.invalid',
      /not UTF-8/,
    );
  });

  test('with broken components', async () => {
    await refusesEntries([NM('victim'), LINK, SL([Buffer.from([0])])], 'iso.invalid', /longer than its SL entry/);
    await refusesEntries(
      [NM('victim'), LINK, SL([Buffer.from([0, 5, 0x41])])],
      'iso.invalid',
      /longer than its SL entry/,
    );
    await refusesEntries([NM('victim'), LINK, SL([component('x')], 1)], 'iso.invalid', /announces another piece/);
    for (const flags of [0x10, 0x20, 0x40, 0x80, 6]) {
      await refusesEntries([NM('victim'), LINK, SL([component('', flags)])], 'iso.invalid', /have no meaning/);
    }
  });

  test('that are endless', () =>
    refusesEntries(
      [NM('victim'), LINK, ...Array.from({ length: 25 }, (_, n) => SL([component('x'.repeat(200))], n < 24 ? 1 : 0))],
      'iso.limit',
      /a symbolic link of more than \d+ bytes; the limit is 4096/,
    ));
});

describe('types that contradict each other', () => {
  test('a file that Rock Ridge calls a directory', () =>
    refusesEntries([NM('victim'), PX(0o040755)], 'iso.invalid', /Rock Ridge calls it a directory, ISO 9660 a file/));

  test('a directory that Rock Ridge calls a file', async () => {
    for (const [mode, type] of [
      [0o100644, 'file'],
      [0o120777, 'symlink'],
      [0o060600, 'special'],
    ] as const) {
      const { iso } = await openBuilt(
        { d: { x: '' } },
        {
          systemUse: (entries, at) => (at.path === 'd' && at.role === 'child' ? [NM('d'), PX(mode)] : entries),
        },
      );
      await refuses(walkAll(iso), 'iso.invalid', new RegExp(`Rock Ridge calls it a ${type}, ISO 9660 a directory`));
    }
  });

  test('a file that is said to be a moved directory', () =>
    refusesEntries([NM('victim'), FILE, CL(0)], 'iso.invalid', /byte 0: a directory record/));
});
