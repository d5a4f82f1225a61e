import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { buildIso, type IsoTree, symlink } from '../../media/iso-builder.ts';
import { both32, CL, ER, entry, NM, PL, PX, RE, SP } from '../../media/system-use.ts';
import { collect, content, entryAt, openBuilt, refuses, walkAll } from './support.ts';

const LONG = `${'long-name-'.repeat(25)}.rpm`;
const TREE: IsoTree = {
  'README.txt': 'hello',
  '.treeinfo': '[general]\n',
  Packages: { 'a-1.0.rpm': 'AAAA', 'b-1.0.rpm': 'B'.repeat(5000), [LONG]: 'long' },
  'ü€😀.txt': 'unicode',
  empty: '',
  'empty-directory': {},
};

describe('names', () => {
  test('come from Rock Ridge where the image has it', async () => {
    const { iso } = await openBuilt(
      { ...TREE, latest: symlink('Packages/a-1.0.rpm'), up: symlink('../../etc/./passwd') },
      { joliet: true },
    );
    assert.equal(iso.names, 'rock-ridge');
    assert.equal(iso.hasRockRidge, true);
    assert.equal(iso.hasJoliet, true);
    const entries = await walkAll(iso);
    assert.deepEqual(
      [...entries.keys()].sort(),
      [
        '.treeinfo',
        'Packages',
        `Packages/${LONG}`,
        'Packages/a-1.0.rpm',
        'Packages/b-1.0.rpm',
        'README.txt',
        'empty',
        'empty-directory',
        'latest',
        'up',
        'ü€😀.txt',
      ].sort(),
    );
    assert.equal(entries.get('latest')?.type, 'symlink');
    assert.equal(entries.get('latest')?.target, 'Packages/a-1.0.rpm');
    assert.equal(entries.get('up')?.target, '../../etc/./passwd');
    assert.equal(await content(iso, `Packages/${LONG}`), 'long');
    assert.equal(await content(iso, 'ü€😀.txt'), 'unicode');
  });

  test('come from Joliet where there is no Rock Ridge', async () => {
    const { iso } = await openBuilt(TREE, { joliet: true, rockRidge: false });
    assert.equal(iso.names, 'joliet');
    const entries = await walkAll(iso);
    assert.ok(entries.has('ü€😀.txt'));
    assert.ok(entries.has('Packages/a-1.0.rpm'));
    assert.equal(await content(iso, 'Packages/b-1.0.rpm'), 'B'.repeat(5000));
  });

  test('are bare identifiers without version and trailing dot where there is neither', async () => {
    const { iso } = await openBuilt(TREE, { rockRidge: false });
    assert.equal(iso.names, 'plain');
    const entries = await walkAll(iso);
    assert.ok(entries.has('README.TXT'));
    assert.ok(entries.has('EMPTY'));
    assert.equal(entries.get('EMPTY_DIRECTORY')?.type, 'directory');
    assert.equal(await content(iso, 'README.TXT'), 'hello');
  });

  test('come from the tree that is asked for', async () => {
    const { image } = await openBuilt(TREE, { joliet: true });
    for (const names of ['rock-ridge', 'joliet', 'plain'] as const) {
      const iso = await openIso(countingSource(image), { names });
      assert.equal(iso.names, names);
      assert.equal((await walkAll(iso)).size, 9);
    }
    await refuses(openBuilt(TREE, { names: 'joliet' }), 'iso.invalid', /no joliet names/);
    await refuses(openBuilt(TREE, { names: 'rock-ridge', rockRidge: false }), 'iso.invalid', /no rock-ridge names/);
  });

  test('that Rock Ridge leaves out are those of ISO 9660', async () => {
    const { iso } = await openBuilt(
      { 'a.txt': 'a', 'b.txt': 'b' },
      { systemUse: (entries, at) => (at.path === 'a.txt' ? [PX(0o100644)] : entries) },
    );
    assert.deepEqual([...(await walkAll(iso)).keys()], ['A.TXT', 'b.txt']);
  });

  test('in pieces over several continuation areas are put together', async () => {
    const name = 'n'.repeat(1000);
    const { iso, layout } = await openBuilt({ [name]: 'x' }, { blockSize: 512 });
    assert.ok(layout.record(name).continuations.length >= 2);
    assert.deepEqual([...(await walkAll(iso)).keys()], [name]);
  });
});

