/** Package-based images: what is let in with which packages, and how these are kept and served. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { buildIso } from '../media/iso-builder.ts';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { importRpmWords, namedFiles, newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { needs } from '../support/needs.ts';

const TOOLS = needs(...PACKAGE_TOOLS);

function makePackages() {
  const vendor = new PackageVendor();
  const [base = '', first = '', second = '', salt = '', newSalt = ''] = vendor.build([
    { name: 'glibc', version: '2.17', kilobytes: 300 },
    { name: '128T', version: '6.2.5', release: '5.r2.el7', tags: ['Requires: glibc >= 2'] },
    { name: '128T', version: '6.2.6', release: '15.sts.el7', tags: ['Requires: glibc >= 2'] },
    { name: 'salt', version: '1' },
    { name: 'salt', version: '1', epoch: 1 },
  ]);
  const [unsigned = ''] = vendor.build([{ name: 'unsigned', version: '1' }], 'nobody');
  const [stranger = ''] = vendor.build([{ name: 'stranger', version: '1' }], 'stranger');
  const [otherBase = ''] = vendor.build([{ name: 'glibc', version: '2.17', seed: 'other' }]);
  return { vendor, base, first, second, salt, newSalt, unsigned, stranger, otherBase };
}

let made: ReturnType<typeof makePackages> | undefined;
function packages() {
  made ??= makePackages();
  return made;
}
after(() => made?.vendor[Symbol.dispose]());

/** A copy with one byte of its payload turned. */
async function damaged(file: string): Promise<string> {
  const bytes = await readFile(file);
  bytes[bytes.length - 50] = (bytes.at(-50) ?? 0) ^ 1;
  const copy = `${path.dirname(file)}/damaged-${path.basename(file)}`;
  await writeFile(copy, bytes);
  return copy;
}

const isoWords = (file: string, ...policy: string[]) => ['import', 'iso', ...policy, 'force', 'filepath', file];
const policyWords = (policy: string) => ['check-rpm-signature', policy];

test('unsigned packages and those by unknown keys come in where the policy says so', TOOLS, async (t) => {
  const { vendor, base, unsigned, stranger } = packages();
  const iso = vendor.iso(PACKAGE_ISO, [base, unsigned]);
  const strange = vendor.iso(PACKAGE_ISO, [base, stranger]);
  const conductor = await newConductor(t, vendor.keyFile);
  for (const words of [[], policyWords('required')]) {
    const missing = await conductor.refuses(4, ...isoWords(iso, ...words));
    assert.equal(missing.code, 'signature.missing');
    assert.match(missing.message, /1 of 2 packages.*unsigned-1-1\.el7\.x86_64\.rpm/s);
    assert.doesNotMatch(missing.message, /glibc/);
    const unknown = await conductor.refuses(4, ...isoWords(strange, ...words));
    assert.equal(unknown.code, 'signature.unknown-key');
    assert.match(unknown.message, /stranger-1-1\.el7\.x86_64\.rpm/);
  }
  const { stdout } = await conductor.importIso(iso, ...policyWords('allow-unsigned'));
  assert.match(stdout, /1 of its 2 packages are not verified by signature.*gpgcheck=1/);
  const statusOf = async () =>
    Object.fromEntries(
      (await conductor.show()).entries
        .filter(({ kind }) => kind === 'rpm')
        .map((entry) => [path.basename(entry.path).split('-')[0], entry.verification.status]),
    );
  const { glibc, unsigned: status } = await statusOf();
  assert.equal(glibc, 'signature');
  assert.notEqual(status, 'signature');

  const other = await newConductor(t, vendor.keyFile);
  await other.importIso(strange, ...policyWords('disabled'));
  const { entries } = await other.show();
  assert.ok(entries.filter(({ kind }) => kind === 'rpm').every((entry) => entry.verification.status !== 'signature'));
});

test('all bad packages of an image are named at once, and nothing of it is imported', TOOLS, async (t) => {
  const { vendor, base, first, salt, unsigned, stranger } = packages();
  const garbage = path.join(vendor.dir, 'garbage-1-1.el7.x86_64.rpm');
  await writeFile(garbage, 'no package at all\n'.repeat(1000));
  const cut = path.join(vendor.dir, 'cut-1-1.el7.x86_64.rpm');
  await writeFile(cut, (await readFile(first)).subarray(0, 3000));
  const conductor = await newConductor(t, vendor.keyFile);
  await conductor.importIso(vendor.iso(OLDER_PACKAGE_ISO, [base]));
  const iso = vendor.iso(PACKAGE_ISO, [base, unsigned, stranger, await damaged(salt), garbage, cut, first]);
  const { message } = await conductor.refuses(4, ...isoWords(iso));
  assert.match(message, /5 of 7/);
  for (const name of ['unsigned-1', 'stranger-1', 'damaged-salt', 'garbage-1', 'cut-1'])
    assert.ok(message.includes(name), `${name}: ${message}`);
  assert.doesNotMatch(message, /glibc|128T-6/);
});

