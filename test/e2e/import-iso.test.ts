import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { describeReleases } from '../../src/repo/available.ts';
import { addVendorKey } from '../../src/repo/formats/openpgp/vendor-keys.ts';
import { collected } from '../conformance/catalog/under-test.ts';
import {
  filler,
  IMAGE_ISO,
  IMAGE_TAR,
  imageIso,
  imageTar,
  makeSigner,
  makeVendorSite,
  OLDER_PACKAGE_ISO,
  PACKAGE_ISO,
  publishFile,
  type VendorSite,
} from '../media/vendor-site.ts';
import { airlock, airlockJson, type CliResult } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';
import { withApp } from '../support/with-app.ts';

interface Outcome {
  outcome: string;
  file: string;
  path: string;
  digest: string;
  verification: {
    status: string;
    checks: { check: string; result: string; keyId?: string; fingerprint?: string; note?: string }[];
  };
  warnings: string[];
}
interface ImportReport {
  imported: Outcome[];
  failed: { file: string; error: { code: string; message: string } }[];
}
interface Available {
  version: string;
  release: string;
  kind: string;
  path: string;
  digest: string;
  verification: string;
}

/** A data directory, a stick with the vendor's files, and the command line for both. */
async function site(t: TestContext): Promise<{
  data: string;
  stick: string;
  vendor: VendorSite;
  run: (...args: string[]) => Promise<CliResult>;
  json: <T>(...args: string[]) => Promise<CliResult & { json: T }>;
}> {
  const dir = await tempDir(t);
  const data = path.join(dir, 'data');
  const stick = path.join(dir, 'stick');
  const vendor = await makeVendorSite(stick);
  return {
    data,
    stick,
    vendor,
    run: (...args) => airlock(['--data', data, ...args]),
    json: <T>(...args: string[]) => airlockJson<T>(['--data', data, ...args]),
  };
}

/** Only this image and its sidecars stay on the stick. */
async function keepOnly(stick: string, name: string): Promise<void> {
  for (const file of await readdir(stick)) if (!file.startsWith(name)) await rm(path.join(stick, file));
}

async function assertNothingLeft(data: string): Promise<void> {
  const files = await readdir(data, { recursive: true, withFileTypes: true });
  const left = files.filter(
    (file) => file.isFile() && /blobs|partial|revisions/.test(file.parentPath) && file.name !== 'lock',
  );
  assert.deepEqual(
    left.map((file) => path.join(file.parentPath, file.name)),
    [],
  );
}

test('hunt finds, verifies and imports every image with its sidecars', async (t) => {
  const { vendor, stick, json, run } = await site(t);
  await mkdir(path.join(stick, 'notes'));
  await writeFile(path.join(stick, 'notes', 'readme.iso'), 'not a vendor image');
  assert.equal(
    (await run('trust', 'vendor-key', 'add', vendor.keyFile, '--fingerprint', vendor.signer.fingerprint)).code,
    0,
  );

  const imported = await json<ImportReport>('import', 'iso', 'hunt', stick);
  assert.equal(imported.code, 0, imported.stderr);
  assert.deepEqual(imported.json.failed, []);
  assert.deepEqual(imported.json.imported.map((each) => each.path).sort(), [
    `6.2/${OLDER_PACKAGE_ISO}`,
    `6.2/${PACKAGE_ISO}`,
    `6.3/${IMAGE_ISO}`,
    `6.3/${IMAGE_TAR}`,
  ]);
  for (const each of imported.json.imported) {
    assert.equal(each.outcome, 'imported');
    assert.equal(each.verification.status, 'signature', JSON.stringify(each));
    const signed = each.verification.checks.find(({ check }) => check === 'signature');
    assert.equal(signed?.fingerprint?.toUpperCase(), vendor.signer.fingerprint);
    const name = path.basename(each.path);
    assert.equal(
      each.digest,
      `sha256:${createHash('sha256')
        .update(vendor.images[name] ?? '')
        .digest('hex')}`,
    );
  }

  const available = await json<Available[]>('show', 'system', 'software', 'available');
  assert.deepEqual(
    available.json.map(({ version, kind, release }) => ({ version, kind, release })),
    [
      { version: '6.3.0-107.r1.el7', kind: 'image', release: '6.3' },
      { version: '6.3.0-107.r1.el7', kind: 'image', release: '6.3' },
      { version: '6.2.6-15.sts.el7', kind: 'package', release: '6.2' },
      { version: '6.2.5-5.r2.el7', kind: 'package', release: '6.2' },
    ],
  );
  const shown = await run('show', 'system', 'software', 'available');
  assert.match(shown.stdout, /SSR-6\.3\.0-107\.r1\.el7.*image.*downloads.*downloads.*signature/);
});

