/** What a site may send in place of a repository. Nothing of it gets in, and what is published stays. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readVendorKeys } from '../../../src/repo/formats/openpgp/key-files.ts';
import { int32, type RpmOptions, strings } from '../../media/rpm-builder.ts';
import { armoredSignature, makeKey, publicBytes, sign } from '../../repo/openpgp/library-keys.ts';
import { makeOldKey, version4 } from '../../repo/openpgp/old-openpgp.ts';
import { buildSigned } from '../../repo/rpm/signed.ts';
import { needs } from '../../support/needs.ts';
import { Repository, rpmOf, type Scene, scene } from './rpm-scene.ts';

const TOOLS = needs('createrepo_c');

test('a signature over repomd.xml at a time that is none', TOOLS, async (t) => {
  const key = makeOldKey('rsa');
  const made = await scene(t, await readVendorKeys(key.certificate, new Date()));
  const repository = new Repository(path.join(made.dir, 'site'), '--no-database');
  repository.add({ name: 'alpha', version: '1.0' });
  repository.describe();
  const signature = version4(key, repository.read('repodata/repomd.xml'), 0, Buffer.alloc(9, 0xff));
  repository.write('repodata/repomd.xml.asc', armoredSignature(signature));
  repository.publish(made.origin);
  const { failures } = await made.sync();
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['signature.bad'],
  );
});

/** A scene in which a good state is published, and the repository of which it is one. */
async function published(t: Parameters<typeof scene>[0]): Promise<Scene & { repository: Repository }> {
  const made = await scene(t);
  const repository = new Repository(path.join(made.dir, 'site'), '--no-database');
  repository.add({ name: 'alpha', version: '1.0' });
  repository.describe();
  repository.publish(made.origin);
  assert.deepEqual((await made.sync()).failures, []);
  repository.add({ name: 'alpha', version: '2.0' });
  repository.describe();
  return { ...made, repository };
}

/** The next sync fails with this code, saying so, and changes nothing. */
async function refuses({ sync, revision, published: all }: Scene, code: string, says: RegExp): Promise<void> {
  const before = await all();
  const { failures } = await sync();
  assert.deepEqual(
    failures.map((failure) => failure.code),
    [code],
    JSON.stringify(failures),
  );
  assert.match(failures[0]?.message ?? '', says);
  assert.equal(await revision(), 1);
  assert.deepEqual(await all(), before);
}

const PRIMARY: readonly [name: string, code: string, says: RegExp, change: (xml: string) => string][] = [
  [
    'entities that grow',
    'repodata.invalid',
    /document type/,
    (xml) => xml.replace('<metadata', '<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><metadata'),
  ],
  [
    'a path out of it',
    'repodata.invalid',
    /leads out of it/,
    (xml) => xml.replaceAll('href="Packages/', 'href="../../'),
  ],
  [
    'an encoded path out of it',
    'repodata.invalid',
    /leads out of it/,
    (xml) => xml.replaceAll('href="Packages/', 'href="%2e%2e/%2e%2e/'),
  ],
  ['an absolute path', 'repodata.invalid', /no plain path/, (xml) => xml.replaceAll('href="Packages/', 'href="/etc/')],
  [
    'another host',
    'repodata.invalid',
    /has the base "http:\/\/evil/,
    (xml) => xml.replaceAll('<location ', '<location xml:base="http://evil.example/" '),
  ],
  [
    'files of the machine',
    'repodata.invalid',
    /has the base "file:/,
    (xml) => xml.replace('<metadata ', '<metadata xml:base="file:///etc/" '),
  ],
  [
    'nothing below',
    'repodata.invalid',
    /lie too deep/,
    (xml) => xml.replace('<format>', `<format>${'<a>'.repeat(10_000)}`),
  ],
  [
    'an element with too many attributes',
    'repodata.invalid',
    /too many attributes/,
    (xml) =>
      xml.replace('<format>', `<format ${Array.from({ length: 5000 }, (_, index) => `a${index}="1"`).join(' ')}>`),
  ],
  [
    'one package with two checksums',
    'repodata.invalid',
    /two checksums/,
    (xml) => {
      const [first = ''] = /<package type="rpm">[\s\S]*?<\/package>/.exec(xml) ?? [];
      const twin = first.replace(/[0-9a-f]{64}/, 'a'.repeat(64)).replace('href="Packages/', 'href="Packages/other-');
      return xml.replace('</metadata>', `${twin}</metadata>`);
    },
  ],
  ['half of it', 'repodata.invalid', /no XML/, (xml) => xml.slice(0, -200)],
  ['no XML', 'repodata.invalid', /no XML/, () => '<metadata><package><name>a</b></metadata>'],
  ['another root', 'repodata.invalid', /begins with/, (xml) => xml.replaceAll('metadata', 'html')],
];

for (const [name, code, says, change] of PRIMARY) {
  test(`a primary file with ${name}`, TOOLS, async (t) => {
    const made = await published(t);
    made.repository.change('primary', change);
    made.repository.publish(made.origin);
    await refuses(made, code, says);
  });
}