test('a damaged package is refused under every policy', TOOLS, async (t) => {
  const { vendor, base, salt, unsigned } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  for (const [bad, policy] of [
    [salt, 'required'],
    [salt, 'allow-unsigned'],
    [salt, 'disabled'],
    [unsigned, 'allow-unsigned'],
    [unsigned, 'disabled'],
  ] as const) {
    const iso = vendor.iso(PACKAGE_ISO, [base, await damaged(bad)]);
    const { message, code } = await conductor.refuses(4, ...isoWords(iso, ...policyWords(policy)));
    assert.match(message, /damaged-/, policy);
    assert.ok(['rpm.digest-mismatch', 'signature.bad'].includes(code), `${policy}: ${code}`);
  }
});

test('a package in two images is kept once; under one name there is one content', TOOLS, async (t) => {
  const { vendor, base, first, second, otherBase } = packages();
  const [older, newer] = [vendor.iso(OLDER_PACKAGE_ISO, [base, first]), vendor.iso(PACKAGE_ISO, [base, second])];
  const conductor = await newConductor(t, vendor.keyFile);
  await conductor.importIso(older);
  await conductor.importIso(newer);
  const blobs = [...(await conductor.blobs()).values()].reduce((sum, size) => sum + size, 0);
  const images = (await stat(older)).size + (await stat(newer)).size;
  assert.ok(blobs >= images && blobs < images + 100_000, `${blobs} bytes for images of ${images}`);
  const { entries, published } = await conductor.show();
  assert.equal(entries.filter(({ kind }) => kind === 'rpm').length, 3);

  const conflicting = vendor.iso('128T-6.2.7-1.r1.el7.OTP.v1.x86_64.iso', [otherBase, second]);
  const { message } = await conductor.refuses(7, ...isoWords(conflicting));
  assert.match(message, /glibc-2\.17/);
  assert.equal((await conductor.show()).published, published);
  await conductor.refuses(7, ...importRpmWords([otherBase]));
  // A package that an image brought is there already.
  const before = await conductor.blobs();
  assert.match((await conductor.importRpm([base])).stdout, /here already/);
  assert.deepEqual(await conductor.blobs(), before);
});

test('packages that differ in their epoch alone stand side by side', TOOLS, async (t) => {
  const { vendor, salt, newSalt } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  await conductor.importIso(vendor.iso(OLDER_PACKAGE_ISO, [salt]));
  await conductor.importIso(vendor.iso(PACKAGE_ISO, [newSalt]));
  const { entries } = await conductor.show();
  const found = entries.filter(({ kind }) => kind === 'rpm').map((entry) => entry.path);
  assert.deepEqual(found.sort(), ['Packages/s/epoch-1/salt-1-1.el7.x86_64.rpm', 'Packages/s/salt-1-1.el7.x86_64.rpm']);
  const { get } = await conductor.serve();
  for (const [place, file] of [
    ['Packages/s/epoch-1/salt-1-1.el7.x86_64.rpm', newSalt],
    ['Packages/s/salt-1-1.el7.x86_64.rpm', salt],
  ] as const) {
    const bytes = await readFile(file);
    const { body, headers } = await get(place);
    assert.ok(body.equals(bytes));
    assert.match(headers.get('cache-control') ?? '', /immutable/);
    assert.equal(headers.get('etag'), `"sha256:${createHash('sha256').update(bytes).digest('hex')}"`);
    for (const [start, end] of [
      [0, 0],
      [17, 4096],
      [bytes.length - 1, bytes.length - 1],
    ] as const) {
      const part = await get(place, { range: `bytes=${start}-${end}` });
      assert.equal(part.status, 206);
      assert.ok(part.body.equals(bytes.subarray(start, end + 1)), `${start}-${end}`);
    }
    // Not a byte of what lies behind it in the image.
    assert.equal((await get(place, { range: `bytes=${bytes.length}-` })).status, 416);
    assert.ok((await get(place, { range: 'bytes=-100' })).body.equals(bytes.subarray(-100)));
  }
});