describe('the volume', () => {
  test('tells its label, date, size and boot record', async () => {
    const { iso, image } = await openBuilt(TREE, {
      volumeId: '128T-6.2.6',
      elTorito: Buffer.alloc(2048),
      padSectors: 150,
    });
    assert.equal(iso.volumeId, '128T-6.2.6');
    assert.equal(iso.systemId, 'AIRLOCK');
    assert.equal(iso.publisherId, 'AIRLOCK TESTS');
    assert.deepEqual(iso.createdAt, new Date('2024-09-09T16:18:14Z'));
    assert.equal(iso.sizeInBytes, image.length);
    assert.equal(iso.hasElTorito, true);
    assert.equal((await openBuilt(TREE)).iso.hasElTorito, false);
  });

  test('may be smaller than the image', async () => {
    const { image } = buildIso(TREE);
    const iso = await openIso(countingSource(image, { size: image.length + 1_000_000 }));
    assert.equal(iso.sizeInBytes, image.length);
    assert.equal((await walkAll(iso)).size, 9);
  });

  test('may have blocks of 512 or 1024 bytes', async () => {
    for (const blockSize of [512, 1024]) {
      const { iso } = await openBuilt({ ...TREE, big: 'abc'.repeat(4000) }, { blockSize });
      assert.equal(await content(iso, 'big'), 'abc'.repeat(4000));
      assert.equal((await walkAll(iso)).size, 10);
    }
  });

  test('with impossible dates has none', async () => {
    const { iso } = await openBuilt({ a: 'x' }, { rockRidge: false }, ({ image, layout }) => {
      image.write('2024139999999900', layout.descriptors.primary + 813, 'latin1');
      image.fill(0xff, layout.record('a').offset + 18, layout.record('a').offset + 25);
    });
    assert.equal(iso.createdAt, undefined);
    assert.equal((await entryAt(iso, 'A')).mtime, undefined);
  });

  test('dates count the offset from Greenwich', async () => {
    const { iso } = await openBuilt({ a: 'x' }, { rockRidge: false }, ({ image, layout }) => {
      image.writeInt8(8, layout.descriptors.primary + 813 + 16);
      image.writeInt8(-20, layout.record('a').offset + 24);
    });
    assert.deepEqual(iso.createdAt, new Date('2024-09-09T14:18:14Z'));
    assert.deepEqual((await entryAt(iso, 'A')).mtime, new Date('2024-09-09T21:18:14Z'));
  });
});

