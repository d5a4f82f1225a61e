/** Field by field what createrepo_c writes of the same packages, as its own library reads it. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { FILE, SENSE, TAG } from '../../../src/repo/formats/rpm/tags.ts';
import {
  buildRpm,
  i18n,
  int32,
  int64,
  type RpmOptions,
  type RpmTag,
  string,
  strings,
} from '../../media/rpm-builder.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { buildWithRpm } from '../rpm/rpmbuild.ts';
import { CREATEREPO_PYTHON, createrepo, createrepoReads, type PackageFields } from './createrepo.ts';
import { writePackages, writeRepodata } from './support.ts';

const SHARED = path.join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'data', 'rpm');
const shared = existsSync(SHARED) ? {} : { skip: 'the packages of createrepo_c are not here' };
const oracle = needs('createrepo_c', CREATEREPO_PYTHON);

/** Makes a repository of `files` with createrepo_c, another one with ours, and compares all that is in them. */
async function compare(t: TestContext, files: readonly string[]): Promise<void> {
  const [theirs, ours] = [await tempDir(t), await tempDir(t)];
  // createrepo_c leaves out what comes twice.
  const packages = await writePackages(theirs, files);
  for (const { path: file, facts } of packages) {
    // Ours have no other time than that of the build.
    utimesSync(path.join(theirs, file), facts.buildTime ?? 0, facts.buildTime ?? 0);
  }
  createrepo(theirs);
  await writeRepodata(ours, packages, 'gzip');
  const [expected, found] = createrepoReads(theirs, ours);
  assert.ok(expected && found);
  assert.deepEqual(found.warnings, []);
  assert.equal(Object.keys(expected.packages).length, packages.length);
  for (const [id, fields] of Object.entries(expected.packages)) {
    const what = packages.find(({ digest }) => digest.endsWith(id))?.path;
    const same: PackageFields[] | undefined = found.packages[id]?.map((each, index) => ({
      ...each,
      ...unknownToRpm4(fields[index]),
    }));
    assert.deepEqual(same, fields, what);
  }
  assert.deepEqual(Object.keys(found.packages).sort(), Object.keys(expected.packages).sort());
}

/** rpm 4 does not know where rpm 6 puts the size of the payload. */
function unknownToRpm4(fields: PackageFields | undefined): PackageFields {
  return fields?.name === 'six' ? { size_archive: fields.size_archive } : {};
}

