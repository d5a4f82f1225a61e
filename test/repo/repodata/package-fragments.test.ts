/** Whatever a package holds, its metadata is well-formed XML 1.0 in UTF-8, as expat sees it. */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../../src/limits.ts';
import { METADATA_KINDS, metadataFrame } from '../../../src/repo/formats/repodata/metadata-kinds.ts';
import { packageFragments } from '../../../src/repo/formats/repodata/package-fragments.ts';
import { packageSortKey } from '../../../src/repo/formats/repodata/package-order.ts';
import { packagePath } from '../../../src/repo/formats/repodata/package-path.ts';
import { xmlAttribute, xmlText } from '../../../src/repo/formats/repodata/xml-text.ts';
import { compareEvr } from '../../../src/repo/formats/rpm/evr.ts';
import type { RpmFacts } from '../../../src/repo/formats/rpm/facts.ts';
import { TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { buildRpm, i18n, int32, string, strings } from '../../media/rpm-builder.ts';
import { needs } from '../../support/needs.ts';
import { openBuilt, refusesAtOnce } from '../rpm/support.ts';
import { describePackage } from './support.ts';

const PYTHON = '/usr/bin/python3=python3';

const PARSE = `
import json, sys
import xml.etree.ElementTree as tree
def values(text):
    root = tree.fromstring(text.encode('utf-8'))
    return [[e.tag, e.text, e.attrib] for e in root.iter()]
print(json.dumps([values(text) for text in json.load(sys.stdin)]))
`;

type Element = readonly [tag: string, text: string | null, attributes: Readonly<Record<string, string>>];

/** The elements of each document, in its order. @throws if one is not well-formed */
function parsed(documents: readonly string[]): Element[][] {
  const printed = execFileSync('/usr/bin/python3', ['-c', PARSE], {
    input: JSON.stringify(documents),
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  });
  return JSON.parse(printed) as Element[][];
}

const FORBIDDEN = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

describe('text in XML', () => {
  test('property: comes back as it was, without what XML cannot hold', needs(PYTHON), () => {
    const character = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
      fc.constantFrom(
        '<',
        '>',
        '&',
        '"',
        "'",
        '\r',
        '\n',
        '\t',
        '\0',
        '\u001f',
        '\ufffe',
        '\uffff',
        '\ud800',
        '\u0085',
        ']]>',
      ),
    );
    const texts = fc.sample(
      fc.array(character).map((parts) => parts.join('')),
      2000,
    );
    const found = parsed(texts.map((text) => `<a b="${xmlAttribute(text)}">${xmlText(text)}</a>`));
    for (const [index, text] of texts.entries()) {
      const expected = text.replace(FORBIDDEN, '');
      assert.deepEqual(found[index], [['a', expected === '' ? null : expected, { b: expected }]]);
    }
  });
});

describe('a package in XML', () => {
  test('property: is well-formed, whatever its texts', needs(PYTHON), async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 12 }).map((array) => Buffer.from(array).filter((byte) => byte !== 0)),
      fc.string({ unit: 'binary' }).map((text) => Buffer.from(text.replaceAll('\0', ''))),
      fc.constantFrom('<![CDATA[', ']]>', '<!-- -->', '&#0;', '&x;', '"/>', '<?xml?>').map((text) => Buffer.from(text)),
    );
    const documents: string[] = [];
    for (const texts of fc.sample(fc.array(bytes, { minLength: 8, maxLength: 8 }), 300)) {
      const [a = '', b = '', c = '', d = '', e = '', f = '', g = '', h = ''] = texts;
      const tags = [
        ...[
          i18n(TAG.summary, a),
          i18n(TAG.description, b),
          string(TAG.url, c),
          string(TAG.license, d),
          string(TAG.vendor, e),
        ],
        ...[strings(TAG.provideName, f), int32(TAG.provideFlags, 8), strings(TAG.provideVersion, g)],
        ...[strings(TAG.requireName, f, h), int32(TAG.requireFlags, 8, 8), strings(TAG.requireVersion, g, h)],
        ...[int32(TAG.changelogTime, 7), strings(TAG.changelogName, g), strings(TAG.changelogText, h)],
        ...[
          strings(TAG.baseNames, a, b),
          strings(TAG.dirNames, '/etc/', Buffer.concat([Buffer.from('/'), Buffer.from(c)])),
        ],
      ];
      const { fragments } = await describePackage(buildRpm({ files: [['/etc/x'], ['/y/x']], tags }).file);
      for (const kind of METADATA_KINDS) {
        assert.ok(isUtf8(fragments[kind]));
        const { head, foot } = metadataFrame(kind, 1);
        documents.push(Buffer.concat([head, fragments[kind], foot]).toString());
      }
    }
    for (const elements of parsed(documents)) {
      assert.equal(elements.filter(([tag]) => tag.endsWith('}package')).length, 1);
    }
  });

  test('depends on the bytes of the file alone', async () => {
    const { file } = buildRpm({ name: 'same', files: [['/etc/a']] });
    const [one, two] = [await describePackage(file), await describePackage(Buffer.from(file))];
    assert.deepEqual(one, two);
    assert.match(one.fragments.primary.toString(), /<time file="1725898694" build="1725898694"\/>/);
    assert.match(one.fragments.primary.toString(), /<location href="Packages\/s\/same-1\.0-1\.noarch\.rpm"\/>/);
  });

  test('control characters are left out', async () => {
    const { file } = buildRpm({ tags: [i18n(TAG.summary, 'a\u0001b\u001bc\u000cd')] });
    assert.match((await describePackage(file)).fragments.primary.toString(), /<summary>abcd<\/summary>/);
  });

  test('a header that would become too much metadata is refused', async () => {
    const directory = `/${'&'.repeat(4000)}/`;
    const count = Math.ceil(limits.repodata.fragment / (5 * directory.length)) + 10;
    const names = Array.from({ length: count }, (_, index) => String(index));
    const { rpm } = await openBuilt({
      tags: [
        ...[
          strings(TAG.dirNames, directory),
          strings(TAG.baseNames, ...names),
          int32(TAG.dirIndexes, ...names.map(() => 0)),
        ],
      ],
    });
    refusesAtOnce(() => packageFragments(rpm, { digest: 'sha256:00', size: 1 }), 'rpm.limit', /metadata of more than/);
  });
});