describe('Rock Ridge', () => {
  test('skips what SP tells to skip', async () => {
    const { iso } = await openBuilt(TREE, { skip: 6 });
    assert.equal((await walkAll(iso)).size, 9);
    assert.equal(await content(iso, `Packages/${LONG}`), 'long');
  });

  test('is found behind the 14 bytes of CD-ROM XA', async () => {
    const xa = Buffer.from('0000000000005841000000000000', 'hex');
    const { iso } = await openBuilt(
      { 'Mixed.Case': 'x' },
      {
        skip: 14,
        systemUse: (entries, at) => (at.path === '' && at.role === 'self' ? [xa, SP(14), PX(0o040755), ER()] : entries),
      },
    );
    assert.deepEqual([...(await walkAll(iso)).keys()], ['Mixed.Case']);
  });

  test('is known by each of its names, and by PX alone', async () => {
    for (const extra of [[ER('RRIP_1991A')], [ER('IEEE_P1282')], [ER('IEEE_1282')], [PX(0o040755)]]) {
      const { iso } = await openBuilt(
        { a: 'x' },
        {
          systemUse: (entries, at) => (at.path === '' && at.role === 'self' ? [SP(), ...extra] : entries),
        },
      );
      assert.equal(iso.hasRockRidge, true);
    }
    const { iso } = await openBuilt(
      { a: 'x' },
      {
        systemUse: (entries, at) => (at.path === '' && at.role === 'self' ? [SP(), ER('SOMETHING ELSE')] : entries),
      },
    );
    assert.equal(iso.names, 'plain');
  });

  test('passes over entries that it does not know, and stops at ST', async () => {
    const { iso } = await openBuilt(
      { a: 'x' },
      {
        systemUse: (entries, at) =>
          at.role === 'child' ? [entry('ZZ', [1, 2, 3]), ...entries, entry('ST'), entry('NM', [0, 0x2f])] : entries,
      },
    );
    assert.deepEqual([...(await walkAll(iso)).keys()], ['a']);
  });

  test('takes zeros up to the end of an area for padding', async () => {
    const { iso } = await openBuilt({ a: 'x' }, { systemUse: (entries) => [...entries, Buffer.alloc(9)] });
    assert.deepEqual([...(await walkAll(iso)).keys()], ['a']);
  });

  test('puts links together as they would stand on disk', async () => {
    const targets = ['a', '/', '/a', '/a/b', '..', '.', '../../x/./y', `dir/${'c'.repeat(500)}/end`, '/../up', 'ü/€'];
    const tree = Object.fromEntries(targets.map((target, index) => [`link${index}`, symlink(target)]));
    const { iso } = await openBuilt(tree);
    const entries = await walkAll(iso);
    assert.deepEqual(
      targets.map((_, index) => entries.get(`link${index}`)?.target),
      targets,
    );
  });

  test('prefers the time in TF, short or long', async () => {
    const long = Buffer.concat([Buffer.from('2020010203040500', 'latin1'), Buffer.from([0])]);
    const stamps: Record<string, Buffer> = {
      long: entry('TF', [0x80 | 0x03], Buffer.alloc(17, '0'), long),
      short: entry('TF', [0x0e], [121, 1, 2, 3, 4, 5, 0], Buffer.alloc(14)),
      none: entry('TF', [0x0c], Buffer.alloc(14)),
    };
    const { iso } = await openBuilt(
      { long: '', short: '', none: '' },
      {
        systemUse: (entries, at) => {
          const stamp = stamps[at.path];
          return stamp === undefined ? entries : [NM(at.path), PX(0o100644), stamp];
        },
      },
    );
    const entries = await walkAll(iso);
    assert.deepEqual(entries.get('long')?.mtime, new Date('2020-01-02T03:04:05Z'));
    assert.deepEqual(entries.get('short')?.mtime, new Date('2021-01-02T03:04:05Z'));
    assert.deepEqual(entries.get('none')?.mtime, new Date('2024-09-09T16:18:14Z'));
  });

  test('brings relocated directories back to where they belong', async () => {
    const { iso } = await openBuilt(
      { top: { deep: 'placeholder' }, rr_moved: { deep: { file: 'found' } } },
      {
        systemUse(entries, at) {
          const isMovedOnesParent = at.role === 'parent' && at.path === 'rr_moved/deep';
          if (isMovedOnesParent) return [...entries, PL(at.blockOf('top'))];
          if (at.role !== 'child') return entries;
          if (at.path === 'top/deep') return [NM('deep'), PX(0o040755), CL(at.blockOf('rr_moved/deep'))];
          return at.path === 'rr_moved/deep' ? [...entries, RE()] : entries;
        },
      },
    );
    assert.deepEqual([...(await walkAll(iso)).keys()], ['rr_moved', 'top', 'top/deep', 'top/deep/file']);
    assert.equal(await content(iso, 'top/deep/file'), 'found');
    assert.equal(await iso.stat('rr_moved/deep'), undefined);
  });

  test('lists devices as special, without content', async () => {
    const { iso } = await openBuilt(
      { tty: '' },
      {
        systemUse: (entries, at) => (at.role === 'child' ? [NM('tty'), PX(0o020600)] : entries),
      },
    );
    const tty = await entryAt(iso, 'tty');
    assert.equal(tty.type, 'special');
    assert.throws(() => iso.extents(tty), /special, not a file/);
  });

  test('lists compressed files but does not give their bytes for the content', async () => {
    const { iso } = await openBuilt(
      { a: 'compressed' },
      {
        systemUse: (entries, at) =>
          at.role === 'child' ? [...entries, entry('ZF', Buffer.from('pz'), [4, 15], both32(5))] : entries,
      },
    );
    const file = await entryAt(iso, 'a');
    await refuses(iso.readFile(file, 1000), 'iso.invalid', /recorded as zisofs/);
    assert.throws(() => iso.source(file), /recorded as zisofs/);
  });
});