function builtFiles(dir: string, options: Readonly<Record<string, RpmOptions>>): string[] {
  mkdirSync(dir, { recursive: true });
  return Object.entries(options).map(([name, each]) => {
    const file = path.join(dir, `${name}.rpm`);
    writeFileSync(file, buildRpm({ name, ...each }).file);
    return file;
  });
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const MISSING_OK = 1 << 19;

type Requirement = readonly [name: string, flags?: number, version?: string];
function requires(...list: Requirement[]): RpmTag[] {
  return [
    strings(TAG.requireName, ...list.map(([name]) => name)),
    int32(TAG.requireFlags, ...list.map(([, flags = 0]) => flags)),
    strings(TAG.requireVersion, ...list.map(([, , version = '']) => version)),
  ];
}

function changelog(...list: readonly (readonly [time: number, author: string | Buffer, text: string | Buffer])[]) {
  return [
    int32(TAG.changelogTime, ...list.map(([time]) => time)),
    strings(TAG.changelogName, ...list.map(([, author]) => author)),
    strings(TAG.changelogText, ...list.map(([, , text]) => text)),
  ];
}

const BUILT: Readonly<Record<string, RpmOptions>> = {
  plain: {},
  epoch: { epoch: 7 },
  'epoch-zero': { epoch: 0 },
  'epoch-huge': { epoch: 0xffffffff },
  'no-tags': {
    without: [TAG.summary, TAG.description, TAG.license, TAG.group, TAG.buildHost, TAG.buildTime, TAG.size],
  },
  'empty-texts': { tags: [i18n(TAG.summary, ''), i18n(TAG.description, ''), string(TAG.url, '')] },
  'all-texts': {
    tags: [
      ...[string(TAG.vendor, 'V & <W>'), string(TAG.packager, '"P"'), string(TAG.url, 'https://a.example/?b=c&d')],
      i18n(TAG.description, '  spaces \n\n\ttab\nlast\n'),
      i18n(TAG.summary, "]]> &amp; <!-- 'x' -->"),
    ],
  },
  'carriage-return': { tags: [i18n(TAG.description, 'one\r\ntwo\rthree')] },
  'utf-8': { tags: [i18n(TAG.summary, 'ěščřž 漢字 🚀\u0085\u00a0\u007f')] },
  'latin-1': {
    tags: [
      ...[
        i18n(TAG.summary, latin1('für')),
        string(TAG.vendor, latin1('\u0080Žlutý\u00a9')),
        i18n(TAG.group, latin1('ä')),
      ],
      ...changelog([7, latin1('Jérôme'), latin1('naïve')]),
      ...[
        strings(TAG.provideName, latin1('ü')),
        int32(TAG.provideFlags, 8),
        strings(TAG.provideVersion, latin1('1.ü-2')),
      ],
      strings(TAG.baseNames, latin1('ä'), 'ä'),
    ],
    files: [['/etc/a'], ['/etc/b']],
  },
  'half-utf-8': { tags: [i18n(TAG.summary, Buffer.from([0x61, 0xc3, 0xa4, 0xc3]))] },
  files: {
    files: [
      ...([['/usr/bin', 0o40755], ['/usr/bin/x', 0o100755], ['/usr/lib/sendmail'], ['/usr/lib/sendmail2']] as const),
      ...([
        ['/etc', 0o40755],
        ['/etc/g', 0o100644, FILE.ghost],
        ['/etc/d', 0o40755, FILE.ghost],
        ['/opt/etc/x'],
      ] as const),
      ...([['/opt/cabin/x'], ['/opt/link', 0o120777], ['/dev/null', 0o20666], ['/a&b/<c>', 0o100644, 1]] as const),
    ],
  },
  'three-files': { format: 3, files: [['/opt/a', 0o40755], ['/opt/a/bin/b'], ['/var/c', 0o100600, FILE.ghost]] },
  source: { source: true, files: [['a.spec'], ['b.tar']] },
  nosource: { source: true, tags: [int32(TAG.noSource, 1)] },
  'own-files': {
    files: [['/usr/bin/x'], ['/opt/y']],
    tags: requires(['/usr/bin/x'], ['/opt/y'], ['/usr/bin/z'], ['usr/bin/x']),
  },
  provided: {
    tags: [
      strings(TAG.provideName, 'a', 'b', 'c', 'provided'),
      int32(TAG.provideFlags, 0, 8, 8, 8),
      strings(TAG.provideVersion, '', '1', '0:1', '1.0-1'),
      ...requires(
        ['a'],
        ['b'],
        ['b', 8, '1'],
        ['b', 12, '1'],
        ['c', 8, '1'],
        ['c', 8, '0:1'],
        ['provided', 8, '1.0-1'],
      ),
    ],
  },
  rpmlib: {
    tags: requires(
      ...([['rpmlib(PayloadIsXz)', 0x1000000 | 10, '5.2-1'], ['rpmlib'], ['config(x)', 0x10000000 | 8, '1']] as const),
    ),
  },
  pre: {
    tags: requires(
      ...([
        ['a', SENSE.prereq],
        ['b', SENSE.scriptPre],
        ['c', SENSE.scriptPost],
        ['d', 1 << 11],
        ['e', 1 << 12],
      ] as const),
      ...([['f'], ['f', SENSE.scriptPre], ['f', SENSE.scriptPre], ['f'], ['f', 1 << 11]] as const),
    ),
  },
  repeated: { tags: requires(['a', 8, '1'], ['a', 8, '1'], ['a', 8, '2'], ['a', 8, '1'], ['a', 12, '1'], ['a']) },
  libc: {
    tags: requires(
      ...([['libc.so.6()(64bit)'], ['libc.so.6(GLIBC_2.9)(64bit)'], ['libc.so.6(GLIBC_2.14)(64bit)'], ['z']] as const),
      ...([['libc.so.6(GLIBC_2.4)(64bit)'], ['libc.so.6'], ['libc.so.6(GLIBC_2.14)'], ['libc.so.7(X_1)']] as const),
    ),
  },
  'libc-odd': { tags: requires(['libc.so.6(ABC)'], ['libc.so.6(unclosed'], ['libc.so.60'], ['libc.so.6()'], ['a']) },
  'libc-plain': { tags: requires(['libc.so.6'], ['a'], ['libc.so.6(GLIBC_PRIVATE)(64bit)']) },
  comparisons: {
    tags: requires(
      ...([
        ['a', 2, '1'],
        ['b', 10, '1:2'],
        ['c', 8, '1-2'],
        ['d', 12, ':1'],
        ['e', 4, '1-'],
        ['f', 6, '1'],
      ] as const),
      ...([['g', 14, '1'], ['h', 0, '1'], ['i', 8, '0:1.0~rc1^git-3.el9'], ['(j if k else l)'], ['/m/n']] as const),
    ),
  },
  weak: {
    tags: [
      ...[strings(TAG.recommendName, 'a'), int32(TAG.recommendFlags, 12), strings(TAG.recommendVersion, '1')],
      ...[strings(TAG.suggestName, 'b'), int32(TAG.suggestFlags, 0), strings(TAG.suggestVersion, '')],
      ...[strings(TAG.supplementName, 'c'), int32(TAG.supplementFlags, 2), strings(TAG.supplementVersion, '2:3-4')],
      ...[strings(TAG.enhanceName, 'd'), int32(TAG.enhanceFlags, SENSE.prereq), strings(TAG.enhanceVersion, '')],
      ...[strings(TAG.conflictName, 'e'), int32(TAG.conflictFlags, 8), strings(TAG.conflictVersion, '1')],
      ...[strings(TAG.obsoleteName, 'f'), int32(TAG.obsoleteFlags, 8), strings(TAG.obsoleteVersion, '1')],
      ...requires(['w', MISSING_OK], ['x'], ['y', MISSING_OK | 8, '1']),
    ],
  },
  'changelog-long': {
    tags: changelog(
      ...Array.from({ length: 13 }, (_, index) => [1000 - index, `a ${index}  `, `- ${index}\n`] as const),
    ),
  },
  'changelog-collisions': {
    tags: changelog(...[9, 9, 9, 8, 10, 10, 8, 7, 9, 9].map((time, index) => [time, ` ${index} `, 'x'] as const)),
  },
  'changelog-spaces': { tags: changelog([1, '', ''], [0, ' ', ' '], [0, 'a ', 'b ']) },
  large: { tags: [int64(TAG.longSize, 5_000_000_000)], without: [TAG.size] },
  versions: { version: '1.0~rc1^20240101git', release: '0.1+x.el9' },
  six: { format: 6, files: [['/opt/a', 0o40755], ['/opt/a/b']] },
};

describe('createrepo_c writes the same', () => {
  test('of packages by rpmbuild', { ...needs('rpmbuild', 'createrepo_c', CREATEREPO_PYTHON) }, async (t) => {
    await compare(t, await buildWithRpm(await tempDir(t)));
  });
  test('of those that it tests itself with', { ...shared, ...oracle }, async (t) => {
    const files = readdirSync(SHARED).filter((name) => name !== 'empty-signed-rsa-0-0.x86_64.rpm');
    await compare(
      t,
      files.map((name) => path.join(SHARED, name)),
    );
  });
  for (const [name, options] of Object.entries(BUILT)) {
    test(`of our own: ${name}`, oracle, async (t) => {
      await compare(t, builtFiles(await tempDir(t), { [name]: options }));
    });
  }
});
