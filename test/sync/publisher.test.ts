import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { type AirlockError, type ErrorCode, isAirlockError } from '../../src/errors.ts';
import { acceptReceipt, writeReceipt } from '../../src/sync/receipts.ts';
import { Publisher } from '../../src/sync/trust/publisher.ts';
import { tempDir } from '../support/temp-dir.ts';
import { coded, type Place, scene } from './scene.ts';

const now = () => new Date();

test('publisher: keys are made once, and are for their owner only', async (t) => {
  const dataDir = await tempDir(t);
  const publisher = new Publisher({ dataDir, now });
  await assert.rejects(publisher.facts(), coded('key.not-found'));
  await assert.rejects(publisher.init({ threshold: 3, signers: 2 }), coded('usage.invalid'));
  const { roles } = await publisher.init({ threshold: 2, signers: 3 });
  assert.deepEqual(
    roles.map(({ role, threshold, keys }) => [role, threshold, keys.length]),
    [
      ['root', 2, 3],
      ['targets', 2, 3],
      ['snapshot', 1, 1],
      ['timestamp', 1, 1],
    ],
  );
  for (const { keys } of roles) {
    for (const { file } of keys) assert.equal((await stat(file ?? '')).mode & 0o777, 0o600);
  }
  await assert.rejects(publisher.init(), coded('key.invalid'));
});

test('publisher: without the targets keys no site is added; signatures are collected where the keys are', async (t) => {
  const dir = await tempDir(t);
  const [station, vault] = [path.join(dir, 'station'), path.join(dir, 'vault')];
  const publisher = new Publisher({ dataDir: station, now });
  const { roles } = await publisher.init({ threshold: 2, signers: 2 });
  const offline = roles.filter(({ role }) => role === 'root' || role === 'targets');
  const away = path.join(vault, 'keys', 'publisher', 'private');
  await mkdir(away, { recursive: true });
  for (const { keys } of offline) {
    const [, second] = keys;
    await rename(second?.file ?? '', path.join(away, path.basename(second?.file ?? '')));
  }
  await cp(path.join(station, 'keys/publisher/metadata'), path.join(vault, 'keys/publisher/metadata'), {
    recursive: true,
  });
  await assert.rejects(publisher.ensureSite('north'), coded('key.missing'));
  const [pending = ''] = (await publisher.facts()).pending;
  const carried = path.join(dir, 'carried.json');
  await cp(pending, carried);
  await new Publisher({ dataDir: vault, now }).sign(carried);
  const outcome = await publisher.sign(carried);
  assert.deepEqual(outcome.counts, [{ signed: 2, threshold: 2 }]);
  assert.equal(outcome.adopted, true);
  await publisher.ensureSite('north');
  assert.deepEqual(await publisher.sites(), ['north']);

  const [root] = await publisher.rotate();
  assert.deepEqual([root?.adopted, root?.counts[0]], [false, { signed: 1, threshold: 2 }]);
  await assert.rejects(publisher.sign(path.join(dir, 'no-such')), coded('file.not-found'));
  await writeFile(carried, '{"signed":{}}');
  await assert.rejects(publisher.sign(carried), coded('trust.invalid'));
});

test('publisher: an export names the key that is not there', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.export(stick);
  const { roles } = await station.publisher.facts();
  await rm(roles.find(({ role }) => role === 'snapshot')?.keys[0]?.file ?? '');
  await station.put('tools', 'b.txt', 'b');
  await assert.rejects(station.export(stick), (error: unknown) => {
    assert.ok(coded('key.missing')(error));
    return /key of snapshot/.test(String(error));
  });
  await site.import(stick);
  assert.deepEqual(Object.keys(await site.published()), ['tools/a.txt']);
});

/** Moves the keys of root and targets away, as into a vault that has the station's metadata, too. */
async function moveOffline(station: Place, vault: string): Promise<Publisher> {
  const keys = path.join('keys', 'publisher');
  await mkdir(path.join(vault, keys, 'private'), { recursive: true });
  for (const name of await readdir(path.join(station.dir, keys, 'private'))) {
    if (!/^(root|targets)\./.test(name)) continue;
    await rename(path.join(station.dir, keys, 'private', name), path.join(vault, keys, 'private', name));
  }
  await cp(path.join(station.dir, keys, 'metadata'), path.join(vault, keys, 'metadata'), { recursive: true });
  return new Publisher({ dataDir: vault, now });
}

