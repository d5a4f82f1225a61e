/** Packages from files and folders: what they need must be there, and all of them come in or none. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import type { ImportRpmReport } from '../../src/repo/ingest/import-rpm.ts';
import { PACKAGE_TOOLS, PackageVendor, type Recipe } from '../media/package-iso.ts';
import { buildRpm } from '../media/rpm-builder.ts';
import { PACKAGE_ISO } from '../media/vendor-site.ts';
import { OLD_DIGESTS } from '../repo/rpm/signed.ts';
import { type Conductor, importRpmWords, newConductor } from '../support/conductor.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';

const TOOLS = needs(...PACKAGE_TOOLS);

const RECIPES = {
  glibc: {
    name: 'glibc',
    version: '2.17',
    tags: ['Provides: libc.so.6()(64bit)'],
    files: ['/usr/bin/ldd', '/srv/a&b'],
  },
  lib: { name: 'plugin-lib', version: '1.2', epoch: 1, tags: ['Provides: plugin-api = 7'] },
  plugin: {
    name: 'plugin',
    version: '1',
    tags: ['Requires: plugin-lib >= 1:1.0', 'Requires: plugin-api = 7', 'Requires(pre): /usr/bin/ldd'],
  },
  tooOld: { name: 'too-old', version: '1', tags: ['Requires: plugin-lib >= 1:2.0', 'Requires: plugin-lib < 1.0'] },
  chicken: { name: 'chicken', version: '1', arch: 'noarch', tags: ['Requires: egg'] },
  egg: { name: 'egg', version: '1', arch: 'noarch', tags: ['Requires: chicken', 'Recommends: nobody'] },
  rich: {
    name: 'rich',
    version: '1',
    tags: [
      'Requires: (plugin-lib >= 1:1 if glibc)',
      'Requires: (nobody or (glibc >= 2 and libc.so.6()(64bit)))',
      'Requires: (nobody if nothing)',
      'Requires: (plugin-lib with plugin-api = 7)',
    ],
  },
  poor: {
    name: 'poor',
    version: '1',
    tags: ['Requires: (nobody and glibc)', 'Requires: (glibc if nothing else nobody)', 'Requires: (nobody or nothing)'],
  },
  filer: { name: 'filer', version: '1', tags: ['Requires: /srv/a&b', 'Requires: /usr/bin/ldd'] },
  fileless: { name: 'fileless', version: '1', tags: ['Requires: /srv/a', 'Requires: /usr/bin/nobody'] },
  based: { name: 'based', version: '1', tags: ['Requires: bash >= 4.2', 'Requires: libssl.so.10()(64bit)'] },
  arm: { name: 'arm', version: '1', arch: 'aarch64' },
  small: { name: 'small', version: '1', arch: 'i686' },
  unsigned: { name: 'unsigned', version: '1' },
  stranger: { name: 'stranger', version: '1' },
  double: { name: 'plugin', version: '1', seed: 'another' },
} as const satisfies Record<string, Recipe>;

type Package = keyof typeof RECIPES;

function makePackages() {
  const vendor = new PackageVendor();
  const files = {} as Record<Package, string>;
  const build = (names: readonly Package[], signing?: 'stranger' | 'nobody') => {
    const built = vendor.build(
      names.map((name) => RECIPES[name]),
      signing,
    );
    for (const [index, name] of names.entries()) files[name] = built[index] ?? '';
  };
  build((Object.keys(RECIPES) as Package[]).filter((name) => !['unsigned', 'stranger', 'double'].includes(name)));
  build(['double']);
  build(['unsigned'], 'nobody');
  build(['stranger'], 'stranger');
  return { vendor, files };
}

let made: ReturnType<typeof makePackages> | undefined;
function packages() {
  made ??= makePackages();
  return made;
}
after(() => made?.vendor[Symbol.dispose]());

const all = (...names: Package[]): string[] => names.map((name) => packages().files[name]);

const report = (conductor: Conductor, files: readonly string[], ...flags: string[]) =>
  conductor.json<ImportRpmReport>(...importRpmWords(files, ...flags));

/** What a refusal for want of dependencies says is missing. */
async function missing(conductor: Conductor, ...names: Package[]): Promise<string[]> {
  const { code, details } = await conductor.refuses(7, ...importRpmWords(all(...names)));
  assert.equal(code, 'rpm.unresolved');
  const unresolved = details?.unresolved as { package: string; requirement: string }[];
  return unresolved.map((each) => `${each.package}: ${each.requirement}`).sort();
}