const facts = (some: Partial<RpmFacts>) =>
  ({ name: 'a', epoch: 0, version: '1', release: '1', arch: 'noarch', isNoSource: false, ...some }) as RpmFacts;

describe('the path of a package', () => {
  const cases: [Partial<RpmFacts>, string][] = [
    [{}, 'Packages/a/a-1-1.noarch.rpm'],
    [{ name: 'Xorg', arch: 'x86_64' }, 'Packages/x/Xorg-1-1.x86_64.rpm'],
    [{ name: '128T', version: '6.2.6', release: '15.sts.el7' }, 'Packages/1/128T-6.2.6-15.sts.el7.noarch.rpm'],
    [{ name: '_x' }, 'Packages/_/_x-1-1.noarch.rpm'],
    [{ epoch: 2 }, 'Packages/a/epoch-2/a-1-1.noarch.rpm'],
    [{ arch: 'src' }, 'Packages/a/a-1-1.src.rpm'],
    [{ arch: 'src', isNoSource: true }, 'Packages/a/a-1-1.nosrc.rpm'],
    [{ version: '1.0~rc1^git5', name: 'a++' }, 'Packages/a/a++-1.0~rc1^git5-1.noarch.rpm'],
    [{ name: 'a%2fb', version: '1:2?#&"\\' }, 'Packages/a/a=252fb-1=3a2=3f=23=26=22=5c-1.noarch.rpm'],
    [{ name: '%{x}=3d' }, 'Packages/_/=25=7bx=7d=3d3d-1-1.noarch.rpm'],
  ];
  for (const [some, path] of cases) test(path, () => assert.equal(packagePath(facts(some)), path));

  test('property: is safe everywhere, and different for different packages', () => {
    const name = fc
      .string({ unit: fc.constantFrom(...'aA0_%{=.:-~^+\\"<&#?'), minLength: 1 })
      .map((text) => `a${text}`);
    const version = fc.string({ unit: fc.constantFrom(...'aA0_%=.:~^+\\"'), minLength: 1 });
    const some = fc.record({
      name,
      version,
      release: version,
      epoch: fc.nat(2),
      arch: fc.constantFrom('noarch', 'src'),
    });
    fc.assert(
      fc.property(some, some, (a, b) => {
        assert.match(packagePath(facts(a)), /^Packages\/[a-z0-9_]\/(epoch-\d+\/)?[A-Za-z0-9._+~^=-]+\.rpm$/);
        const differ = JSON.stringify(a) !== JSON.stringify(b);
        if (differ) assert.notEqual(packagePath(facts(a)), packagePath(facts(b)));
      }),
      { numRuns: 1000 },
    );
  });
});

test('property: packages are ordered by name, version, architecture, digest', () => {
  const version = fc.string({ unit: fc.constantFrom(...'10.a~^'), minLength: 1 });
  const one = fc.record({
    ...{
      name: fc.constantFrom('a', 'a-b', 'a.b', 'ab', 'B'),
      epoch: fc.constantFrom(0, 2, 10),
      version,
      release: version,
    },
    ...{ arch: fc.constantFrom('i686', 'noarch'), digest: fc.constantFrom('sha256:a' as const, 'sha256:b' as const) },
  });
  const order = (a: string | number, b: string | number) => (a === b ? 0 : a < b ? -1 : 1);
  const evr = ({ epoch, version, release }: { epoch: number; version: string; release: string }) => ({
    ...{ epoch: String(epoch), version, release },
  });
  fc.assert(
    fc.property(one, one, (a, b) => {
      const expected =
        order(a.name, b.name) || compareEvr(evr(a), evr(b)) || order(a.arch, b.arch) || order(a.digest, b.digest);
      assert.equal(order(packageSortKey(a, a.digest), packageSortKey(b, b.digest)), expected);
    }),
    { numRuns: 2000 },
  );
});