test("the vendor's words and the flags mean the same", async (t) => {
  const { stick, run, json } = await site(t);
  const words = await run(
    'import',
    'iso',
    'check-rpm-signature',
    'allow-unsigned',
    'force',
    'filepath',
    path.join(stick, IMAGE_ISO),
  );
  assert.equal(words.code, 0, words.stderr);
  assert.match(words.stdout, /Import success/);
  const flags = await json<ImportReport>(
    'import',
    'iso',
    '--force',
    '--check-rpm-signature',
    'disabled',
    '--filepath',
    path.join(stick, IMAGE_TAR),
  );
  assert.equal(flags.code, 0, flags.stderr);
  assert.equal(flags.json.imported[0]?.path, `6.3/${IMAGE_TAR}`);
  for (const args of [
    ['import', 'iso'],
    ['import', 'iso', 'hunt', stick, 'filepath', 'x.iso'],
    ['import', 'iso', 'filepath'],
    ['import', 'iso', 'swallow', 'x.iso'],
    ['import', 'iso', 'check-rpm-signature', 'maybe', 'filepath', 'x.iso'],
  ]) {
    const refused = await run(...args);
    assert.equal(refused.code, 2, `${args.join(' ')}: ${refused.stderr}`);
    assert.match(refused.stderr, /usage\.invalid/);
  }
});

test('importing again does nothing, quickly, and says so', async (t) => {
  const { data, stick, json, run } = await site(t);
  const file = path.join(stick, IMAGE_ISO);
  await json('import', 'iso', 'filepath', file);
  const again = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.equal(again.code, 0);
  assert.equal(again.json.imported[0]?.outcome, 'present');
  assert.match((await run('import', 'iso', 'filepath', file)).stdout, /is here already: nothing to do/);
  assert.equal((await withApp(data, ({ catalog }) => catalog.revisions('images'))).length, 1);
});

test('without a trusted key the signature is named and the checksum counts; adding the key upgrades what is recorded', async (t) => {
  const { data, stick, vendor, json, run } = await site(t);
  const file = path.join(stick, IMAGE_ISO);
  const first = await json<ImportReport>('import', 'iso', 'filepath', file);
  const outcome = first.json.imported[0];
  assert.equal(outcome?.verification.status, 'checksum');
  const signed = outcome?.verification.checks.find(({ check }) => check === 'signature');
  assert.equal(signed?.result, 'unknown-key');
  assert.ok(vendor.signer.fingerprint.endsWith(signed?.keyId?.toUpperCase() ?? '?'));
  assert.match(outcome?.warnings.join() ?? '', /trust vendor-key add/);

  await run('trust', 'vendor-key', 'add', vendor.keyFile);
  const second = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.equal(second.json.imported[0]?.outcome, 'upgraded');
  const [available] = await withApp(data, async ({ catalog }) => describeReleases(await catalog.releases()));
  assert.equal(available?.verification, 'signature');
});

