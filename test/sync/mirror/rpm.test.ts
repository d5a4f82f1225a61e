/** A dnf repository of a vendor becomes one of ours. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { needs } from '../../support/needs.ts';
import { Repository, scene, withZstd } from './rpm-scene.ts';

const TOOLS = needs('createrepo_c');
const GROUPS = '<comps><group><id>tools</id><name>Tools</name><packagelist/></group></comps>';

test('of all kinds of compression, every byte of metadata is passed on', TOOLS, async (t) => {
  const { dir, origin, sync, published, bytes } = await scene(t);
  for (const type of ['gz', 'zstd', 'xz', 'bz2']) {
    const own = type === 'zstd' ? 'gz' : type;
    const repository = new Repository(path.join(dir, type), `--compress-type=${own}`, `--general-compress-type=${own}`);
    repository.add({ name: 'alpha', version: '1.0' }, { name: 'beta', version: '2.0', files: ['/usr/bin/beta'] });
    repository.describe();
    repository.write('comps.xml', GROUPS);
    repository.modify('group', path.join(repository.dir, 'comps.xml'), `--compress-type=${own}`);
    if (type === 'zstd') withZstd(repository);
    repository.publish(origin, type);
    const report = await sync({ path: type, repository: `tools-${type}` });
    assert.deepEqual(report.failures, [], type);
    assert.equal(report.added.length, 2, type);
    const entries = await published(`tools-${type}`);
    for (const name of repository.files()) {
      if (name === 'comps.xml') continue;
      assert.ok(entries.has(name), `${type}: ${name}`);
      assert.deepEqual(await bytes(name, `tools-${type}`), repository.read(name), `${type}: ${name}`);
    }
    assert.equal(entries.get('repodata/repomd.xml')?.artifact.verification.status, 'unverified');
    assert.equal(entries.get('Packages/alpha-1.0-1.el9.x86_64.rpm')?.artifact.kind, 'rpm');
  }
});

test('an unchanged repository costs one conditional request, a changed one what is new', TOOLS, async (t) => {
  const { dir, origin, sync, published, revision } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  repository.add({ name: 'alpha', version: '1.0' }, { name: 'beta', version: '1.0' });
  repository.describe();
  repository.publish(origin);
  await sync();
  assert.equal(await revision(), 1);
  const again = await sync();
  assert.deepEqual([again.requests, again.bytes, again.added, again.failures], [1, 0, [], []]);
  assert.equal(await revision(), 1);

  repository.add({ name: 'alpha', version: '1.1' });
  repository.describe();
  repository.publish(origin);
  origin.asked.length = 0;
  const more = await sync();
  assert.deepEqual(more.added, ['tools/Packages/alpha-1.1-1.el9.x86_64.rpm']);
  assert.equal(origin.asked.filter(({ url }) => url.endsWith('.rpm')).length, 1);
  assert.equal(await revision(), 2);
  assert.ok((await published()).has('Packages/alpha-1.0-1.el9.x86_64.rpm'));
});

test('what did not come leaves all as it is, and is all that is fetched next time', TOOLS, async (t) => {
  const { dir, origin, sync, revision } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  for (let index = 0; index < 5; index += 1) repository.add({ name: `tool-${index}`, version: '1.0' });
  repository.describe();
  repository.publish(origin);
  const lost = '/el9/Packages/tool-3-1.0-1.el9.x86_64.rpm';
  const held = origin.files.get(lost);
  assert.ok(held);
  origin.files.set(lost, { bytes: Buffer.from('<html>Please log in</html>') });
  const first = await sync();
  assert.deepEqual(
    first.failures.map(({ path, code }) => [path, code]),
    [[lost.slice(1), 'checksum.mismatch']],
  );
  assert.match(first.warnings.join(), /was not changed/);
  assert.equal(await revision(), 0);

  origin.files.set(lost, held);
  origin.asked.length = 0;
  const second = await sync();
  assert.deepEqual(second.failures, []);
  assert.equal(second.added.length, 5);
  assert.deepEqual(
    origin.asked.map(({ url }) => url).filter((url) => url.endsWith('.rpm')),
    [lost],
  );
  assert.equal(await revision(), 1);
});

test('a site that shows a login page, or nothing at all, takes nothing away', TOOLS, async (t) => {
  const { dir, origin, sync, published, revision } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  repository.add({ name: 'alpha', version: '1.0' });
  repository.describe();
  repository.publish(origin);
  await sync();
  const before = await published();

  origin.files.set('/el9/repodata/repomd.xml', { bytes: Buffer.from('<html><body>Log in</body></html>') });
  assert.deepEqual(
    (await sync()).failures.map(({ code }) => code),
    ['repodata.invalid'],
  );
  origin.files.delete('/el9/repodata/repomd.xml');
  assert.deepEqual(
    (await sync()).failures.map(({ code }) => code),
    ['path.not-found'],
  );
  const empty = new Repository(path.join(dir, 'empty'));
  empty.describe();
  empty.publish(origin);
  assert.deepEqual(
    (await sync()).failures.map(({ code }) => code),
    ['upstream.unusable'],
  );
  assert.deepEqual(await published(), before);
  assert.equal(await revision(), 1);
});

test('the newest of each package, with what these require, in metadata of our own', TOOLS, async (t) => {
  const { dir, origin, sync, published, bytes } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  repository.add(
    ...['1.0', '1.1', '1.2'].map((version) => ({ name: 'alpha', version, requires: ['needed', '/usr/bin/gamma'] })),
    { name: 'beta', version: '1.0', provides: ['needed'] },
    { name: 'gamma', version: '1.0', files: ['/usr/bin/gamma'] },
    { name: 'delta', version: '1.0' },
    { name: 'alpha-debug', version: '1.0' },
  );
  repository.describe();
  repository.write('comps.xml', GROUPS);
  repository.modify('group', path.join(repository.dir, 'comps.xml'));
  repository.publish(origin);
  const report = await sync({ newest: 1, include: ['alpha*'], exclude: ['*-debug'] });
  assert.deepEqual(report.failures, []);
  const packages = [...(await published()).values()].filter(({ artifact }) => artifact.kind === 'rpm');
  const names = packages.map(({ artifact }) => artifact.name);
  assert.deepEqual(names.sort(), [
    'alpha-1.2-1.el9.x86_64.rpm',
    'beta-1.0-1.el9.x86_64.rpm',
    'gamma-1.0-1.el9.x86_64.rpm',
  ]);
  const repomd = (await bytes('repodata/repomd.xml')).toString();
  assert.match(repomd, /<data type="group/);
  assert.match((await bytes('repodata/repomd.xml.asc')).toString(), /BEGIN PGP SIGNATURE/);
  assert.deepEqual((await sync({ newest: 1, include: ['alpha*'], exclude: ['*-debug'] })).requests, 1);

  // and back to all of them, in the vendor's own words
  const whole = await sync();
  assert.deepEqual(whole.failures, []);
  assert.deepEqual(await bytes('repodata/repomd.xml'), repository.read('repodata/repomd.xml'));
  const paths = [...(await published()).keys()].filter((name) => name.endsWith('.rpm'));
  assert.deepEqual(
    paths.sort(),
    repository
      .files()
      .filter((name) => name.endsWith('.rpm'))
      .sort(),
  );
  // and again in ours
  const filtered = await sync({ exclude: ['delta'] });
  assert.deepEqual(filtered.failures, []);
  assert.equal([...(await published()).keys()].filter((name) => name.endsWith('.rpm')).length, 6);
  assert.equal([...(await published()).keys()].filter((name) => name.startsWith('repodata/')).length, 6);
});

test('a dry run tells what would come, and brings nothing', TOOLS, async (t) => {
  const { dir, origin, sync, app, revision } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  repository.add({ name: 'alpha', version: '1.0' });
  repository.describe();
  repository.publish(origin);
  const told: { files: number; bytes: number }[] = [];
  const announce = async (forecast: { files: number; bytes: number }) => void told.push(forecast);
  const report = await sync({}, { dryRun: true, announce });
  assert.deepEqual(report.added, ['tools/Packages/alpha-1.0-1.el9.x86_64.rpm']);
  assert.deepEqual(told, [{ files: 1, bytes: repository.read('Packages/alpha-1.0-1.el9.x86_64.rpm').length }]);
  assert.equal(await revision(), 0);
  assert.equal(origin.asked.filter(({ url }) => url.endsWith('.rpm')).length, 0);
  for await (const { digest } of app.blobs.list()) assert.fail(`${digest} was left`);
});

test('a store that refuses what it has not got is no reason to stop', TOOLS, async (t) => {
  const { dir, origin, sync } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  repository.add({ name: 'alpha', version: '1.0' });
  repository.describe();
  repository.publish(origin);
  origin.files.set('/el9/repodata/repomd.xml.asc', (_request, response) => response.writeHead(403).end());
  assert.deepEqual((await sync()).failures, []);
});

test('who interrupts gets nothing published, and what had come is not fetched again', TOOLS, async (t) => {
  const { dir, origin, sync, revision } = await scene(t);
  const repository = new Repository(path.join(dir, 'site'));
  for (let index = 0; index < 40; index += 1) repository.add({ name: `tool-${index}`, version: '1.0' });
  repository.describe();
  repository.publish(origin);
  const last = '/el9/Packages/tool-9-1.0-1.el9.x86_64.rpm';
  const held = origin.files.get(last);
  assert.ok(held);
  const stop = new AbortController();
  origin.files.set(last, () => setTimeout(() => stop.abort(), 300));
  await assert.rejects(sync({}, { signal: stop.signal }), { code: 'interrupted' });
  assert.equal(await revision(), 0);
  origin.files.set(last, held);
  origin.asked.length = 0;
  assert.deepEqual((await sync()).failures, []);
  assert.ok(origin.asked.filter(({ url }) => url.endsWith('.rpm')).length < 20);
  assert.equal(await revision(), 1);
});