test('elements that nobody knows are passed over', TOOLS, async (t) => {
  const made = await published(t);
  made.repository.change('primary', (xml) =>
    xml.replaceAll('<format>', '<new a="b">text<deep/></new><format><rpm:odd/>'),
  );
  made.repository.publish(made.origin);
  assert.deepEqual((await made.sync()).failures, []);
  assert.equal(await made.revision(), 2);
});

test('a primary file that unpacks to more than it says', TOOLS, async (t) => {
  const made = await published(t);
  const bomb = gzipSync(Buffer.alloc(50 * 2 ** 20, ' '));
  made.repository.change('primary', () => 'x');
  const repomd = made.repository.read('repodata/repomd.xml').toString();
  const hex = createHash('sha256').update(bomb).digest('hex');
  const changed = repomd
    .replace(/(<data type="primary"><checksum type="sha256">)[0-9a-f]*/, `$1${hex}`)
    .replace('<size>1</size>', `<size>${bomb.length}</size><open-size>1000</open-size>`);
  made.repository.write('repodata/changed-primary.xml', bomb);
  made.repository.write('repodata/repomd.xml', changed);
  made.repository.publish(made.origin);
  await refuses(made, 'repodata.invalid', /more than 1000 bytes/);
});

test('file lists of another repository', TOOLS, async (t) => {
  const made = await published(t);
  made.repository.change('filelists', (xml) => xml.replace(/pkgid="[0-9a-f]{8}/, 'pkgid="00000000'));
  made.repository.publish(made.origin);
  await refuses(made, 'repodata.invalid', /filelists file lists a package/);
});

test('file lists with a document type', TOOLS, async (t) => {
  const made = await published(t);
  made.repository.change('filelists', (xml) =>
    xml.replace('<filelists', '<!DOCTYPE filelists SYSTEM "file:///etc/passwd"><filelists'),
  );
  made.repository.publish(made.origin);
  await refuses(made, 'repodata.invalid', /document type/);
});

const REPOMD: readonly [name: string, code: string, says: RegExp, change: (xml: string) => string][] = [
  [
    'a wrong checksum',
    'checksum.mismatch',
    /it should be 0{64}/,
    (xml) => xml.replace(/(<data type="primary">\s*<checksum type="sha256">)[0-9a-f]{64}/, `$1${'0'.repeat(64)}`),
  ],
  [
    'a wrong size',
    'checksum.mismatch',
    /it should have 7/,
    (xml) => xml.replace(/(<data type="primary">[\s\S]*?<size>)\d+/, '$17'),
  ],
  [
    'a wrong size when unpacked',
    'repodata.invalid',
    /more than 7 bytes/,
    (xml) => xml.replace(/(<data type="primary">[\s\S]*?<open-size>)\d+/, '$17'),
  ],
  [
    'a wrong checksum when unpacked',
    'repodata.invalid',
    /decompressed, is not what/,
    (xml) =>
      xml.replace(/(<data type="primary">[\s\S]*?<open-checksum type="sha256">)[0-9a-f]{64}/, `$1${'0'.repeat(64)}`),
  ],
  [
    'a path out of it',
    'repodata.invalid',
    /leads out of it/,
    (xml) => xml.replace('href="repodata/', 'href="repodata/../../'),
  ],
  [
    'another host',
    'repodata.invalid',
    /has the base/,
    (xml) => xml.replace('<location ', '<location xml:base="http://evil.example/" '),
  ],
  [
    'an unknown kind of checksum',
    'repodata.invalid',
    /"crc32", which is not known/,
    (xml) => xml.replaceAll('<checksum type="sha256">', '<checksum type="crc32">'),
  ],
  [
    'entities',
    'repodata.invalid',
    /document type/,
    (xml) => xml.replace('<repomd', '<!DOCTYPE r [<!ENTITY a "b">]><repomd'),
  ],
  ['no primary file', 'repodata.invalid', /no primary file/, (xml) => xml.replace('type="primary"', 'type="primeval"')],
  [
    'a time before the last one',
    'trust.rollback',
    /is older/,
    (xml) => xml.replace(/<timestamp>\d+/g, '<timestamp>1000000000'),
  ],
  [
    'a time to come',
    'repodata.invalid',
    /made at 2099-.* is yet to come/,
    (xml) => xml.replace(/<timestamp>\d+/, '<timestamp>4070908800'),
  ],
  [
    'a time that no calendar has',
    'repodata.invalid',
    /"99999999999999" is no time/,
    (xml) => xml.replace(/<timestamp>\d+/, '<timestamp>99999999999999'),
  ],
  [
    'a time that is no number at all',
    'repodata.invalid',
    /"1e400" is no time/,
    (xml) => xml.replace(/<timestamp>\d+/, '<timestamp>1e400'),
  ],
  [
    'a time before all others',
    'repodata.invalid',
    /"-99999999999999" is no time/,
    (xml) => xml.replace(/<timestamp>\d+/, '<timestamp>-99999999999999'),
  ],
  ...['RPM-GPG-KEY-airlock', `RPM-GPG-KEY-vendor-${'a'.repeat(40)}`].map((name): (typeof REPOMD)[number] => [
    `its file lists as ${name}`,
    'repodata.invalid',
    /none of its own/,
    (xml) => xml.replace(/href="repodata\/[^"]*filelists/, `href="${name}`).replace(new RegExp(`(${name})[^"]*`), '$1'),
  ]),
  ['2 MiB', 'upstream.unusable', /more than 1048576 bytes/, (xml) => `${xml}${' '.repeat(2 ** 21)}`],
];

for (const [name, code, says, change] of REPOMD) {
  test(`a repomd.xml with ${name}`, TOOLS, async (t) => {
    const made = await published(t);
    const before = made.repository.read('repodata/repomd.xml').toString();
    assert.notEqual(change(before), before);
    made.repository.write('repodata/repomd.xml', change(before));
    made.repository.publish(made.origin);
    await refuses(made, code, says);
  });
}

test('a package that is another one than the metadata says', TOOLS, async (t) => {
  const made = await published(t);
  made.repository.change('primary', (xml) => xml.replaceAll('<name>alpha</name>', '<name>omega</name>'));
  made.repository.publish(made.origin);
  const { failures } = await made.sync();
  assert.match(
    failures[0]?.message ?? '',
    /It is alpha-2\.0-1\.el9\.x86_64, and the metadata says that it is omega-2\.0/,
  );
  assert.equal(await made.revision(), 1);
});

for (const place of [
  'repodata/repomd.xml',
  'repodata/repomd.xml.asc',
  'repodata/changed-primary.xml',
  'RPM-GPG-KEY-airlock',
  `RPM-GPG-KEY-vendor-${'a'.repeat(40)}`,
]) {
  test(`a package in the place of ${place}`, TOOLS, async (t) => {
    const made = await published(t);
    const other = rpmOf({ name: 'alpha', version: '2.0' });
    made.repository.change('primary', (xml) =>
      xml.replace('href="Packages/alpha-2.0-1.el9.x86_64.rpm"', `href="${place}"`),
    );
    made.repository.publish(made.origin);
    const url = `/el9/${place}`;
    const held = made.origin.files.get(url);
    let asked = 0;
    made.origin.files.set(url, (request, response) => {
      // repomd.xml itself is asked for first, and once.
      asked += 1;
      const isFront = typeof held === 'object' && asked === 1;
      response.end(isFront ? held.bytes : other);
      request.resume();
    });
    await refuses(made, 'repodata.invalid', /which is the place of its metadata or of a key/);
  });
}

test('a package that a pinned key signed, with nothing better than SHA-1, needs signed metadata', TOOLS, async (t) => {
  const key = await makeKey();
  const made = await scene(t, await readVendorKeys(Buffer.from(publicBytes(key)), new Date()));
  const archive = Buffer.from('anything');
  const digest = createHash('sha1').update(archive).digest('hex');
  const options: RpmOptions = {
    name: 'alpha',
    archive,
    compressor: 'none',
    without: [5097],
    tags: [strings(5092, digest), int32(5093, 2)],
  };
  const { file } = await buildSigned(options, { rsa: (data) => sign(key, data) });
  const repository = new Repository(path.join(made.dir, 'site'), '--no-database');
  repository.write('Packages/alpha.rpm', file);
  repository.describe();
  repository.publish(made.origin);
  const { failures } = await made.sync();
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['signature.weak-digest'],
  );
  assert.equal(await made.revision(), 0);

  const signature = await sign(key, repository.read('repodata/repomd.xml'));
  repository.write('repodata/repomd.xml.asc', armoredSignature(Buffer.from(signature)));
  repository.publish(made.origin);
  assert.deepEqual((await made.sync()).failures, []);
  assert.equal(await made.revision(), 1);
});

test('a package that is listed and missing', TOOLS, async (t) => {
  const made = await published(t);
  made.repository.publish(made.origin);
  made.origin.files.delete('/el9/Packages/alpha-2.0-1.el9.x86_64.rpm');
  await refuses(made, 'path.not-found', /not there \(404\)/);
});

test('a package that breaks off is gone on with', TOOLS, async (t) => {
  const made = await published(t);
  const big = {
    name: 'big',
    version: '1.0',
    seed: Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)))
      .toString('hex')
      .repeat(10),
  };
  made.repository.add(big);
  made.repository.describe();
  made.repository.publish(made.origin);
  const url = '/el9/Packages/big-1.0-1.el9.x86_64.rpm';
  const bytes = made.repository.read('Packages/big-1.0-1.el9.x86_64.rpm');
  made.origin.files.set(url, { bytes, cutAfter: 200_000, cuts: 2 });
  assert.deepEqual((await made.sync()).failures, []);
  assert.ok(made.origin.of(url).length >= 2);
  assert.ok(made.origin.sent(url) < bytes.length * 1.9, 'it was not begun anew each time');
});