test("a wrong checksum, a bad signature and a stranger's signature refuse the import and leave no trace", async (t) => {
  const { data, stick, vendor, json } = await site(t);
  const file = path.join(stick, IMAGE_ISO);
  await addVendorKey(data, Buffer.from(vendor.signer.publicKey));

  const good = await readFile(file);
  await writeFile(file, Buffer.concat([good.subarray(0, -1), Buffer.from('x')]));
  const wrong = await json<{ error: { code: string; message: string } }>('import', 'iso', 'filepath', file);
  assert.equal(wrong.code, 4);
  assert.equal(wrong.json.error.code, 'checksum.mismatch');
  assert.match(wrong.json.error.message, /Copy or download the file again/);
  await writeFile(file, good);

  const sum = `${file}.sha256sum`;
  await writeFile(`${sum}.asc`, await vendor.signer.sign(Buffer.from('something else')));
  const bad = await json<{ error: { code: string; message: string } }>('import', 'iso', 'filepath', file);
  assert.deepEqual([bad.code, bad.json.error.code], [4, 'signature.bad']);

  const stranger = await makeSigner('Stranger');
  await writeFile(`${sum}.asc`, await stranger.sign(await readFile(sum)));
  const unknown = await json<{ error: { code: string; message: string } }>('import', 'iso', 'filepath', file);
  assert.deepEqual([unknown.code, unknown.json.error.code], [4, 'signature.unknown-key']);
  assert.ok(unknown.json.error.message.toUpperCase().includes(stranger.fingerprint.slice(-16)));

  await writeFile(`${sum}.asc`, 'no signature at all');
  const junk = await json<{ error: { code: string } }>('import', 'iso', 'filepath', file);
  assert.deepEqual([junk.code, junk.json.error.code], [4, 'signature.invalid']);

  assert.deepEqual(await withApp(data, ({ catalog }) => catalog.releases()), []);
  await assertNothingLeft(data);
});

test('a missing sidecar warns and is recorded, or is refused on request', async (t) => {
  const { data, stick, json } = await site(t);
  await keepOnly(stick, IMAGE_ISO);
  const file = path.join(stick, IMAGE_ISO);
  await rm(`${file}.sha256sum.asc`);
  const unsigned = await json<{ error: { code: string } }>('import', 'iso', 'filepath', file, '--require-signature');
  assert.deepEqual([unsigned.code, unsigned.json.error.code], [4, 'signature.missing']);
  await rm(`${file}.sha256sum`);
  const missing = await json<{ error: { code: string } }>('import', 'iso', 'filepath', file, '--require-checksum');
  assert.deepEqual([missing.code, missing.json.error.code], [4, 'checksum.missing']);
  await assertNothingLeft(data);
  const imported = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.equal(imported.code, 0);
  assert.equal(imported.json.imported[0]?.verification.status, 'unverified');
  assert.match(imported.json.imported[0]?.warnings.join() ?? '', /no checksum file/);
});

test('all forms of checksum files are understood: coreutils lines, an aggregate for the folder', async (t) => {
  const { data, stick, vendor, json } = await site(t);
  await addVendorKey(data, Buffer.from(vendor.signer.publicKey));
  const digest = (name: string) =>
    createHash('sha256')
      .update(vendor.images[name] ?? '')
      .digest('hex');
  const lines = [OLDER_PACKAGE_ISO, PACKAGE_ISO, IMAGE_ISO].map((name) => `${digest(name)}  ${name}\n`).join('');
  await keepOnly(stick, IMAGE_ISO);
  const file = path.join(stick, IMAGE_ISO);
  await rm(`${file}.sha256sum`);
  await rm(`${file}.sha256sum.asc`);
  await writeFile(path.join(stick, 'sha256sum.txt'), lines);
  await writeFile(path.join(stick, 'sha256sum.txt.asc'), await vendor.signer.sign(Buffer.from(lines)));
  const aggregate = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.equal(aggregate.json.imported[0]?.verification.status, 'signature', JSON.stringify(aggregate.json));

  const named = path.join(stick, IMAGE_TAR);
  await writeFile(named, vendor.images[IMAGE_TAR] ?? '');
  await writeFile(`${named}.sha256sum`, `${digest(IMAGE_TAR)} *${IMAGE_TAR}\n`);
  const own = await json<ImportReport>('import', 'iso', 'filepath', named);
  assert.equal(own.json.imported[0]?.verification.status, 'checksum');
});