test('an image whose repodata is not what it says is refused', TOOLS, async (t) => {
  const { vendor, base } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const record = (href: string, sum: string) =>
    `<repomd><data type="group"><checksum type="sha256">${sum}</checksum><location href="${href}"/></data></repomd>`;
  const comps = '<comps/>';
  const sum = createHash('sha256').update(comps).digest('hex');
  const file = path.join(path.dirname(conductor.data), PACKAGE_ISO);
  const write = async (repomd: string) => {
    const tree = { 'base.rpm': await readFile(base), repodata: { 'repomd.xml': repomd, 'comps.xml': comps } };
    await writeFile(file, buildIso({ ...tree, 'secret.xml': comps }, { joliet: true }).image);
  };
  for (const bad of [
    record('repodata/none.xml', sum),
    record('../../../../../../etc/passwd', sum),
    record('repodata/comps.xml', sum.replace(/./g, '0')),
    `<!DOCTYPE a [<!ENTITY b "c">]>${record('repodata/comps.xml', sum)}`,
    '',
  ]) {
    await write(bad);
    assert.equal((await conductor.refuses(4, ...isoWords(file))).code, 'repodata.invalid', bad);
  }
  await write(record('repodata/comps.xml', sum));
  assert.match((await conductor.importIso(file)).stdout, /"base\.rpm" holds the package glibc/);
  const served = await conductor.serve();
  assert.ok((await namedFiles(served)).some((name) => name.includes(sum)));
});

test('before a key is pinned an image comes in by itself, and again with its packages', TOOLS, async (t) => {
  const { vendor, base, first } = packages();
  const iso = vendor.iso(PACKAGE_ISO, [base, first]);
  const conductor = await newConductor(t);
  const { stdout } = await conductor.importIso(iso);
  assert.match(stdout, /2 packages are signed.*trust vendor-key add/);
  assert.equal((await conductor.run('repo', 'show', RPM_REPOSITORY)).code, 3);
  // Whoever asks for checks gets them.
  const other = await newConductor(t);
  assert.equal((await other.refuses(4, ...isoWords(iso, ...policyWords('required')))).code, 'signature.unknown-key');

  await conductor.done('trust', 'vendor-key', 'add', vendor.keyFile);
  await conductor.importIso(iso);
  assert.equal((await conductor.show()).entries.filter(({ kind }) => kind === 'rpm').length, 2);
  const { published } = await conductor.show();
  await conductor.importIso(iso);
  assert.equal((await conductor.show()).published, published, 'and then it is all there');
});

test('after a roll-back an image that is imported again brings its packages again', TOOLS, async (t) => {
  const { vendor, base, first, second } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const newer = vendor.iso(PACKAGE_ISO, [base, second]);
  await conductor.importIso(vendor.iso(OLDER_PACKAGE_ISO, [base, first]));
  await conductor.importIso(newer);
  // Of the signature over repomd.xml, which is made anew, the bytes are others.
  const content = async () =>
    (await conductor.show()).entries
      .filter((entry) => !entry.path.endsWith('.asc'))
      .map((entry) => `${entry.path} ${entry.digest}`);
  const before = await content();
  await conductor.done('repo', 'publish', RPM_REPOSITORY, '1');
  const { stdout } = await conductor.importIso(newer);
  assert.match(stdout, /was here already; what was missing .* was added/);
  assert.deepEqual(await content(), before);
  await conductor.importIso(newer);
  assert.equal((await conductor.show()).published, 4);
});

test('imports at the same time all arrive', TOOLS, async (t) => {
  const { vendor, base, first, second, salt, newSalt } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const iso = vendor.iso(PACKAGE_ISO, [base, second]);
  const together = [[first, base], [salt], [newSalt], [base]].map((files) => conductor.importRpm(files));
  await Promise.all([conductor.importIso(iso), ...together]);
  const { entries } = await conductor.show();
  assert.equal(entries.filter(({ kind }) => kind === 'rpm').length, 5);
  const served = await conductor.serve();
  for (const { path: name, digest } of entries) {
    const { body } = await served.get(name);
    assert.equal(`sha256:${createHash('sha256').update(body).digest('hex')}`, digest, name);
  }
});

test('an image without packages says so', TOOLS, async (t) => {
  const { vendor } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const { stdout } = await conductor.importIso(vendor.iso(PACKAGE_ISO, []));
  assert.match(stdout, /holds no packages/);
  assert.equal((await conductor.run('repo', 'show', RPM_REPOSITORY)).code, 3);
});

