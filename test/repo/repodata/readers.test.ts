/** Metadata files are made of pieces, with an index that nobody else knows: everybody has to read them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { COMPRESSION, type Compression, compressionFor } from '../../../src/repo/formats/repodata/compression.ts';
import { METADATA_KINDS } from '../../../src/repo/formats/repodata/metadata-kinds.ts';
import { TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { buildRpm, int32, strings } from '../../media/rpm-builder.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { CREATEREPO_PYTHON, createrepo, createrepoReads } from './createrepo.ts';
import { type Described, describePackage, listOf, writePackages, writeRepodata, written } from './support.ts';

const COUNT = 400;

/** Enough for several groups. */
async function packages(): Promise<Described[]> {
  return Promise.all(Array.from({ length: COUNT }, (_, index) => describePackage(builtPackage(index))));
}

function builtPackage(index: number): Buffer {
  const tags = [
    ...[
      int32(TAG.changelogTime, 1700000000 + index),
      strings(TAG.changelogName, 'a'),
      strings(TAG.changelogText, `- ${index}`),
    ],
  ];
  const files = [[`/usr/bin/tool-${index}`], [`/opt/${index}/data`]] as const;
  return buildRpm({ name: `tool-${index}`, version: String(index), files, tags }).file;
}

/** Runs a program over every metadata file. @returns nothing; asserts that it gives the XML */
async function reads(t: TestContext, compression: Compression, command: string, ...args: string[]): Promise<void> {
  const dir = await tempDir(t);
  const list = listOf(await packages());
  for (const kind of METADATA_KINDS) {
    const result = await written(kind, list, compression);
    const file = path.join(dir, `${kind}.xml.${COMPRESSION[compression].extension}`);
    writeFileSync(file, result.bytes);
    const xml = execFileSync(command, [...args, file], { maxBuffer: 64 * 1024 * 1024 });
    assert.equal(xml.length, result.openSize, kind);
    assert.match(xml.toString(), /^<\?xml [\s\S]*<\/\w+>\n(<!-- airlock .* -->\n)?$/);
  }
}

const PYTHON = '/usr/bin/python3=python3';
const GZIP_MODULE = 'import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())';
/** One decompressor, as those have it who know of one member only. */
const ZLIB_MODULE = `
import sys, zlib
member = zlib.decompressobj(31)
sys.stdout.buffer.write(member.decompress(open(sys.argv[1], 'rb').read()) + member.flush())
assert member.eof and member.unused_data == b''
`;
/** As the parser of yum's metadata reads, where it opens the compressed file itself. */
const LIBXML2 = `
import ctypes, sys
xml = ctypes.CDLL('libxml2.so.2')
xml.xmlReadFile.restype = ctypes.c_void_p
xml.xmlReadFile.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
xml.xmlDocGetRootElement.restype = ctypes.c_void_p
xml.xmlDocGetRootElement.argtypes = [ctypes.c_void_p]
xml.xmlChildElementCount.restype = ctypes.c_ulong
xml.xmlChildElementCount.argtypes = [ctypes.c_void_p]
print(xml.xmlChildElementCount(xml.xmlDocGetRootElement(xml.xmlReadFile(sys.argv[1].encode(), None, 0))))
`;