test('a sidecar named for the tar is checked against that tar, never against the image', async (t) => {
  const { stick, vendor, json, data } = await site(t);
  await keepOnly(stick, IMAGE_ISO);
  const file = path.join(stick, IMAGE_ISO);
  await rm(`${file}.sha256sum`);
  await rm(`${file}.sha256sum.asc`);
  const tar = await imageTar('6.3.0-107.r1.el7');
  await publishFile(stick, IMAGE_TAR, tar);
  await rm(path.join(stick, IMAGE_TAR));

  const without = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.equal(without.code, 0, without.stderr);
  assert.equal(without.json.imported[0]?.verification.status, 'unverified');
  assert.match(without.json.imported[0]?.warnings.join() ?? '', /does not apply/);

  await rm(data, { recursive: true });
  await writeFile(path.join(stick, IMAGE_TAR), tar);
  const beside = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.match(beside.json.imported[0]?.warnings.join() ?? '', /matches .*\.tar beside the image/);

  await rm(data, { recursive: true });
  await writeFile(path.join(stick, IMAGE_TAR), 'other bytes');
  const wrong = await json<{ error: { code: string; message: string } }>('import', 'iso', 'filepath', file);
  assert.deepEqual([wrong.code, wrong.json.error.code], [4, 'checksum.mismatch']);
  await assertNothingLeft(data);

  await rm(data, { recursive: true });
  await rm(path.join(stick, IMAGE_TAR));
  await writeFile(file, imageIso('6.3.0-107.r1.el7', { [IMAGE_TAR]: tar }));
  const inside = await json<ImportReport>('import', 'iso', 'filepath', file);
  assert.match(inside.json.imported[0]?.warnings.join() ?? '', /matches .*\.tar inside the image/);
  assert.ok(vendor.images[IMAGE_TAR]?.equals(tar));
});

test('one path has one content: the same name with other bytes is refused', async (t) => {
  const { data, stick, json } = await site(t);
  const file = path.join(stick, IMAGE_ISO);
  await json('import', 'iso', 'filepath', file);
  await publishFile(stick, IMAGE_ISO, imageIso('6.3.0-107.r1.el7', { 'extra.txt': Buffer.from('more') }));
  const refused = await json<{ error: { code: string } }>('import', 'iso', 'filepath', file);
  assert.deepEqual([refused.code, refused.json.error.code], [7, 'path.conflict']);
  assert.equal((await withApp(data, ({ catalog }) => catalog.revisions('images'))).length, 1);
});

test('an image that is none is refused: by its name, its content, its end', async (t) => {
  const { data, stick, vendor, json } = await site(t);
  const cases: [string, Buffer, string][] = [
    ['SSR-without-version.iso', vendor.images[IMAGE_ISO] ?? Buffer.alloc(0), 'release.unparsable'],
    [IMAGE_ISO, filler('junk', 200_000), 'iso.invalid'],
    [IMAGE_ISO, (vendor.images[IMAGE_ISO] ?? Buffer.alloc(0)).subarray(0, 300_000), 'iso.truncated'],
    [IMAGE_TAR, filler('junk', 20_000), 'tar.invalid'],
    [IMAGE_TAR, (vendor.images[IMAGE_TAR] ?? Buffer.alloc(0)).subarray(0, 300_000), 'tar.invalid'],
  ];
  const folder = path.join(stick, 'bad');
  await mkdir(folder);
  for (const [name, bytes, code] of cases) {
    await writeFile(path.join(folder, name), bytes);
    const refused = await json<{ error: { code: string } }>('import', 'iso', 'filepath', path.join(folder, name));
    assert.deepEqual([refused.code, refused.json.error.code], [4, code], `${name}: ${refused.stderr}`);
  }
  // What its name should be matters only if it is there, and a file.
  const absentFile = path.join(folder, 'SSR-none.iso');
  const absent = await json<{ error: { code: string } }>('import', 'iso', 'filepath', absentFile);
  assert.deepEqual([absent.code, absent.json.error.code], [3, 'file.not-found']);
  const aFolder = await json<{ error: { code: string } }>('import', 'iso', 'filepath', folder);
  assert.deepEqual([aFolder.code, aFolder.json.error.code], [2, 'usage.invalid']);
  await rename(path.join(folder, IMAGE_ISO), path.join(folder, 'x'));
  const gone = await json<{ error: { code: string } }>('import', 'iso', 'filepath', path.join(folder, IMAGE_ISO));
  assert.deepEqual([gone.code, gone.json.error.code], [3, 'file.not-found']);
  const nothing = await json<{ error: { code: string } }>('import', 'iso', 'hunt', path.join(folder, 'none'));
  assert.equal(nothing.code, 3);
  await assertNothingLeft(data);
});