describe('content', () => {
  test('in several sections is one file, contiguous sections are one range', async () => {
    const bytes = Buffer.from(Array.from({ length: 20_000 }, (_, index) => index % 251));
    const { iso, layout } = await openBuilt({ a: 'x', big: bytes, z: 'y' }, { sectionLimit: 4096 });
    const big = await entryAt(iso, 'big');
    assert.equal(big.size, 20_000);
    const { offset } = layout.file('big');
    assert.deepEqual(iso.extents(big), [{ start: offset, end: offset + 20_000 }]);
    assert.ok(bytes.equals(await iso.readFile(big, 20_000)));
    assert.deepEqual([...(await walkAll(iso)).keys()], ['a', 'big', 'z']);
  });

  test('in sections that lie apart is read in their order', async () => {
    const swap = (image: Buffer, one: number, other: number) => {
      const first = Buffer.from(image.subarray(one + 2, one + 10));
      image.copyWithin(one + 2, other + 2, other + 10);
      first.copy(image, other + 2);
    };
    const text = 'A'.repeat(2048) + 'B'.repeat(2048) + 'C'.repeat(100);
    const { iso } = await openBuilt({ big: text }, { sectionLimit: 2048 }, ({ image, layout }) => {
      swap(image, layout.record('big', 'primary', 0).offset, layout.record('big', 'primary', 1).offset);
    });
    assert.equal(iso.extents(await entryAt(iso, 'big')).length, 3);
    assert.equal(await content(iso, 'big'), 'B'.repeat(2048) + 'A'.repeat(2048) + 'C'.repeat(100));
  });

  test('is read at any place, over the borders of sections', async () => {
    const bytes = Buffer.from(Array.from({ length: 9000 }, (_, index) => index % 251));
    const { iso } = await openBuilt({ big: bytes }, { sectionLimit: 2048 }, ({ image, layout }) => {
      // The second and the third section change places.
      const [one, two] = [1, 2].map((section) => layout.record('big', 'primary', section).offset + 2);
      if (one === undefined || two === undefined) return;
      const block = Buffer.from(image.subarray(one, one + 8));
      image.copyWithin(one, two, two + 8);
      block.copy(image, two);
    });
    const expected = Buffer.concat([
      bytes.subarray(0, 2048),
      bytes.subarray(4096, 6144),
      bytes.subarray(2048, 4096),
      bytes.subarray(6144),
    ]);
    const source = iso.source(await entryAt(iso, 'big'));
    assert.equal(source.size, 9000);
    await fc.assert(
      fc.asyncProperty(fc.nat(9100), fc.nat(9100), async (position, length) => {
        const into = Buffer.alloc(length);
        const read = await source.readAt(into, position);
        const wanted = expected.subarray(position, position + length);
        assert.equal(read, wanted.length);
        assert.ok(into.subarray(0, read).equals(wanted));
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  test('starts behind an extended attribute record', async () => {
    const { iso } = await openBuilt({ a: `${'x'.repeat(2048)}content` }, {}, ({ image, layout }) => {
      const { offset } = layout.record('a');
      image.writeUInt8(1, offset + 1);
      both32(7).copy(image, offset + 10);
    });
    assert.equal(await content(iso, 'a'), 'content');
  });

  test('of an empty file may be said to lie anywhere', async () => {
    const { iso } = await openBuilt({ a: '' }, {}, ({ image, layout }) => {
      both32(0xffffffff).copy(image, layout.record('a').offset + 2);
    });
    assert.deepEqual(iso.extents(await entryAt(iso, 'a')), []);
    assert.equal(await content(iso, 'a'), '');
  });

  test('longer than the reader wants is refused without reading it', async () => {
    const { iso, source } = await openBuilt({ a: 'x'.repeat(5000) });
    const file = await entryAt(iso, 'a');
    const { bytes } = source;
    await refuses(iso.readFile(file, 4999), 'iso.limit', /5000 bytes; the limit is 4999/);
    assert.equal(source.bytes, bytes);
  });

  test('of associated files is left out', async () => {
    const { iso } = await openBuilt({ a: 'x', b: 'fork' }, {}, ({ image, layout }) => {
      image.writeUInt8(4, layout.record('b').offset + 25);
    });
    assert.deepEqual([...(await walkAll(iso)).keys()], ['a']);
  });
});

describe('looking up', () => {
  test('takes a path with or without a leading slash, and nothing that is not a name', async () => {
    const { iso } = await openBuilt({ ...TREE, link: symlink('Packages') });
    assert.equal((await iso.stat('/Packages/a-1.0.rpm'))?.size, 4);
    assert.equal((await iso.stat('Packages/a-1.0.rpm'))?.path, 'Packages/a-1.0.rpm');
    assert.equal(await iso.stat(''), iso.root);
    assert.equal(await iso.stat('/'), iso.root);
    const nothing = ['packages', 'Packages/', '//Packages', 'Packages//a-1.0.rpm', './Packages', 'Packages/..', '../x'];
    for (const path of [...nothing, 'README.txt/x', 'link/a-1.0.rpm', 'missing/a']) {
      assert.equal(await iso.stat(path), undefined, path);
    }
  });

  test('reads only the directories on the way', async () => {
    const tree: Record<string, IsoTree> = {};
    for (let n = 0; n < 200; n += 1) tree[`directory${n}`] = { file: `${n}` };
    const { iso, source } = await openBuilt(tree);
    const { bytes, reads } = source;
    assert.equal((await iso.stat('directory150/file'))?.size, 3);
    assert.ok(source.reads - reads <= 2, `${source.reads - reads} reads`);
    assert.ok(source.bytes - bytes <= 64 * 1024);
  });

  test('opening reads a few sectors', async () => {
    const { source } = await openBuilt(TREE, { joliet: true });
    assert.ok(source.bytes <= 5 * 2048, `${source.bytes} bytes`);
  });

  test('lists one directory, and refuses to list a file', async () => {
    const { iso } = await openBuilt(TREE);
    const names = (await collect(iso.list(await entryAt(iso, 'Packages')))).map(({ path }) => path);
    assert.deepEqual(names, ['Packages/a-1.0.rpm', 'Packages/b-1.0.rpm', `Packages/${LONG}`]);
    await refuses(collect(iso.list(await entryAt(iso, 'empty'))), 'iso.invalid', /is a file, not a directory/);
    await assert.rejects(iso.readFile(iso.root, 1), /is a directory, not a file/);
  });

  test('walks below a directory, and stops reading where the caller stops', async () => {
    const { iso, source } = await openBuilt(TREE);
    assert.equal((await collect(iso.walk(await entryAt(iso, 'Packages')))).length, 3);
    const { reads } = source;
    for await (const _ of iso.walk()) break;
    assert.equal(source.reads - reads, 1);
  });

  test('gives the same order every time, and directories of many sectors whole', async () => {
    const tree = Object.fromEntries(Array.from({ length: 3000 }, (_, n) => [`file-${n}`, `${n}`]));
    const { iso, source } = await openBuilt({ tree });
    const first = (await collect(iso.walk())).map(({ path }) => path);
    assert.equal(first.length, 3001);
    assert.deepEqual(
      (await collect(iso.walk())).map(({ path }) => path),
      first,
    );
    assert.ok(source.largest <= 64 * 1024);
  });

  test('goes 256 directories deep, and no deeper', async () => {
    const nested = (depth: number): IsoTree => (depth === 0 ? { file: 'x' } : { d: nested(depth - 1) });
    const { iso } = await openBuilt(nested(256));
    assert.equal((await walkAll(iso)).size, 257);
    assert.equal(await content(iso, `${'d/'.repeat(256)}file`), 'x');
    const deeper = await openBuilt(nested(257));
    await refuses(walkAll(deeper.iso), 'iso.limit', /lies 257 deep; the limit is 256/);
    await refuses(deeper.iso.stat(`${'d/'.repeat(257)}file`), 'iso.limit', /257 deep/);
  });
});

test('any tree of possible names reads as it was written', async () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
    .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..' && text.isWellFormed());
  const { tree } = fc.letrec<{ tree: IsoTree; node: IsoTree | string }>((tie) => ({
    tree: fc.dictionary(name, tie('node'), { maxKeys: 6, noNullPrototype: true }),
    node: fc.oneof({ maxDepth: 3 }, fc.string({ maxLength: 5000 }), tie('tree')),
  }));
  const flatten = (node: IsoTree, base = ''): [string, string | undefined][] =>
    Object.entries(node).flatMap(([key, value]) =>
      typeof value === 'string'
        ? [[base + key, value] as [string, string]]
        : [[base + key, undefined] as [string, undefined], ...flatten(value as IsoTree, `${base}${key}/`)],
    );
  await fc.assert(
    fc.asyncProperty(tree, fc.constantFrom(512, 1024, 2048), fc.boolean(), async (input, blockSize, joliet) => {
      const { iso } = await openBuilt(input, { blockSize, joliet, sectionLimit: 2048 });
      const found = new Map<string, string | undefined>();
      for await (const { path, type } of iso.walk())
        found.set(path, type === 'file' ? await content(iso, path) : undefined);
      assert.deepEqual([...found].sort(), flatten(input).sort());
    }),
    { seed: 11, numRuns: process.env.AIRLOCK_DEEP === '1' ? 2000 : 100 },
  );
});
