/** Routers that install from a mirrored repository: dnf, with all checks on. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { airlock } from '../../support/cli.ts';
import { router, signedScene, TOOLS } from './signed-scene.ts';

test('from the vendor’s own metadata, signed by the vendor, and from the next state of it', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0', tags: ['Requires: tool-lib'] }, { name: 'tool-lib', version: '1.0' });
  made.release();
  const report = await made.sync();
  assert.deepEqual([report.failures, report.warnings], [[], []]);
  const entries = await made.published();
  assert.equal(entries.get('repodata/repomd.xml')?.artifact.verification.status, 'signature');
  assert.equal(entries.get('Packages/tool-1.0-1.el7.x86_64.rpm')?.artifact.verification.status, 'signature');
  assert.deepEqual(await made.bytes('repodata/repomd.xml.asc'), made.repository.read('repodata/repomd.xml.asc'));

  const { dnf } = await router(t, made);
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool'), '1.0-1.el7');
  assert.equal(await dnf.installed('tool-lib'), '1.0-1.el7');

  made.build({ name: 'tool', version: '1.1', tags: ['Requires: tool-lib'] });
  made.release();
  assert.deepEqual((await made.sync()).added, ['tools/Packages/tool-1.1-1.el7.x86_64.rpm']);
  await dnf.run('upgrade');
  assert.equal(await dnf.installed('tool'), '1.1-1.el7');
});

test('from metadata of our own, where older packages were left out', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0' }, { name: 'tool-lib', version: '1.0' }, { name: 'other', version: '1.0' });
  made.build({ name: 'tool', version: '1.1', tags: ['Requires: tool-lib'] });
  made.release();
  const report = await made.sync({ newest: 1, include: ['tool'] });
  assert.deepEqual([report.failures, report.added.length], [[], 2]);
  const { dnf } = await router(t, made);
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool'), '1.1-1.el7');
  assert.equal(await dnf.installed('tool-lib'), '1.0-1.el7');
  await assert.rejects(dnf.run('install', 'other'), /Unable to find a match: other/);
});

test('whose key is pinned here, though the upstream names none', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0' });
  made.release();
  const upstream = `url: ${made.origin.url}, mirror: [{ kind: rpm, path: el9, repository: tools }]`;
  writeFileSync(path.join(made.data, 'airlock.yaml'), `upstreams: { vendor: { ${upstream} } }`);
  const sync = async () => (await airlock(['--data', made.data, 'upstream', 'sync', 'vendor'])).stdout;
  assert.match(await sync(), /warning: The signature over .*repomd\.xml was not checked, .*trust vendor-key add/);

  const key = path.join(made.dir, 'vendor.asc');
  writeFileSync(key, made.gpg.export(made.key));
  const pinned = await airlock(['--data', made.data, 'trust', 'vendor-key', 'add', key, '--fingerprint', made.key]);
  assert.equal(pinned.code, 0, pinned.stderr);
  assert.doesNotMatch(await sync(), /not checked/);
  assert.equal((await made.published()).get('repodata/repomd.xml')?.artifact.verification.status, 'signature');
  const { dnf } = await router(t, made);
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool'), '1.0-1.el7');
});

test('from a repository that nobody signed, with our signature over the same bytes', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0' });
  made.repository.describe();
  made.repository.publish(made.origin);
  const report = await made.sync();
  assert.deepEqual(report.failures, []);
  assert.match(report.warnings.join(), /repomd\.xml\.asc is not there/);
  assert.deepEqual(await made.bytes('repodata/repomd.xml'), made.repository.read('repodata/repomd.xml'));
  const { dnf } = await router(t, made);
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool'), '1.0-1.el7');
});

test('the signature over the metadata is checked, and may not go away', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0' });
  made.release();
  assert.deepEqual((await made.sync()).failures, []);
  const good = made.repository.read('repodata/repomd.xml.asc');
  const refused = async (code: string) => {
    assert.deepEqual(
      (await made.sync()).failures.map((failure) => failure.code),
      [code],
    );
    assert.equal(await made.revision(), 1);
  };
  made.build({ name: 'tool', version: '1.1' });
  made.repository.describe();
  rmSync(path.join(made.repository.dir, 'repodata/repomd.xml.asc'));
  made.repository.publish(made.origin);
  await refused('signature.missing');
  const stranger = made.gpg.makeKey('stranger', 'rsa2048');
  const repomd = made.repository.read('repodata/repomd.xml');
  made.origin.files.set('/el9/repodata/repomd.xml.asc', { bytes: made.gpg.sign([stranger], repomd, ['--armor']) });
  await refused('signature.unknown-key');

  // the new list and the signature of the old one, for a moment: as the site replaces one after the other
  const signature = made.gpg.sign([made.key], repomd, ['--armor']);
  let asked = 0;
  made.origin.files.set('/el9/repodata/repomd.xml.asc', (_request, response) => {
    asked += 1;
    response.end(asked === 1 ? good : signature);
  });
  assert.deepEqual((await made.sync()).failures, []);
  assert.equal(asked, 2);
  assert.equal(await made.revision(), 2);
});

test('packages that nobody signed come in only where the signed metadata vouches for them', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.repository.add({ name: 'unsigned', version: '1.0' });
  made.repository.describe();
  made.repository.publish(made.origin);
  const { failures } = await made.sync();
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['signature.missing'],
  );
  assert.equal(await made.revision(), 0);
  made.release();
  assert.deepEqual((await made.sync()).failures, []);
  const [entry] = [...(await made.published()).values()].filter(({ artifact }) => artifact.kind === 'rpm');
  assert.equal(entry?.artifact.verification.status, 'checksum');
});

test('over the gap, as the vendor signed it', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0' });
  made.release();
  assert.deepEqual((await made.sync()).failures, []);
  const site = path.join(made.dir, 'far');
  const [root, bundle] = [path.join(made.dir, 'root.json'), path.join(made.dir, 'bundle')];
  mkdirSync(bundle);
  const done = async (data: string, ...args: string[]) => {
    const { code, stdout, stderr } = await airlock(['--data', data, ...args]);
    assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`);
  };
  await done(made.data, 'keys', 'init');
  await done(made.data, 'keys', 'export-root', root);
  await done(site, 'trust', 'add', root, '--site', 'north');
  await done(made.data, 'export', '--site', 'north', '--to', bundle);
  await done(site, 'import', 'bundle', bundle);
  const { dnf, url } = await router(t, { ...made, data: site });
  const served = async (name: string) => Buffer.from(await (await fetch(`${url}${name}`)).arrayBuffer());
  for (const name of ['repodata/repomd.xml', 'repodata/repomd.xml.asc']) {
    assert.deepEqual(await served(name), made.repository.read(name));
  }
  await dnf.run('install', 'tool');
  assert.equal(await dnf.installed('tool'), '1.0-1.el7');

  // from now on without the oldest, and so in metadata of our own
  made.build({ name: 'tool', version: '1.1' });
  made.release();
  assert.deepEqual((await made.sync({ newest: 1 })).failures, []);
  const next = path.join(made.dir, 'next');
  mkdirSync(next);
  await done(made.data, 'export', '--site', 'north', '--to', next);
  await done(site, 'import', 'bundle', next);
  await dnf.run('upgrade');
  assert.equal(await dnf.installed('tool'), '1.1-1.el7');
});

test('nothing else comes into a repository with a vendor’s own metadata', TOOLS, async (t) => {
  const made = await signedScene(t);
  made.build({ name: 'tool', version: '1.0' });
  made.release();
  const repository = 'ssr-el7-x86_64';
  assert.deepEqual((await made.sync({ repository })).failures, []);
  const file = path.join(made.repository.dir, 'Packages', 'tool-1.0-1.el7.x86_64.rpm');
  const words = ['import', 'rpm', 'check-rpm-signature', 'disabled', 'distribution', 'el7', 'architecture', 'x86_64'];
  const { code, stderr } = await airlock(['--data', made.data, ...words, 'filepath', file]);
  assert.equal(code, 7);
  assert.match(stderr, /mirrors a vendor's repository/);
  assert.equal(await made.revision(repository), 1);
});