test('repomd.xml depends on the packages, not on the order in which they came', TOOLS, async (t) => {
  const { vendor, base, first, second, salt } = packages();
  const groups = (id: string) => ({
    groups: `<?xml version="1.0"?><comps><group><id>${id}</id><name>${id}</name></group></comps>`,
  });
  const older = vendor.iso(OLDER_PACKAGE_ISO, [base, first], groups('old'));
  const newer = vendor.iso(PACKAGE_ISO, [base, second], groups('new'));
  const [one, other] = [await newConductor(t, vendor.keyFile), await newConductor(t, vendor.keyFile)];
  await one.importIso(older);
  await one.importIso(newer);
  await one.importRpm([salt]);
  await other.importRpm([salt, second]);
  await other.importIso(newer);
  await other.importIso(older);
  const [a, b] = [await one.serve(), await other.serve()];
  const [mine, theirs] = [await a.get('repodata/repomd.xml'), await b.get('repodata/repomd.xml')];
  assert.equal(mine.body.toString(), theirs.body.toString());
  const comps = (await namedFiles(a)).find((name) => name.endsWith('-comps.xml')) ?? '';
  assert.match((await a.get(comps)).body.toString(), /<id>new</, 'the groups of the newest release');
  assert.match(mine.headers.get('cache-control') ?? '', /no-cache|max-age=0/);
  const etag = mine.headers.get('etag') ?? '';
  assert.equal((await a.get('repodata/repomd.xml', { 'if-none-match': etag })).status, 304);
  for (const name of await namedFiles(a)) {
    const file = await a.get(name);
    assert.match(file.headers.get('cache-control') ?? '', /immutable/, name);
    assert.ok(name.includes(createHash('sha256').update(file.body).digest('hex')), name);
  }
  for (const name of ['repodata/repomd.xml.asc', 'RPM-GPG-KEY-airlock', `${RPM_REPOSITORY}.repo`])
    assert.match((await a.get(name)).headers.get('cache-control') ?? '', /no-cache|max-age=0/, name);
});

test('a rebuilt catalog serves the same, and goes on', TOOLS, async (t) => {
  const { vendor, base, first, second, salt } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const platform = path.join(path.dirname(conductor.data), 'platform.txt');
  await writeFile(platform, 'bash = 5\n');
  await conductor.importIso(vendor.iso(PACKAGE_ISO, [base, second]));
  await conductor.importRpm([salt]);
  await conductor.done('import', 'platform', platform);
  const everything = async () => {
    const served = await conductor.serve();
    const { entries } = await conductor.show();
    const bodies: Record<string, string> = {};
    for (const { path: name } of entries) {
      const { status, body } = await served.get(name);
      assert.equal(status, 200, name);
      bodies[name] = createHash('sha256').update(body).digest('hex');
    }
    await served.server.stop();
    return bodies;
  };
  const before = await everything();
  await conductor.done('doctor', '--rebuild-catalog');
  assert.deepEqual(await everything(), before);
  const { published } = await conductor.show();
  await conductor.importRpm([salt]);
  assert.equal((await conductor.show()).published, published, 'nothing to do');
  // What it needs is inside the image.
  await conductor.importRpm([first]);
  assert.equal((await conductor.show()).published, published + 1);
  const served = await conductor.serve();
  for (const name of await namedFiles(served)) assert.equal((await served.get(name)).status, 200);
});

test(
  'two conductors with one repository key sign alike, and what was signed before is signed again',
  TOOLS,
  async (t) => {
    const { vendor, base, first } = packages();
    const iso = vendor.iso(OLDER_PACKAGE_ISO, [base, first]);
    const [one, other] = [await newConductor(t, vendor.keyFile), await newConductor(t, vendor.keyFile)];
    await one.importIso(iso);
    await other.importIso(iso);
    const file = path.join(one.data, 'repository-key.asc');
    const { fingerprint } = await one.json<{ fingerprint: string }>('keys', 'repository', 'export', file);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const imported = await other.json<{ fingerprint: string; revisions: object }>('keys', 'repository', 'import', file);
    assert.equal(imported.fingerprint, fingerprint);
    assert.deepEqual(imported.revisions, { [RPM_REPOSITORY]: 2 });
    const digests = async (conductor: typeof one) =>
      Object.fromEntries((await conductor.show()).entries.map((entry) => [entry.path, entry.digest]));
    const [ours, theirs] = [await digests(one), await digests(other)];
    for (const name of ['repodata/repomd.xml', 'RPM-GPG-KEY-airlock']) assert.equal(theirs[name], ours[name]);
    assert.equal((await other.refuses(4, 'keys', 'repository', 'import', vendor.keyFile)).code, 'key.invalid');
  },
);

test('a key that is pinned later reaches clients at once', TOOLS, async (t) => {
  const { vendor, base, first } = packages();
  const conductor = await newConductor(t);
  await conductor.importIso(vendor.iso(OLDER_PACKAGE_ISO, [base, first]), ...policyWords('allow-unsigned'));
  const keys = async () => (await conductor.show()).entries.filter((entry) => entry.path.includes('KEY-vendor'));
  assert.deepEqual(await keys(), []);
  const [added] = await conductor.json<{ fingerprint: string }[]>('trust', 'vendor-key', 'add', vendor.keyFile);
  assert.deepEqual(
    (await keys()).map((entry) => entry.path),
    [`RPM-GPG-KEY-vendor-${added?.fingerprint}`],
  );
  await conductor.done('trust', 'vendor-key', 'remove', added?.fingerprint ?? '');
  assert.deepEqual(await keys(), []);
});