/** The export ends before anything is written, and no number is taken. */
async function refusesExport(station: Place, to: string, code: ErrorCode): Promise<AirlockError> {
  const state = path.join(station.dir, 'keys', 'publisher', 'state.json');
  const sequences = async () => (JSON.parse(await readFile(state, 'utf8')) as { sites: object }).sites;
  const before = await sequences();
  const error = await station.export(to).then(
    () => assert.fail('it was exported'),
    (failed: unknown) => failed,
  );
  assert.ok(isAirlockError(error, code), String(error));
  assert.deepEqual([await readdir(to), await sequences()], [[], before]);
  return error;
}

test('publisher: after a rotation, nothing is exported before the new targets keys have signed', async (t) => {
  const { station, site, dir, stick, folder } = await scene(t);
  await station.export(stick);
  await site.import(stick);
  const old = await moveOffline(station, path.join(dir, 'vault'));
  const before = (await station.publisher.facts()).roles.at(-1)?.keys;
  await station.publisher.rotate({ offline: true });
  const vault = await moveOffline(station, path.join(dir, 'new vault'));
  const [root = '', targets = ''] = (await station.publisher.facts()).pending;
  for (const publisher of [old, vault]) await publisher.sign(root);
  const { adopted, delegations } = await station.publisher.sign(root);
  assert.deepEqual([adopted, delegations?.adopted, delegations?.file], [true, false, targets]);

  const error = await refusesExport(station, await folder('two'), 'key.missing');
  assert.match(error.message, /targets\.pending\.json .*"airlock keys sign"/);
  await vault.sign(targets);
  assert.equal((await station.publisher.sign(targets)).adopted, true);
  await station.export(await folder('two'));
  await site.import(await folder('two'));
  // The keys of the site are those that the rotation made.
  assert.notDeepEqual((await station.publisher.facts()).roles.at(-1)?.keys, before);
});

test('publisher: what has expired is not exported; the list of sites is signed again by itself', async (t) => {
  const { station, site, folder } = await scene(t);
  await station.export(await folder('one'));
  const day = 24 * 3600_000;
  station.clock = new Date(Date.now() + 3 * 365 * day);
  const error = await refusesExport(station, await folder('late'), 'trust.expired');
  assert.match(error.message, /airlock keys rotate/);
  await station.publisher.rotate();
  // The delegations are older than the new root, and end before it.
  station.clock = new Date(Date.now() + 4 * 365 * day);
  await station.publisher.rotate();
  const targets = path.join(station.dir, 'keys/publisher/metadata/targets.json');
  const renewed = await readFile(targets);
  station.clock = new Date(Date.now() + 5 * 365 * day);
  await station.publisher.rotate();
  await writeFile(targets, renewed);
  station.clock = new Date(Date.now() + 6.5 * 365 * day);
  await station.export(await folder('renewed'));
  site.clock = station.clock;
  await site.import(await folder('renewed'));
});

test('publisher: records that were cut short are named', async (t) => {
  const { station, folder } = await scene(t);
  await station.export(await folder('one'));
  const publisher = path.join(station.dir, 'keys', 'publisher');
  const record = path.join(publisher, 'exports', 'north', 'state.json');
  await writeFile(record, (await readFile(record)).subarray(0, 20));
  await assert.rejects(station.resume(await folder('one')), coded('bundle.invalid'));
  await writeFile(path.join(publisher, 'state.json'), '{"format":1,');
  await assert.rejects(station.export(await folder('two')), coded('key.invalid'));
});

test('receipts: forged, changed, of another key, of an unknown site, or older', async (t) => {
  const { station, site, stick, folder, dir } = await scene(t);
  await station.export(stick);
  await site.import(stick);
  const write = async (name: string) =>
    (
      await writeReceipt(
        { dataDir: site.dir, catalog: site.app.catalog, trust: site.trust, now: site.now },
        await folder(name),
      )
    ).file;
  const accept = async (file: string) => await acceptReceipt(station.dir, file, await station.publisher.sites());
  const first = await write('one');
  const second = await write('two');
  const changed = path.join(dir, 'changed.json');
  await writeFile(changed, (await readFile(first, 'utf8')).replace('"sequence":1', '"sequence":2'));
  await assert.rejects(accept(changed), coded('receipt.invalid'));
  await assert.rejects(acceptReceipt(station.dir, first, ['south']), coded('site.not-found'));
  assert.equal((await accept(second)).outcome, 'accepted');
  assert.equal((await accept(first)).outcome, 'older');
  assert.equal((await accept(second)).outcome, 'present');
  await rm(path.join(site.dir, 'keys/site'), { recursive: true });
  await assert.rejects(accept(await write('three')), coded('signature.unknown-key'));
});
