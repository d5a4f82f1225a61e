/** Every way to slip something in, or to bring something old: refused, and nothing has landed. */
import assert from 'node:assert/strict';
import { cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/errors.ts';
import { EXIT } from '../../src/errors.ts';
import { digestOfBytes } from '../../src/repo/blobs/digest-of.ts';
import { revoke } from '../../src/sync/trust/published-revocations.ts';
import { bundleIn, coded, copyOf, flip, openPlace, type Place, refusedWith, scene, sendReceipt } from './scene.ts';

/** The import fails so, with exit code 4, and the site is as it was. */
async function refused(site: Place, dir: string, ...codes: ErrorCode[]): Promise<void> {
  await refusedWith(site, dir, EXIT.unverified, ...codes);
}

test('attack: one byte changed, in any signed file', async (t) => {
  const { station, site, stick, dir } = await scene(t);
  await station.export(stick);
  const bundle = await bundleIn(stick);
  const names = (await readdir(path.join(bundle, 'metadata'))).map((name) => `metadata/${name}`);
  for (const name of [...names, 'manifest.json', 'revocations.json']) {
    if (name.endsWith('1.root.json')) continue; // the site has its own
    const copy = await copyOf(bundle, path.join(dir, 'copies', name.replaceAll('/', '-'), 'b'));
    const { length } = await readFile(path.join(copy, name));
    for (const at of [0.3, 0.5, 0.9]) {
      await flip(path.join(copy, name), Math.floor(length * at));
      await refused(site, copy);
      await flip(path.join(copy, name), Math.floor(length * at));
    }
    await rm(path.join(copy, name));
    if (name.startsWith('metadata/') || name === 'revocations.json') await refused(site, copy, 'trust.missing');
  }
  await site.import(bundle);
});

test('attack: a root is missing in between, or not signed by the one before it', async (t) => {
  const { station, site, stick, dir } = await scene(t);
  await station.publisher.rotate({ offline: true });
  await station.publisher.rotate({ offline: true });
  await station.export(stick);
  const bundle = await bundleIn(stick);
  const gap = await copyOf(bundle, path.join(dir, 'gap'));
  await rm(path.join(gap, 'metadata', '2.root.json'));
  await refused(site, gap, 'trust.missing');

  const other = await openPlace(t, path.join(dir, 'other'));
  await other.publisher.init();
  await other.publisher.rotate({ offline: true });
  const forged = await copyOf(bundle, path.join(dir, 'forged'));
  await cp(path.join(other.dir, 'keys/publisher/metadata/2.root.json'), path.join(forged, 'metadata/2.root.json'));
  await refused(site, forged, 'trust.unsigned');
  assert.equal((await site.trust.root()).signed.version, 1);
  const { bytes } = await site.trust.root();
  await site.import(bundle);
  assert.equal((await site.trust.root()).signed.version, 3);
  await assert.rejects(site.trust.add(bytes), coded('trust.rollback')); // its keys may have been given up for a reason
});

test('attack: a bundle of somebody else', async (t) => {
  const { site, dir, folder } = await scene(t);
  const other = await openPlace(t, path.join(dir, 'other'));
  await other.publisher.init();
  await other.put('tools', 'evil.txt', 'evil');
  await other.export(await folder('evil'));
  await refused(site, await folder('evil'), 'trust.unsigned');
  const untrusting = await openPlace(t, path.join(dir, 'untrusting'));
  await refused(untrusting, await folder('evil'), 'trust.none');
});

test('attack: an older bundle, landed or not', async (t) => {
  const { station, site, folder } = await scene(t);
  for (const name of ['one', 'two', 'three']) {
    await station.put('tools', 'a.txt', name);
    await station.export(await folder(name));
  }
  await site.import(await folder('one'));
  await site.import(await folder('three'));
  await refused(site, await folder('one'), 'trust.rollback');
  await refused(site, await folder('two'), 'trust.rollback');
  assert.equal((await site.import(await folder('three'))).outcome, 'present');
});

test('attack: an older bundle at the same time as a newer one', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.export(await folder('one'));
  await station.put('tools', 'a.txt', 'second');
  await station.export(await folder('two'));
  const [two, one] = await Promise.allSettled([site.import(await folder('two')), site.import(await folder('one'))]);
  const failed = [two, one].filter(({ status }) => status === 'rejected');
  assert.equal(failed.length, 1);
  for (const each of failed) if (each.status === 'rejected') coded('data.locked')(each.reason);
});