test('one bad image among good ones is named, and does not keep the others out', async (t) => {
  const { stick, json } = await site(t);
  await truncate(path.join(stick, PACKAGE_ISO), 100_000);
  const report = await json<ImportReport>('import', 'iso', 'hunt', stick);
  assert.equal(report.code, 4);
  assert.equal(report.json.imported.length, 3);
  assert.deepEqual(
    report.json.failed.map(({ file, error }) => [path.basename(file), error.code]),
    [[PACKAGE_ISO, 'checksum.mismatch']],
  );
});

test('delete takes a release out with its sidecars; publish brings it back; prune frees it after the grace period', async (t) => {
  const { stick, data, json, run } = await site(t);
  await json('import', 'iso', 'hunt', stick);
  const before = (await json<{ entries: { path: string }[] }>('repo', 'show', 'images')).json.entries.map(
    (entry) => entry.path,
  );
  assert.equal(before.length, 12);

  const ambiguous = await json<{ error: { code: string; message: string } }>(
    'delete',
    'system',
    'software',
    'version',
    '6.2',
  );
  assert.deepEqual([ambiguous.code, ambiguous.json.error.code], [2, 'usage.ambiguous']);
  assert.match(ambiguous.json.error.message, /6\.2\.5-5\.r2\.el7.*6\.2\.6-15\.sts\.el7/);
  assert.equal((await run('delete', 'system', 'software', 'version', '9.9.9')).code, 3);

  const deleted = await json<{ removed: { path: string }[] }>(
    'delete',
    'system',
    'software',
    'version',
    'SSR-6.3.0-107',
  );
  assert.equal(deleted.code, 0, deleted.stderr);
  assert.equal(deleted.json.removed.length, 6);

  assert.equal((await json<{ removed: unknown[] }>('prune')).json.removed.length, 0);
  const back = await run('repo', 'publish', 'images', '4');
  assert.equal(back.code, 0, back.stderr);
  assert.deepEqual(
    (await json<{ entries: { path: string }[] }>('repo', 'show', 'images')).json.entries.map((entry) => entry.path),
    before,
  );

  await json('delete', 'system', 'software', 'version', '6.3.0-107.r1');
  const planned = await json<{ removed: { size: number }[]; bytes: number }>('prune', '--dry-run', '--grace', '0');
  const pruned = await json<{ removed: { size: number }[]; bytes: number }>('prune', '--grace', '0');
  assert.equal(planned.json.bytes, pruned.json.bytes);
  assert.equal(pruned.json.removed.length, 6);
  const gone = await json<{ error: { code: string } }>('repo', 'publish', 'images', '4');
  assert.deepEqual([gone.code, gone.json.error.code], [3, 'revision.incomplete']);
  const files = await readdir(path.join(data, 'blobs'), { recursive: true, withFileTypes: true });
  assert.equal(files.filter((file) => file.isFile()).length, 6);
});

test('import file takes any file; other bytes under its path are refused unless they shall replace', async (t) => {
  const { stick, json } = await site(t);
  const file = path.join(stick, 'tool.bin');
  await writeFile(file, 'one');
  const to = ['--repository', 'tools', '--path', 'a/b/tool.bin'];
  assert.equal((await json('import', 'file', ...to, file)).code, 0);
  await writeFile(file, 'two!');
  const refused = await json<{ error: { code: string } }>('import', 'file', ...to, file);
  assert.deepEqual([refused.code, refused.json.error.code], [7, 'path.conflict']);
  assert.equal((await json('import', 'file', ...to, '--replace', file)).code, 0);
  // All that no path may be: test/conformance/catalog/publishing.ts.
  for (const bad of ['../x', '']) {
    const result = await json<{ error: { code: string } }>(
      'import',
      'file',
      '--repository',
      'tools',
      '--path',
      bad,
      file,
    );
    assert.deepEqual([result.code, result.json.error.code], [2, 'path.invalid'], bad);
  }
  await json('repo', 'create', 'packages', '--kind', 'rpm');
  const kind = await json<{ error: { code: string } }>(
    'import',
    'file',
    '--repository',
    'packages',
    '--path',
    'x',
    file,
  );
  assert.deepEqual([kind.code, kind.json.error.code], [7, 'repository.kind']);
});

