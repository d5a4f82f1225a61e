/** Images with packages that go: what stays of the packages, where their bytes lie, and what is told. */
import assert from 'node:assert/strict';
import { readFile, rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { DeletedVersion } from '../../src/repo/upkeep/delete-version.ts';
import type { PruneReport } from '../../src/repo/upkeep/prune.ts';
import type { VerifyReport } from '../../src/repo/upkeep/verify.ts';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { type Conductor, newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { needs } from '../support/needs.ts';

const TOOLS = needs(...PACKAGE_TOOLS);

function makePackages() {
  const vendor = new PackageVendor();
  const [base = '', first = '', second = ''] = vendor.build([
    { name: 'glibc', version: '2.17', kilobytes: 300 },
    { name: '128T', version: '6.2.5', release: '5.r2.el7' },
    { name: '128T', version: '6.2.6', release: '15.sts.el7' },
  ]);
  const older = vendor.iso(OLDER_PACKAGE_ISO, [base, first]);
  const newer = vendor.iso(PACKAGE_ISO, [base, second]);
  return { vendor, base, first, second, older, newer };
}

let made: ReturnType<typeof makePackages> | undefined;
function packages() {
  made ??= makePackages();
  return made;
}
after(() => made?.vendor[Symbol.dispose]());

const DELETE = ['delete', 'system', 'software', 'version'];

async function names(conductor: Conductor): Promise<string[]> {
  const { entries } = await conductor.show();
  return entries.filter(({ kind }) => kind === 'rpm').map((entry) => path.basename(entry.path));
}

/** Asserts that every published package is served with the bytes of its file, and that metadata names these packages. */
async function assertServed(conductor: Conductor, files: string[]) {
  const served = await conductor.serve();
  const { entries } = await conductor.show();
  const published = entries.filter(({ kind }) => kind === 'rpm');
  assert.deepEqual(
    published.map((entry) => path.basename(entry.path)).sort(),
    files.map((file) => path.basename(file)).sort(),
  );
  for (const file of files) {
    const entry = published.find((each) => each.path.endsWith(path.basename(file)));
    const { status, body } = await served.get(entry?.path ?? '');
    assert.equal(status, 200);
    assert.ok(body.equals(await readFile(file)), file);
  }
  const repomd = (await served.get('repodata/repomd.xml')).body.toString();
  const primary = /href="(repodata\/[0-9a-f]+-primary\.xml\.gz)"/.exec(repomd)?.[1] ?? '';
  const response = await served.get(primary);
  const named = [
    ...gunzipSync(response.body)
      .toString()
      .matchAll(/<location href="([^"]+)"/g),
  ].map(([, href = '']) => href);
  assert.deepEqual(named.sort(), published.map((entry) => entry.path).sort());
  await served.server.stop();
}

test('a release goes with the packages that only it brought', TOOLS, async (t) => {
  const { vendor, base, second, older, newer } = packages();
  const conductor = await newConductor(t, vendor.keyFile, [older, newer]);
  const told = await conductor.done(...DELETE, '6.2.5');
  assert.match(told.stdout, /1 packages of ssr-el7-x86_64; 1 that something else brought, too, stay/);
  assert.deepEqual((await names(conductor)).sort(), [path.basename(base), path.basename(second)].sort());
  const pruned = await conductor.json<PruneReport>('prune', '--grace', '0');
  assert.ok(pruned.bytes > 300 * 1024);
  await assertServed(conductor, [base, second]);
  assert.equal((await conductor.refuses(3, 'repo', 'publish', RPM_REPOSITORY, '1')).code, 'revision.incomplete');
  await conductor.done('verify');
  await conductor.done('doctor');
});

test('what was deleted can be published again during the grace period', TOOLS, async (t) => {
  const { vendor, base, first, older } = packages();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  await conductor.done(...DELETE, '6.2.5');
  assert.deepEqual(await names(conductor), []);
  await assertServed(conductor, []);
  await conductor.done('repo', 'publish', RPM_REPOSITORY, '1');
  await conductor.done('prune', '--grace', '0');
  await assertServed(conductor, [base, first]);
});

test('packages that were also imported by themselves get files of their own', TOOLS, async (t) => {
  const { vendor, base, first, older } = packages();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const before = await conductor.blobs();
  await conductor.importRpm([base]);
  const image = [...before.values()].reduce((most, size) => Math.max(most, size), 0);
  const added = [...(await conductor.blobs())].filter(([name]) => !before.has(name));
  assert.ok(
    added.every(([, size]) => size < 100_000),
    'no second copy',
  );
  const deleted = await conductor.json<DeletedVersion>(...DELETE, '6.2.5', '--force');
  assert.deepEqual(
    deleted.packages.map(({ removed, kept }) => [removed.map((each) => path.basename(each)), kept]),
    [[[path.basename(first)], 1]],
  );
  const told = await conductor.done('prune', '--grace', '0');
  assert.match(told.stdout, /1 packages of deleted images are still needed and got files of their own/);
  assert.ok(![...(await conductor.blobs()).values()].includes(image), 'the image is gone');
  await assertServed(conductor, [base]);
  await conductor.done('verify');
  assert.match((await conductor.done('prune', '--grace', '0')).stdout, /Freed 0 B/);
  await conductor.done('doctor', '--rebuild-catalog');
  await assertServed(conductor, [base]);
});

test('an image that rots takes its packages down, but for those that another one has', TOOLS, async (t) => {
  const { vendor, base, second, older, newer } = packages();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const before = await conductor.blobs();
  await conductor.importIso(newer);
  const image = [...before].find(([, size]) => size > 300 * 1024)?.[0] ?? '';
  await rm(image);
  const found = await conductor.run('verify');
  assert.equal(found.code, 4);
  assert.match(found.stdout, /images\/6\.2\/128T-6\.2\.5.*is missing/);
  assert.match(found.stdout, /Packages\/1\/128T-6\.2\.5.*is missing/);
  assert.doesNotMatch(found.stdout, /Packages\/g\/glibc/);
  const repaired = await conductor.run('--json', 'verify', '--repair');
  const report = JSON.parse(repaired.stdout) as VerifyReport;
  assert.ok(report.withdrawn.some((each) => each.includes('Packages/1/128T-6.2.5')));
  await assertServed(conductor, [base, second]);
  await conductor.importIso(older);
  assert.equal((await names(conductor)).length, 3);
  await conductor.done('verify');
});

test('metadata that is lost is written again', TOOLS, async (t) => {
  const { vendor, base, first, older } = packages();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const { entries } = await conductor.show();
  const primary = entries.find((entry) => entry.path.includes('-primary.xml'));
  const file =
    [...(await conductor.blobs()).keys()].find((name) => name.endsWith(primary?.digest.slice(7) ?? '')) ?? '';
  await rm(file);
  assert.equal((await conductor.run('verify', '--repair')).code, 4);
  await conductor.done('verify');
  await assertServed(conductor, [base, first]);
});

test('a package in an image that was cut is not served', TOOLS, async (t) => {
  const { vendor, older } = packages();
  const conductor = await newConductor(t, vendor.keyFile, [older]);
  const image = [...(await conductor.blobs())].find(([, size]) => size > 300 * 1024)?.[0] ?? '';
  await truncate(image, 1000);
  const served = await conductor.serve();
  const { entries } = await conductor.show();
  for (const { path: at } of entries.filter(({ kind }) => kind === 'rpm')) {
    const { status } = await served.get(at);
    assert.ok(status >= 500, `${at}: ${status}`);
  }
});