test('attack: two bundles with one number', async (t) => {
  const { station, site, dir, folder } = await scene(t);
  await cp(station.dir, path.join(dir, 'twin'), { recursive: true, filter: (name) => !name.endsWith('lock') });
  await station.export(await folder('one'), {});
  await station.put('tools', 'a.txt', 'other');
  const state = path.join(station.dir, 'keys/publisher/state.json');
  const used = JSON.parse(await readFile(state, 'utf8')) as {
    snapshot: number;
    timestamp: number;
    sites: { north: object };
  };
  await writeFile(
    state,
    JSON.stringify({ ...used, snapshot: 0, timestamp: 0, sites: { north: { sequence: 0, signed: 0 } } }),
  );
  await station.export(await folder('same-versions'));
  await site.import(await folder('one'));
  await refused(site, await folder('same-versions'), 'trust.rollback');
  await writeFile(state, JSON.stringify({ ...used, sites: { north: { sequence: 0, signed: 0 } } }));
  await station.export(await folder('same-sequence'));
  await refused(site, await folder('same-sequence'), 'trust.rollback');
});

test('attack: the bundle of another site', async (t) => {
  const { station, site, dir, folder } = await scene(t);
  await station.export(await folder('south'), { site: 'south' });
  await refused(site, await folder('south'), 'trust.wrong-site');
  const renamed = await copyOf(await bundleIn(await folder('south')), path.join(dir, 'renamed', 'b'));
  const manifest = await readFile(path.join(renamed, 'manifest.json'), 'utf8');
  await writeFile(path.join(renamed, 'manifest.json'), manifest.replace('"site":"south"', '"site":"north"'));
  await refused(site, renamed, 'trust.invalid');
});

test('attack: high numbers by stolen keys; rotating the keys recovers', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.export(await folder('good'));
  const state = path.join(station.dir, 'keys/publisher/state.json');
  const good = JSON.parse(await readFile(state, 'utf8')) as object;
  const high = { sequence: 900_000, signed: 900_000 };
  await writeFile(state, JSON.stringify({ ...good, snapshot: 900_000, timestamp: 900_000, sites: { north: high } }));
  await station.export(await folder('stolen'));
  await site.import(await folder('stolen'));
  await writeFile(state, JSON.stringify(good));
  await station.export(await folder('after'));
  await refused(site, await folder('after'), 'trust.rollback');
  await station.publisher.rotate();
  await station.put('tools', 'a.txt', 'recovered');
  await station.export(await folder('rotated'));
  await site.import(await folder('rotated'));
  assert.equal((await site.published())['tools/a.txt'], 'recovered');
  await refused(site, await folder('stolen'));
});

test('attack: the highest list of revocations by stolen keys; rotating the keys recovers', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.put('tools', 'bad.txt', 'bad');
  const list = path.join(station.dir, 'keys/publisher/revocations.json');
  const stolen = { format: 'airlock-revocations', version: Number.MAX_SAFE_INTEGER, revoked: [] };
  await writeFile(list, JSON.stringify(stolen));
  await station.export(await folder('stolen'));
  await site.import(await folder('stolen'));
  await rm(list);
  await revoke(station.dir, [{ digest: digestOfBytes(Buffer.from('bad')), name: 'bad.txt', reason: 'test' }]);
  await station.put('tools', 'bad.txt', 'good');
  await station.export(await folder('after'));
  await refused(site, await folder('after'), 'trust.rollback');
  await station.publisher.rotate();
  await station.export(await folder('rotated'));
  await site.import(await folder('rotated'));
  assert.deepEqual([(await site.published())['tools/bad.txt'], (await site.trust.facts()).revocations], ['good', 1]);
  // From then on, older lists are refused again.
  await rm(list);
  await station.export(await folder('older'));
  await refused(site, await folder('older'), 'trust.rollback');
});

test('attack: a root by a clock that runs ahead shuts a new site for no longer than a step', async (t) => {
  const { dir } = await scene(t);
  const ahead = await openPlace(t, path.join(dir, 'ahead'));
  ahead.clock = new Date('2099-01-01T00:00:00Z');
  await ahead.publisher.init();
  const { bytes } = await ahead.publisher.root();
  const day = 24 * 3600_000;
  for (const clock of [new Date(), new Date(0)]) {
    const fresh = await openPlace(t, path.join(dir, `fresh-${clock.getTime()}`));
    fresh.clock = clock;
    await fresh.trust.add(bytes, { site: 'north' });
    assert.ok((await fresh.trust.now()).getTime() < Date.now() + 500 * day);
  }
});