test('verify finds what changed on disk, quarantines it and names the artifacts; importing again heals', async (t) => {
  const { stick, data, json } = await site(t);
  await json('import', 'iso', 'hunt', stick);
  const clean = await json<{ checked: number; damage: unknown[] }>('verify');
  assert.deepEqual([clean.code, clean.json.damage.length], [0, 0]);
  const digest =
    (await json<Available[]>('show', 'system', 'software', 'available')).json
      .find((each) => each.path.endsWith(IMAGE_ISO))
      ?.digest.slice(7) ?? '';
  const blob = path.join(data, 'blobs', 'sha256', digest.slice(0, 2), digest);
  const bytes = await readFile(blob);
  await rm(blob);
  await writeFile(blob, Buffer.concat([bytes.subarray(0, 1000), Buffer.from('!'), bytes.subarray(1001)]));

  const found = await json<{ damage: { digest: string; what: string; artifacts: string[]; quarantined: string }[] }>(
    'verify',
  );
  assert.equal(found.code, 4);
  assert.deepEqual(
    found.json.damage.map(({ what, artifacts }) => ({ what, artifacts })),
    [{ what: 'damaged', artifacts: [`images/6.3/${IMAGE_ISO}`] }],
  );
  assert.equal((await readFile(found.json.damage[0]?.quarantined ?? '')).length, bytes.length);

  const healed = await json<ImportReport>('import', 'iso', 'filepath', path.join(stick, IMAGE_ISO));
  assert.equal(healed.json.imported[0]?.outcome, 'imported');
  assert.equal((await json('verify')).code, 0);
  assert.equal((await json('doctor')).code, 0);

  await rm(blob);
  assert.equal((await json('doctor')).code, 4);
  const repaired = await json<{ damage: { what: string }[]; withdrawn: string[] }>('verify', '--repair');
  assert.deepEqual(
    [repaired.code, repaired.json.damage[0]?.what, repaired.json.withdrawn],
    [4, 'missing', [`images/6.3/${IMAGE_ISO}`]],
  );
  assert.equal((await json('verify')).code, 0);
});

test('the catalog can be made anew from what is stored', async (t) => {
  const { stick, data, json, run } = await site(t);
  await json('import', 'iso', 'hunt', stick);
  await json('delete', 'system', 'software', 'version', '6.2.5');
  await json('repo', 'publish', 'images', '3');
  const state = () =>
    withApp(data, async ({ catalog }) => ({
      repositories: await catalog.repositories(),
      entries: await collected(catalog.entries('images', 6)),
      revisions: await catalog.revisions('images'),
      releases: describeReleases(await catalog.releases()),
    }));
  const before = await state();
  assert.deepEqual([before.repositories[0]?.published, before.entries.length, before.revisions.length], [6, 9, 6]);
  for (const suffix of ['', '-wal', '-shm']) await rm(path.join(data, `catalog.sqlite${suffix}`), { force: true });
  await writeFile(path.join(data, 'catalog.sqlite'), filler('broken', 40_960));
  const broken = await json<{ error: { code: string; message: string } }>('repo', 'list');
  assert.deepEqual([broken.code, broken.json.error.code], [4, 'catalog.corrupt']);
  assert.match(broken.json.error.message, /doctor --rebuild-catalog/);
  const rebuilt = await run('doctor', '--rebuild-catalog');
  assert.equal(rebuilt.code, 0, rebuilt.stderr);
  assert.deepEqual(await state(), before);
  assert.equal((await json('verify')).code, 0);
});

test('a file that cannot be imported for want of space is refused before the first byte', async (t) => {
  const { data, stick, json } = await site(t);
  const huge = path.join(stick, 'SSR-6.3.9-1.r1.el7.x86_64.ibu-v1.iso');
  await copyFile(path.join(stick, IMAGE_ISO), huge);
  await truncate(huge, 2 ** 50).catch(() => truncate(huge, 2 ** 43));
  const refused = await json<{ error: { code: string } }>('import', 'iso', 'filepath', huge);
  assert.deepEqual([refused.code, refused.json.error.code], [6, 'space.insufficient']);
  await assertNothingLeft(data);
});