test('folders and files come in together, once', TOOLS, async (t) => {
  const { vendor } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const folder = vendor.folder(all('glibc'));
  await mkdir(path.join(folder, 'deeper'));
  await writeFile(path.join(folder, 'deeper', 'UPPER.RPM'), await readFile(all('lib')[0] ?? ''));
  await writeFile(path.join(folder, 'notes.txt'), 'no package');
  await symlink(all('plugin')[0] ?? '', path.join(folder, 'link.rpm'));
  const files = [folder, ...all('plugin', 'chicken', 'egg'), ...all('egg')];
  const first = await report(conductor, files);
  assert.deepEqual(first.packages.map((each) => `${each.outcome} ${each.package}`).sort(), [
    'imported chicken-1-1.el7.noarch',
    'imported egg-1-1.el7.noarch',
    'imported glibc-2.17-1.el7.x86_64',
    'imported plugin-1-1.el7.x86_64',
    'imported plugin-lib-1:1.2-1.el7.x86_64',
  ]);
  assert.deepEqual(first.unresolved, []);
  assert.match(first.warnings.join(), /link\.rpm.*links are not followed/);
  assert.ok(first.packages.every(({ verification }) => verification.status === 'signature'));

  const again = await report(conductor, files);
  assert.equal(again.revision, first.revision, 'nothing changed');
  assert.ok(again.packages.every(({ outcome }) => outcome === 'present'));
  const { get } = await conductor.serve();
  for (const each of first.packages) assert.ok((await get(each.path)).body.equals(await readFile(each.file)));

  const more = await report(conductor, all('glibc', 'rich'));
  assert.deepEqual(
    more.packages.map(({ outcome }) => outcome),
    ['present', 'imported'],
  );
  assert.equal(more.revision, first.revision + 1);
});

test('what packages need is looked for in the call, in the repository and on the base system', TOOLS, async (t) => {
  const { vendor, files } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  await conductor.importRpm(all('glibc'));
  assert.deepEqual(await missing(conductor, 'plugin', 'chicken'), [
    'chicken-1-1.el7.noarch: egg',
    'plugin-1-1.el7.x86_64: plugin-api = 7',
    'plugin-1-1.el7.x86_64: plugin-lib >= 1:1.0',
  ]);
  await conductor.importRpm(all('plugin', 'lib', 'chicken', 'egg'));
  assert.deepEqual(await missing(conductor, 'tooOld'), [
    'too-old-1-1.el7.x86_64: plugin-lib < 1.0',
    'too-old-1-1.el7.x86_64: plugin-lib >= 1:2.0',
  ]);
  await conductor.importRpm(all('rich', 'filer'));
  assert.deepEqual(await missing(conductor, 'poor', 'fileless'), [
    'fileless-1-1.el7.x86_64: /srv/a',
    'fileless-1-1.el7.x86_64: /usr/bin/nobody',
    'poor-1-1.el7.x86_64: (glibc if nothing else nobody)',
    'poor-1-1.el7.x86_64: (nobody and glibc)',
    'poor-1-1.el7.x86_64: (nobody or nothing)',
  ]);
  assert.deepEqual(await missing(conductor, 'based'), [
    'based-1-1.el7.x86_64: bash >= 4.2',
    'based-1-1.el7.x86_64: libssl.so.10()(64bit)',
  ]);

  // What a router says of itself, where a vendor's key was imported.
  const [root, list] = [await tempDir(t), path.join(await tempDir(t), 'el7-provides.txt')];
  execFileSync('rpm', ['--root', root, '--import', vendor.keyFile]);
  const keys = execFileSync('rpm', ['--root', root, '-qa', '--provides'], { encoding: 'utf8' });
  assert.match(keys, /^gpg\(.* .*\) = /m);
  await writeFile(list, `${keys}bash = 4.1-9.el7\nlibssl.so.10()(64bit)\n`);
  await conductor.done('import', 'platform', list);
  assert.deepEqual(await missing(conductor, 'based'), ['based-1-1.el7.x86_64: bash >= 4.2']);
  await writeFile(list, `${keys}bash = 4.2.46-34.el7\nlibssl.so.10()(64bit)\n`);
  await conductor.done('import', 'platform', list);
  await conductor.importRpm(all('based'));

  const waived = await report(conductor, [files.fileless], '--allow-missing');
  assert.equal(waived.unresolved.length, 2);
  assert.match((await conductor.importRpm(all('fileless'), '--allow-missing')).stdout, /fileless.*here already/);
});

test('where the base system is not known, what cannot be found is told and let in', TOOLS, async (t) => {
  const { vendor } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const { unresolved, warnings } = await report(conductor, all('based', 'chicken'));
  assert.deepEqual(unresolved.map(({ requirement }) => requirement).sort(), [
    'bash >= 4.2',
    'egg',
    'libssl.so.10()(64bit)',
  ]);
  assert.match(warnings.join(), /import platform/);
  const list = path.join(await tempDir(t), 'el7.txt');
  await writeFile(list, 'bash = 5\n');
  await conductor.done('import', 'platform', list);
  assert.deepEqual(await missing(conductor, 'based', 'chicken'), [
    'based-1-1.el7.x86_64: libssl.so.10()(64bit)',
    'chicken-1-1.el7.noarch: egg',
  ]);
});

test('a list that no base system printed is refused', TOOLS, async (t) => {
  const conductor = await newConductor(t, packages().vendor.keyFile);
  const list = path.join(await tempDir(t), 'list.txt');
  for (const text of ['', '\n\n', 'bash = 5\nthis is prose\n', `bash = 5\n${'x'.repeat(70_000)}\n`, 'bash = \n']) {
    await writeFile(list, text);
    const { code } = await conductor.refuses(4, 'import', 'platform', list);
    assert.equal(code, 'platform.invalid', JSON.stringify(text.slice(0, 40)));
  }
});

