/** Two data directories that share nothing but a folder: releases go over, and routers at the far side install them. */
import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { OLDER_PACKAGE_ISO, PACKAGE_ISO } from '../media/vendor-site.ts';
import { airlock } from '../support/cli.ts';
import { type Conductor, newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { needsSshServer, startSshServer } from '../support/ssh-server.ts';
import { tempDir } from '../support/temp-dir.ts';

interface Exported {
  readonly bytes: {
    readonly whole: number;
    readonly deltas: number;
    readonly made: number;
    readonly held: number;
    readonly slices: number;
    readonly medium: number;
    readonly site: number;
  };
  readonly media: number;
  readonly free: number | null;
}

test('6.2.5 and then 6.2.6 are carried over, and dnf installs them', needs(...PACKAGE_TOOLS, ...DNF), async (t) => {
  using vendor = new PackageVendor();
  const release = (version: string, build: string) => [
    { name: '128T', version, release: build, kilobytes: 200, tags: ['Requires: glibc'] },
  ];
  const [glibc = '', old = '', next = ''] = vendor.build([
    { name: 'glibc', version: '2.17', kilobytes: 300 },
    ...release('6.2.5', '5.r2.el7'),
    ...release('6.2.6', '15.sts.el7'),
  ]);
  const [older, newer] = [vendor.iso(OLDER_PACKAGE_ISO, [glibc, old]), vendor.iso(PACKAGE_ISO, [glibc, next])];
  const dir = await tempDir(t);
  const folder = async (name: string) => {
    await mkdir(path.join(dir, name));
    return path.join(dir, name);
  };
  const station = await newConductor(t, vendor.keyFile);
  const site = await newConductor(t); // it has no vendor keys
  await introduce(station, site, dir);

  await station.importIso(older);
  const first = await folder('first');
  const sent = await station.json<Exported>('export', '--site', 'north', '--to', first);
  assert.ok(sent.bytes.slices > 500_000, 'packages travel in their image, not a second time');
  await site.done('bundle', 'inspect', first);
  await site.done('bundle', 'verify', first);
  await site.done('import', 'bundle', first, '--report', path.join(dir, 'report.html'));
  const served = await site.serve();
  const repoFile = await served.get(`${RPM_REPOSITORY}.repo`);
  const dnf = await Dnf.with(t, repoFile.body.toString());
  await dnf.run('install', '128T');
  assert.equal(await dnf.installed('128T'), '6.2.5-5.r2.el7');

  const back = await folder('back');
  await site.done('receipt', 'write', '--to', back);
  const [receipt = ''] = await readdir(back);
  await station.done('receipt', 'accept', path.join(back, receipt));
  await station.importIso(newer);
  const second = await folder('second');
  const planned = await station.json<Exported>('export', '--site', 'north', '--to', second, '--dry-run');
  assert.deepEqual(await readdir(second), []);
  assert.ok(planned.free !== null && planned.media === 1 && planned.bytes.site > planned.bytes.made);
  const delta = await station.json<Exported>('export', '--site', 'north', '--to', second);
  assert.deepEqual(delta.bytes, planned.bytes);
  // What both images have in common is not carried again: the new one is made from the old one and one new package.
  t.diagnostic(`${delta.bytes.deltas} bytes of deltas for ${delta.bytes.made}; ${delta.bytes.whole} whole`);
  assert.ok(delta.bytes.held > 500_000 && delta.bytes.made > 500_000);
  assert.ok(delta.bytes.deltas < delta.bytes.made * 0.6, `${delta.bytes.deltas} of ${delta.bytes.made}`);
  const { blobs } = await site.json<{ blobs: { made: number } }>('import', 'bundle', second);
  assert.equal(blobs.made, 1);
  await dnf.run('upgrade');
  assert.equal(await dnf.installed('128T'), '6.2.6-15.sts.el7');

  await station.done('keys', 'rotate', '--offline');
  await station.done('import', 'file', '--repository', 'tools', '--path', 'x.txt', path.join(back, receipt));
  const third = await folder('third');
  await station.done('export', '--site', 'north', '--to', third);
  await site.done('import', 'bundle', third);
  await site.refuses(4, 'import', 'bundle', first);
  await site.refuses(4, 'import', 'bundle', second);
  const url = served.base.replace(`${RPM_REPOSITORY}/`, 'tools/x.txt');
  assert.equal((await fetch(url)).status, 200);
});

test('what is asked for wrongly is said to be, with its exit code', async (t) => {
  const dir = await tempDir(t);
  const run = async (...args: string[]) => (await airlock(['--data', path.join(dir, 'data'), ...args])).code;
  assert.equal(await run('keys', 'show'), 3);
  assert.equal(await run('export', '--site', 'north', '--to', dir), 3);
  assert.equal(await run('export', '--site', 'North!', '--to', dir), 2);
  assert.equal(await run('export', '--site', 'north', '--to', path.join(dir, 'none')), 3);
  assert.equal(await run('export', '--site', 'north', '--to', dir, '--medium', 'floppy'), 2);
  assert.equal(await run('export', '--site', 'north', '--to', dir, '--resume'), 3);
  assert.equal(await run('import', 'bundle', dir), 3);
  assert.equal(await run('bundle', 'inspect', path.join(dir, 'none')), 3);
  assert.equal(await run('trust', 'show'), 4);
  assert.equal(await run('receipt', 'write', '--to', dir), 2);
  assert.equal(await run('receipt', 'accept', path.join(dir, 'none')), 3);
});

async function introduce(station: Conductor, site: Conductor, dir: string): Promise<void> {
  const root = path.join(dir, 'root.json');
  const { fingerprint } = await station.json<{ fingerprint: string }>('keys', 'init');
  await station.done('keys', 'export-root', root);
  const trusted = await site.json<{ rootFingerprint: string }>('trust', 'add', root, '--site', 'north');
  assert.equal(trusted.rootFingerprint, fingerprint);
}

test('a bundle travels by SFTP', needsSshServer(), async (t) => {
  const server = await startSshServer();
  t.after(() => server.stop());
  const dir = await tempDir(t);
  const [station, site] = [await newConductor(t), await newConductor(t)];
  await introduce(station, site, dir);
  await station.done('import', 'file', '--repository', 'tools', '--path', 'x.txt', path.join(dir, 'root.json'));
  await mkdir(path.join(server.dir, 'drop'));
  const url = server.url(path.join(server.dir, 'drop'));
  const login = ['--identity', server.identity];
  await station.refuses(2, 'export', '--site', 'north', '--to', url, ...login); // nothing says which key the host has
  const known = [...login, '--host-key', server.fingerprints[0] ?? ''];
  await station.done('export', '--site', 'north', '--to', url, ...known);
  await site.done('import', 'bundle', url, '--known-hosts', server.knownHosts(), ...login);
  const { entries } = await site.json<{ entries: { path: string }[] }>('repo', 'show', 'tools');
  assert.deepEqual(
    entries.map((entry) => entry.path),
    ['x.txt'],
  );
});