test('attack: what expired is refused, unless somebody says so; an older bundle never is accepted', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.export(await folder('one'));
  await station.put('tools', 'b.txt', 'b');
  await station.export(await folder('two'));
  site.clock = new Date(Date.now() + 200 * 24 * 3600_000);
  await refused(site, await folder('two'), 'trust.expired');
  const report = await site.import(await folder('two'), { acceptExpired: true });
  assert.ok(report.signatures.acceptedExpired.includes('timestamp.json'));
  await assert.rejects(site.import(await folder('one'), { acceptExpired: true }), coded('trust.rollback'));
});

test('attack: a clock that was set back opens nothing, one that runs ahead shuts nothing for ever', async (t) => {
  const { station, site, folder } = await scene(t);
  const day = 24 * 3600_000;
  await station.export(await folder('old'));
  station.clock = new Date(Date.now() + 300 * day);
  await station.export(await folder('new'));
  site.clock = new Date(0);
  await site.import(await folder('new'));
  assert.ok((await site.trust.now()).getTime() > Date.now() + 299 * day);
  // A station whose clock is wrong moves a site's time by no more than a step.
  station.clock = new Date('2099-01-01T00:00:00Z');
  await station.publisher.rotate(); // as its clock goes, the root has expired
  await station.export(await folder('wrong'));
  await site.import(await folder('wrong'));
  assert.ok((await site.trust.now()).getTime() < Date.now() + 800 * day);
});

test('attack: an older list of revocations; what was revoked is gone', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.put('tools', 'bad.txt', 'bad');
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  const digest = digestOfBytes(Buffer.from('bad'));
  const list = path.join(station.dir, 'keys/publisher/revocations.json');
  await revoke(station.dir, [{ digest, name: 'bad.txt', reason: 'test' }]);
  await station.export(await folder('brings-it'));
  await refused(site, await folder('brings-it'), 'trust.revoked');
  const { catalog } = station.app;
  const { published = 0 } = (await catalog.repository('tools')) ?? {};
  await catalog.transaction((tx) => tx.publish('tools', { reason: 'test', base: published, withdraw: ['bad.txt'] }));
  await station.export(await folder('two'));
  const { revoked } = await site.import(await folder('two'));
  assert.deepEqual(
    revoked.map(({ path: at }) => at),
    ['bad.txt'],
  );
  assert.deepEqual(Object.keys(await site.published()), ['tools/a.txt']);
  await rename(list, `${list}.away`);
  await station.export(await folder('three'));
  await refused(site, await folder('three'), 'trust.rollback');
});

test('attack: a bundle that counts on what is no longer there says what it needs', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  await sendReceipt(site, station, await folder('back'));
  await station.put('tools', 'b.txt', 'b');
  await station.export(await folder('two'));
  await site.app.blobs.delete(digestOfBytes(Buffer.from('first')));
  await assert.rejects(site.import(await folder('two')), (error: unknown) => {
    assert.ok(coded('bundle.base-missing')(error));
    return /needs what sequence 1 brought/.test(String(error));
  });
});

test('attack: a catalog that was restored from a backup takes nothing, until somebody says so', async (t) => {
  const { station, site, dir, folder } = await scene(t);
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  const mark = (await site.trust.mark()) ?? assert.fail();
  // A crash between the catalog and the file: the file is healed.
  const file = path.join(site.dir, 'keys/trusted/landed.json');
  await rm(file);
  assert.deepEqual(await site.trust.mark(), mark);
  assert.ok((await readFile(file, 'utf8')).includes(mark.manifest));
  // A catalog made anew from its revisions has them all.
  await site.app.catalog.setMeta('bundles.landed', undefined);
  assert.deepEqual(await site.trust.mark(), mark);
  // One from a backup has not.
  const restored = await openPlace(t, path.join(dir, 'restored'));
  await cp(path.join(site.dir, 'keys'), path.join(restored.dir, 'keys'), { recursive: true });
  await station.export(await folder('two'));
  await assert.rejects(restored.import(await folder('two')), coded('trust.locked'));
  await restored.trust.add((await station.publisher.root()).bytes, { restored: true });
  await restored.import(await folder('one')); // it is the newest that landed: its content comes back
  await restored.import(await folder('two'));
  await assert.rejects(restored.import(await folder('one')), coded('trust.rollback'));
});
