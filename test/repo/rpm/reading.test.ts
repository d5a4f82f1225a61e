import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changelogsOf } from '../../../src/repo/formats/rpm/changelogs.ts';
import { DEPENDENCY_KINDS, dependenciesOf } from '../../../src/repo/formats/rpm/dependencies.ts';
import { canonicalFileName, checkFileName } from '../../../src/repo/formats/rpm/file-name.ts';
import { filesOf } from '../../../src/repo/formats/rpm/files.ts';
import { TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { i18n, int32, int64, string, strings } from '../../media/rpm-builder.ts';
import { openBuilt } from './support.ts';

const latin1 = (text: string) => Buffer.from(text, 'latin1');

test('the facts of a package', async () => {
  const { facts, rpm, layout, file, source } = await openBuilt({
    ...{ name: '128T-gui', epoch: 2, version: '6.2.5', release: '5.r2.el7', arch: 'x86_64' },
    tags: [
      ...[string(TAG.url, 'https://vendor.example/'), string(TAG.vendor, 'Example'), string(TAG.packager, 'Release')],
      int32(TAG.size, 3_000_000_000),
    ],
  });
  assert.equal(rpm.format, 4);
  assert.deepEqual(facts, {
    ...{ name: '128T-gui', epoch: 2, version: '6.2.5', release: '5.r2.el7', arch: 'x86_64' },
    ...{ isSource: false, isNoSource: false },
    summary: 'A tiny package',
    description: 'It holds nothing.\nSee <above> & "below".',
    ...{ url: 'https://vendor.example/', license: 'Apache-2.0', vendor: 'Example', group: 'Unspecified' },
    ...{ packager: 'Release', buildHost: 'build.example', sourceRpm: '128T-gui-6.2.5-5.r2.el7.src.rpm' },
    ...{ buildTime: 1725898694, installedSize: 3_000_000_000, archiveSize: 124 },
    headerRange: { start: layout.header.start, end: layout.header.end },
    payload: {
      range: { start: layout.payload, end: file.length },
      ...{ format: 'cpio', compressor: 'gzip', flags: '9' },
    },
  });
  assert.equal(layout.header.start % 8, 0);
  assert.ok(source.bytes < layout.payload + 100, 'the payload is not read');
});

test('what a package does not say is null', async () => {
  const all = [TAG.summary, TAG.description, TAG.license, TAG.group, TAG.buildHost, TAG.buildTime, TAG.size];
  const { facts } = await openBuilt({
    without: [...all, TAG.payloadFormat, TAG.payloadCompressor, TAG.payloadFlags],
    withoutSignature: [1007],
  });
  const { summary, description, license, group, buildHost, buildTime, installedSize, archiveSize, url } = facts;
  for (const fact of [summary, description, license, group, buildHost, buildTime, installedSize, archiveSize, url]) {
    assert.equal(fact, null);
  }
  assert.equal(facts.epoch, 0);
  assert.deepEqual({ ...facts.payload, range: 0 }, { range: 0, format: null, compressor: 'gzip', flags: null });
});

test('sizes beyond 4 GiB', async () => {
  const { facts } = await openBuilt({
    tags: [int64(TAG.longSize, 2 ** 40)],
    without: [TAG.size],
    signatureTags: [int64(271, 2 ** 41)],
    withoutSignature: [1007],
  });
  assert.equal(facts.installedSize, 2 ** 40);
  assert.equal(facts.archiveSize, 2 ** 41);
});

test('formats 3, 4 and 6', async () => {
  const files = [
    ['/opt/tiny', 0o40755],
    ['/opt/tiny/a', 0o100644, 1],
    ['/var/log/tiny', 0o100600, 64],
  ] as const;
  for (const format of [3, 4, 6] as const) {
    const { rpm, facts } = await openBuilt({ format, files });
    assert.equal(rpm.format, format);
    assert.equal(rpm.header.hasRegion, format !== 3);
    assert.equal(facts.archiveSize, 124);
    assert.deepEqual(
      [...filesOf(rpm)],
      [
        { path: '/opt/tiny', mode: 0o40755, flags: 0, type: 'dir' },
        { path: '/opt/tiny/a', mode: 0o100644, flags: 1, type: 'file' },
        { path: '/var/log/tiny', mode: 0o100600, flags: 64, type: 'ghost' },
      ],
    );
    const provides = [...dependenciesOf(rpm, 'provides')];
    assert.deepEqual(
      provides.map(({ name, comparison, evr }) => [name, comparison, evr?.version, evr?.release]),
      [['tiny', 'EQ', '1.0', '1']],
    );
  }
});

test('a package of rpm 3 provides itself, said or not', async () => {
  const provided = async (tags: Parameters<typeof openBuilt>[0]) =>
    Array.from(dependenciesOf((await openBuilt({ format: 3, epoch: 1, ...tags })).rpm, 'provides'), (provide) =>
      [provide.name, provide.comparison, provide.evr?.epoch, provide.evr?.version, provide.evr?.release].join(' '),
    );
  assert.deepEqual(await provided({}), ['tiny EQ 1 1.0 1']);
  assert.deepEqual(await provided({ tags: [strings(TAG.provideName, 'api')] }), ['api    ', 'tiny EQ 1 1.0 1']);
  const said = [strings(TAG.provideName, 'tiny', 'b'), strings(TAG.provideVersion, '1:1.0-1', '')];
  assert.deepEqual(await provided({ tags: [...said, int32(TAG.provideFlags, 8, 0)] }), ['tiny EQ 1 1.0 1', 'b    ']);
  assert.deepEqual(await provided({ source: true }), []);
});

test('source packages', async () => {
  const { facts, rpm } = await openBuilt({ source: true, arch: 'x86_64', files: [['tiny.spec']] });
  assert.deepEqual([facts.arch, facts.isSource, facts.isNoSource, facts.sourceRpm], ['src', true, false, null]);
  assert.deepEqual(
    Array.from(filesOf(rpm), ({ path }) => path),
    ['tiny.spec'],
  );
  assert.equal(canonicalFileName(facts), 'tiny-1.0-1.src.rpm');
  const withheld = await openBuilt({ source: true, tags: [int32(TAG.noSource, 0)] });
  assert.equal(withheld.facts.isNoSource, true);
  assert.equal(canonicalFileName(withheld.facts), 'tiny-1.0-1.nosrc.rpm');
});

test('dependencies of every kind, with their comparisons', async () => {
  const tagsOf = {
    ...{ requires: [1049, 1048, 1050], conflicts: [1054, 1053, 1055], obsoletes: [1090, 1114, 1115] },
    ...{ recommends: [5046, 5048, 5047], suggests: [5049, 5051, 5050] },
    ...{ supplements: [5052, 5054, 5053], enhances: [5055, 5057, 5056] },
  } satisfies Record<string, [number, number, number]>;
  const names = ['rpmlib(PayloadIsXz)', '/bin/sh', 'a', 'b', 'c', 'd', 'e', 'f', '(g if h)', 'i'];
  const flags = [(1 << 24) | 10, 1 << 9, (1 << 10) | 12, (1 << 6) | 8, 2, 4, 0, 6, 1 << 27, 8];
  const versions = ['5.2-1', '', '1:2.0~rc1-3', '4', '5^git', '6-1-2', '', '7', '', ''];
  const tags = Object.values(tagsOf).flatMap(([name, flag, version]) => [
    strings(name, ...names),
    int32(flag, ...flags),
    strings(version, ...versions),
  ]);
  const { rpm } = await openBuilt({ tags });
  const read = Object.fromEntries(DEPENDENCY_KINDS.map((kind) => [kind, [...dependenciesOf(rpm, kind)]]));
  assert.deepEqual(read.provides?.length, 1);
  for (const kind of DEPENDENCY_KINDS.slice(1)) assert.deepEqual(read[kind], read.requires);
  assert.deepEqual(
    read.requires?.map(({ name, comparison, evr, pre, isRpmlib }) => {
      const version = evr === null ? '' : `${evr.epoch ?? ''}:${evr.version}-${evr.release ?? ''}`;
      return `${name} ${comparison ?? ''} ${version}${pre ? ' pre' : ''}${isRpmlib ? ' rpmlib' : ''}`;
    }),
    [
      'rpmlib(PayloadIsXz) LE :5.2-1 rpmlib',
      '/bin/sh   pre',
      'a GE 1:2.0~rc1-3 pre',
      'b EQ :4- pre',
      'c LT :5^git-',
      'd GT :6-1-2',
      'e  ',
      'f  :7-',
      '(g if h)  ',
      'i  ',
    ],
  );
});

test('a changelog', async () => {
  const { rpm } = await openBuilt({
    tags: [
      int32(TAG.changelogTime, 1725883200, 1),
      strings(TAG.changelogName, 'Release <r@vendor.example> - 1.0-1', latin1('Jérôme')),
      strings(TAG.changelogText, '- Built\n- Signed', ''),
    ],
  });
  assert.deepEqual(
    [...changelogsOf(rpm)],
    [
      { time: 1725883200, author: 'Release <r@vendor.example> - 1.0-1', text: '- Built\n- Signed' },
      { time: 1, author: 'Jérôme', text: '' },
    ],
  );
  assert.deepEqual([...changelogsOf((await openBuilt()).rpm)], []);
});

test('text that is not UTF-8 is read as createrepo_c reads it, and its bytes are there', async () => {
  const { rpm, facts } = await openBuilt({
    tags: [
      i18n(TAG.summary, latin1('für alle'), 'für alle'),
      string(TAG.vendor, 'für alle'),
      ...[strings(TAG.requireName, latin1('ü'), 'ü'), int32(TAG.requireFlags, 8, 8)],
      strings(TAG.requireVersion, latin1('1.ü-2'), '1.ü-2'),
    ],
    files: [['/ü/a'], ['/ü/ä']],
  });
  assert.equal(facts.summary, 'für alle');
  assert.equal(facts.vendor, 'für alle');
  assert.deepEqual(rpm.header.textBytes(TAG.summary), latin1('für alle'));
  assert.deepEqual(
    Array.from(dependenciesOf(rpm, 'requires'), ({ name, evr }) => [name, evr?.version, evr?.release]),
    [
      ['ü', '1.ü', '2'],
      ['ü', '1.ü', '2'],
    ],
  );
  // What looks like another encoding loses those letters; that is how it stands in metadata everywhere.
  const czech = await openBuilt({ tags: [i18n(TAG.summary, latin1('\u00b9\u00e8\u00be\u0080x'))] });
  assert.equal(czech.facts.summary, 'èx');
  assert.deepEqual(czech.rpm.header.textBytes(TAG.summary), latin1('\u00b9\u00e8\u00be\u0080x'));
  // A path is one text, though it is recorded in two: half of it in another encoding makes all of it ISO-8859-1.
  const mixed = await openBuilt({
    files: [['/ü/a'], ['/ü/b']],
    tags: [strings(TAG.baseNames, latin1('ä'), 'ä')],
  });
  assert.deepEqual(
    Array.from(filesOf(mixed.rpm), ({ path }) => path),
    ['/Ã/ä', '/ü/ä'],
  );
});

test('a translated text is read untranslated', async () => {
  const { facts } = await openBuilt({
    tags: [strings(100, 'C', 'de'), i18n(TAG.summary, 'A package', 'Ein Paket'), i18n(TAG.group, 'Tools')],
  });
  assert.deepEqual([facts.summary, facts.group], ['A package', 'Tools']);
});

test("a file's name is only a hint", async () => {
  const { facts } = await openBuilt({ name: 'salt-minion', epoch: 3 });
  assert.equal(checkFileName('salt-minion-1.0-1.noarch.rpm', facts), undefined);
  for (const other of ['salt-minion-1.0-2.noarch.rpm', 'salt.rpm', 'salt-minion-1.0-1.x86_64.rpm', '../a\n.rpm', '']) {
    const warning = checkFileName(other, facts);
    assert.ok(warning?.includes('holds the package salt-minion-1.0-1.noarch;'), other);
    assert.ok(!warning?.includes('\n'));
  }
});

test('a package without files, dependencies and changelog has none', async () => {
  const { rpm } = await openBuilt({ without: [TAG.provideName, TAG.provideFlags, TAG.provideVersion] });
  assert.deepEqual([...filesOf(rpm)], []);
  for (const kind of DEPENDENCY_KINDS) assert.deepEqual([...dependenciesOf(rpm, kind)], []);
});

test('an open package can be read again and from several sides at once', async () => {
  const { rpm } = await openBuilt({ files: [['/a'], ['/b']] });
  const [first, second] = [filesOf(rpm), filesOf(rpm)];
  assert.equal(first.next().value?.path, '/a');
  assert.equal(second.next().value?.path, '/a');
  assert.equal(first.next().value?.path, '/b');
  assert.equal(first.next().done, true);
  assert.equal(second.next().value?.path, '/b');
});