describe('gzip', () => {
  test('zcat', needs('zcat=gzip'), (t) => reads(t, 'gzip', 'zcat'));
  test('gzip module of Python', needs(PYTHON), (t) => reads(t, 'gzip', '/usr/bin/python3', '-c', GZIP_MODULE));
  test('zlib module of Python', needs(PYTHON), (t) => reads(t, 'gzip', '/usr/bin/python3', '-c', ZLIB_MODULE));

  test('libxml2', needs(CREATEREPO_PYTHON), async (t) => {
    const dir = await tempDir(t);
    const list = listOf(await packages());
    for (const kind of METADATA_KINDS) {
      const file = path.join(dir, `${kind}.xml.gz`);
      writeFileSync(file, (await written(kind, list, 'gzip')).bytes);
      const count = execFileSync('/usr/bin/python3', ['-c', LIBXML2, file], { encoding: 'utf8' });
      assert.equal(count.trim(), String(COUNT));
    }
  });

  test('createrepo_c', needs(CREATEREPO_PYTHON), async (t) => {
    const dir = await tempDir(t);
    await writeRepodata(dir, await packages(), 'gzip');
    const [found] = createrepoReads(dir);
    assert.equal(Object.keys(found?.packages ?? {}).length, COUNT);
    assert.deepEqual(found?.warnings, []);
  });

  test('createrepo_c --update takes our metadata for its own', needs('createrepo_c', CREATEREPO_PYTHON), async (t) => {
    const [dir, source] = [await tempDir(t), await tempDir(t)];
    const files = Array.from({ length: 20 }, (_, index) => path.join(source, `${index}.rpm`));
    for (const [index, file] of files.entries()) writeFileSync(file, builtPackage(index));
    await writeRepodata(dir, await writePackages(dir, files), 'gzip');
    const [before] = createrepoReads(dir);
    createrepo(dir, '--update', '--skip-stat');
    const [after] = createrepoReads(dir);
    assert.deepEqual(after?.packages, before?.packages);
  });

  test('sqliterepo_c', needs('sqliterepo_c=createrepo-c', 'sqlite3'), async (t) => {
    const dir = await tempDir(t);
    await writeRepodata(dir, await packages(), 'gzip');
    execFileSync('sqliterepo_c', ['--quiet', '--keep-old', '--compress-type', 'gz', dir], { stdio: 'ignore' });
    const databases = execFileSync('sh', [
      '-c',
      `gunzip "${dir}"/repodata/*primary.sqlite.gz && ls "${dir}"/repodata/*primary.sqlite`,
    ]);
    const count = execFileSync('sqlite3', [databases.toString().trim(), 'select count(*) from packages']);
    assert.equal(count.toString().trim(), String(COUNT));
  });
});

describe('zstd', () => {
  test('zstd', needs('zstd'), (t) => reads(t, 'zstd', 'zstd', '-dc'));
});

for (const compression of ['gzip', 'zstd'] as const) {
  test(`dnf reads packages, files and changelogs as ${compression}`, needs('dnf'), async (t) => {
    const [dir, root] = [await tempDir(t), await tempDir(t)];
    await writeRepodata(dir, await packages(), compression);
    const query = (...args: string[]) => {
      const common = [
        '-q',
        `--installroot=${root}`,
        `--setopt=cachedir=${root}/cache`,
        '--setopt=reposdir=/nonexistent',
      ];
      const from = [`--repofrompath=airlock,file://${dir}`, '--repo=airlock', '--releasever=9'];
      return execFileSync('dnf', [...common, ...from, 'repoquery', ...args], { encoding: 'utf8', stdio: 'pipe' });
    };
    assert.equal(query('--qf', '%{name}').trim().split('\n').length, COUNT);
    assert.match(query('--whatprovides', '/usr/bin/tool-7'), /^tool-7-0:7-1\.noarch\n$/);
    assert.match(query('--file', '/opt/333/data'), /^tool-333-0:333-1\.noarch\n$/);
    assert.match(query('-l', 'tool-12'), /^\/opt\/12\/data\n\/usr\/bin\/tool-12\n$/);
    assert.match(query('--changelogs', 'tool-399'), /- 399/);
    assert.match(query('--location', 'tool-1'), /\/Packages\/t\/tool-1-1-1\.noarch\.rpm\n$/);
  });
}

test('what clients can read', () => {
  const expected = {
    el6: 'gzip',
    el7: 'gzip',
    el8: 'gzip',
    el9: 'gzip',
    el10: 'zstd',
    el11: 'zstd',
    fc40: 'gzip',
    '': 'gzip',
  };
  for (const [distribution, compression] of Object.entries(expected)) {
    assert.equal(compressionFor(distribution), compression, distribution);
  }
});