test('packages for another architecture are refused unless they are wanted', TOOLS, async (t) => {
  const { vendor } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const { code, message } = await conductor.refuses(7, ...importRpmWords(all('arm', 'egg', 'chicken', 'small')));
  assert.equal(code, 'rpm.foreign-arch');
  assert.match(message, /1 of 4.*arm-1-1\.el7\.aarch64/);
  assert.equal((await report(conductor, all('egg', 'chicken', 'small'))).packages.length, 3);
  assert.match((await conductor.importRpm(all('arm'), '--allow-foreign-arch')).stdout, /another architecture/);
  await conductor.done('import', 'rpm', 'distribution', 'el9', 'architecture', 'aarch64', 'filepath', ...all('arm'));
});

test('the header says what a package is, whatever its file is called', TOOLS, async (t) => {
  const { vendor, files } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const other = path.join(vendor.folder([]), 'other-9-9.el7.x86_64.rpm');
  await copyFile(files.lib, other);
  const { packages: imported, warnings } = await report(conductor, [other, files.glibc]);
  assert.ok(imported.some((each) => each.path === 'Packages/p/epoch-1/plugin-lib-1.2-1.el7.x86_64.rpm'));
  assert.match(warnings.join(), /other-9-9\.el7\.x86_64\.rpm.*plugin-lib-1\.2-1\.el7\.x86_64/);
  assert.doesNotMatch(warnings.join(), /glibc/);
  const iso = vendor.iso(PACKAGE_ISO, [other]);
  const { stdout } = await conductor.importIso(iso);
  assert.match(stdout, /other-9-9\.el7\.x86_64\.rpm.*plugin-lib-1\.2-1\.el7\.x86_64/);
});

test('what only weak digests cover comes in where somebody says so', TOOLS, async (t) => {
  const { vendor } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const file = path.join(vendor.folder([]), 'weak-1-1.noarch.rpm');
  await writeFile(file, buildRpm({ name: 'weak', version: '1', ...OLD_DIGESTS }).file);
  const words = importRpmWords([file], 'check-rpm-signature', 'allow-unsigned');
  assert.equal((await conductor.refuses(4, ...words)).code, 'signature.weak-digest');
  const { packages: imported } = await report(
    conductor,
    [file],
    ...['check-rpm-signature', 'allow-unsigned', '--accept-weak-digests'],
  );
  assert.match(JSON.stringify(imported[0]?.verification), /weak/);
});

test('all that is wrong is told at once, and nothing is imported', TOOLS, async (t) => {
  const { vendor, files } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  await conductor.importRpm(all('glibc'));
  const folder = vendor.folder(all('unsigned', 'stranger', 'egg', 'chicken'));
  await writeFile(path.join(folder, 'garbage.rpm'), Buffer.alloc(5000, 'garbage'));
  await writeFile(path.join(folder, 'nothing.rpm'), '');
  await writeFile(path.join(folder, 'page.rpm'), '<!doctype html><title>Log in</title>');
  const bytes = await readFile(files.plugin);
  await writeFile(path.join(folder, 'cut.rpm'), bytes.subarray(0, -10));
  bytes[bytes.length - 20] = (bytes.at(-20) ?? 0) ^ 1;
  await writeFile(path.join(folder, 'flipped.rpm'), bytes);
  const { message } = await conductor.refuses(4, ...importRpmWords([folder]));
  assert.match(message, /7 of 9/);
  for (const name of ['unsigned-1', 'stranger-1', 'garbage', 'nothing', 'page', 'cut', 'flipped'])
    assert.match(message, new RegExp(`${name}.*\\.rpm`), message);
  assert.doesNotMatch(message, /egg|chicken/);

  // Under any policy damage is damage.
  for (const policy of ['allow-unsigned', 'disabled']) {
    const flipped = importRpmWords([path.join(folder, 'flipped.rpm')], 'check-rpm-signature', policy);
    assert.match((await conductor.refuses(4, ...flipped)).message, /flipped\.rpm/);
  }
  await conductor.refuses(7, ...importRpmWords(all('plugin', 'double', 'lib')));
  await conductor.importRpm(all('plugin', 'lib'));
  const { code } = await conductor.refuses(7, ...importRpmWords(all('double')));
  assert.equal(code, 'path.conflict');
});

test('what is not there, or not said, is told', TOOLS, async (t) => {
  const { vendor, files } = packages();
  const conductor = await newConductor(t, vendor.keyFile);
  const empty = await tempDir(t);
  await conductor.refuses(3, ...importRpmWords([empty]));
  await conductor.refuses(3, ...importRpmWords([files.egg, path.join(empty, 'none.rpm')]));
  await conductor.refuses(2, 'import', 'rpm', 'distribution', 'el7', 'filepath', files.egg);
  await conductor.refuses(2, 'import', 'rpm', 'distribution', '../x', 'architecture', 'x86_64', 'filepath', files.egg);
  await conductor.refuses(2, ...importRpmWords([files.egg], 'check-rpm-signature', 'perhaps'));
});
