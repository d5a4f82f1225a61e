import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, cp, mkdir, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { AirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { digestOfBytes } from '../../src/repo/blobs/digest-of.ts';
import { blobPath } from '../../src/repo/blobs/layout.ts';
import { silent } from '../../src/repo/progress.ts';
import { findBundles } from '../../src/sync/bundle/find-bundles.ts';
import { importBundle } from '../../src/sync/bundle/import-bundle.ts';
import { inspectBundles, verifyVolumes } from '../../src/sync/bundle/inspect-bundle.ts';
import { parseMedium } from '../../src/sync/bundle/medium-size.ts';
import type { Carrier } from '../../src/sync/carriers/carrier.ts';
import { openCarrier } from '../../src/sync/carriers/open-carrier.ts';
import { acceptReceipt, writeReceipt } from '../../src/sync/receipts.ts';
import { bundleIn, coded, copyOf, flip, type Place, scene, sendReceipt } from './scene.ts';

const MIB = 2 ** 20;

/** What `bundle verify` says of the only volume in these folders. */
async function verdict({ trust, app }: Place, dirs: readonly string[]): Promise<string | undefined> {
  const places = await Promise.all(dirs.map((dir) => openCarrier(dir)));
  const options = { signal: new AbortController().signal, progress: silent, acceptExpired: false };
  const { volumes } = await verifyVolumes({ trust, blobs: app.blobs }, places, options);
  assert.equal(volumes.length, 1);
  return volumes[0]?.status;
}

async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(
    files.map(async ({ parentPath, name }) => (await stat(path.join(parentPath, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** A place of which this user may not look into one folder, or, for `''`, not into the place itself. */
function closedTo(name: string, carrier: Carrier): Carrier {
  const closed = (of: Carrier): Carrier => ({
    ...of,
    where: of.where,
    list: () => Promise.reject(new AirlockError('usage.invalid', `This user may not read ${of.where}.`)),
  });
  if (name === '') return closed(carrier);
  return {
    ...carrier,
    where: carrier.where,
    list: (folder) => carrier.list(folder),
    folder: (each) => (each === name ? closed(carrier.folder(each)) : carrier.folder(each)),
  };
}

test('bundle: what is published reaches the site, and comes again only if no receipt proves it', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  await station.put('tools', 'deep/b.bin', randomBytes(3 * MIB));
  const sent = await station.export(stick);
  assert.equal(sent.bytes.held, 0);
  const { medium, room } = sent.bytes;
  const onStick = await bytesBelow(stick);
  assert.ok(Math.abs(medium - onStick) < 50_000 && room >= onStick, `${medium} planned, ${onStick} written`);
  const report = await site.import(stick);
  assert.equal(report.outcome, 'imported');
  assert.deepEqual(await site.published(), await station.published());
  assert.equal((await site.import(stick)).outcome, 'present');

  // The stick with the receipt is lost: everything is carried again.
  await station.put('tools', 'c.txt', 'third');
  const again = await station.export(await folder('again'));
  assert.equal(again.bytes.held, 0);
  const back = await folder('back');
  const { file } = await writeReceipt(
    { dataDir: site.dir, catalog: site.app.catalog, trust: site.trust, now: site.now },
    back,
  );
  const accepted = await acceptReceipt(station.dir, file, await station.publisher.sites());
  assert.deepEqual([accepted.outcome, accepted.introduced, accepted.sequence], ['accepted', true, 1]);
  const delta = await station.export(await folder('delta'));
  assert.equal(delta.bytes.whole, 'third'.length);
  assert.equal((await station.export(await folder('full'), { full: true })).bytes.held, 0);
  await site.import(await folder('delta'));
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: a site without a name gets that of its first bundle', async (t) => {
  const { station, site, stick, folder } = await scene(t, { site: null });
  await station.export(stick);
  await station.export(await folder('both'), { site: 'south' });
  await station.export(await folder('both'));
  await assert.rejects(site.import(await folder('both')), coded('usage.ambiguous'));
  assert.equal((await site.import(stick)).boundSite, true);
  assert.equal(await site.trust.site(), 'north');
});

test('bundle: a process that died after a landing leaves the site its name', async (t) => {
  const { station, site, dir, stick, folder } = await scene(t, { site: null });
  await station.export(stick);
  await station.export(await folder('south'), { site: 'south' });
  const [trusted, before] = [path.join(site.dir, 'keys', 'trusted'), path.join(dir, 'before')];
  await cp(trusted, before, { recursive: true });
  await site.import(stick);
  await rm(trusted, { recursive: true });
  await cp(before, trusted, { recursive: true });

  const { bytes } = await station.publisher.root();
  await assert.rejects(site.trust.add(bytes, { site: 'south' }), coded('usage.invalid'));
  await assert.rejects(site.import(await folder('south')), coded('trust.wrong-site'));
  assert.equal((await site.import(stick)).outcome, 'present');
  assert.equal(await site.trust.site(), 'north');
  await assert.rejects(site.import(await folder('south')), coded('trust.wrong-site'));
  // What the one that died did not get to is done: what was verified is known, and that time has passed.
  assert.ok((await readdir(trusted)).includes('timestamp.json'));
  const state = await readFile(path.join(trusted, 'state.json'), 'utf8');
  assert.equal((JSON.parse(state) as { site: string }).site, 'north');
  await site.import(stick);
  assert.equal(await readFile(path.join(trusted, 'state.json'), 'utf8'), state);
});

test('bundle: a damaged volume is read from another copy, if there is one', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  await station.put('tools', 'b.bin', randomBytes(MIB));
  await station.export(stick);
  const bundle = await bundleIn(stick);
  const first = await copyOf(bundle, path.join(await folder('first'), 'b'));
  await flip(path.join(first, 'volume-0001.tar'));
  // Its metadata is needed; the volumes of a medium that was not finished are not read.
  const unfinished = await copyOf(bundle, path.join(await folder('unfinished'), 'b'));
  await rm(path.join(unfinished, 'COMMIT'));
  assert.equal(await verdict(site, [first, unfinished]), 'damaged');
  await assert.rejects(site.import([first, unfinished]), coded('blob.digest-mismatch'));
  assert.equal(await verdict(site, [first, bundle]), 'good');
  const { volumes } = await site.import([first, bundle]);
  assert.deepEqual(volumes, [{ name: 'volume-0001.tar', where: bundle }]);
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: where parity makes up for one volume, another copy makes up for a second', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  for (const name of ['b.bin', 'c.bin', 'd.bin']) await station.put('tools', name, randomBytes(1_500_000));
  await station.export(stick, { medium: parseMedium('2MiB'), parity: true });
  const bundle = await bundleIn(stick);
  const copy = await copyOf(bundle, path.join(await folder('copy'), 'b'));
  for (const name of ['volume-0001.tar', 'volume-0002.tar', 'parity.bin']) await flip(path.join(bundle, name));
  for (const name of ['volume-0001.tar', 'volume-0003.tar']) await flip(path.join(copy, name));
  const { rebuilt } = await site.import([bundle, copy]);
  assert.deepEqual(rebuilt, { name: 'volume-0001.tar', why: 'damaged' });
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: strange folders beside a bundle are passed over', async (t) => {
  const { station, site, dir, stick, folder } = await scene(t, { site: null });
  await station.export(stick);
  await mkdir(path.join(stick, 'webapp'));
  await writeFile(path.join(stick, 'webapp', 'manifest.json'), '{"name":"My PWA"}');
  // As one that only its owner may look into: it cannot be listed.
  await mkdir(path.join(stick, 'strange'));
  const context = { trust: site.trust, blobs: site.app.blobs };
  const place = closedTo('strange', await openCarrier(stick));
  const notes: string[] = [];
  const found = await inspectBundles(context, [place], (line) => notes.push(line));
  assert.deepEqual([found.map(({ site: name }) => name), notes.length], [['north'], 1]);
  assert.match(notes[0] ?? '', /passed over: .*strange/);
  const options = { signal: new AbortController().signal, progress: silent, acceptExpired: false };
  const report = await importBundle(
    { packages: await site.app.ingest(), trust: site.trust, now: site.now },
    [place],
    options,
  );
  assert.deepEqual([report.outcome, report.warnings.length], ['imported', 1]);
  // Where there is nothing else, that is what went wrong; and what was named must be readable.
  await rm(await bundleIn(stick), { recursive: true });
  await assert.rejects(findBundles([place]), coded('usage.invalid'));
  await assert.rejects(findBundles([closedTo('', await openCarrier(await folder('named')))]), coded('usage.invalid'));
  await assert.rejects(findBundles([await openCarrier(path.join(dir, 'stick', 'webapp'))]), coded('bundle.not-found'));
});

test('bundle: volumes are cut to the medium, and lie in any folders', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  await station.put('tools', 'large.bin', randomBytes(20 * MIB));
  await station.put('tools', 'small.bin', randomBytes(2 * MIB));
  const { volumes } = await station.export(stick, { medium: parseMedium('8MiB') });
  assert.equal(volumes.length, 3);
  for (const { name, size } of volumes) {
    assert.ok(size <= 8 * MIB);
    assert.equal((await readFile(path.join(await bundleIn(stick), name))).length, size);
  }
  const elsewhere = await folder('elsewhere');
  await rename(path.join(await bundleIn(stick), 'volume-0002.tar'), path.join(elsewhere, 'volume-0002.tar'));
  await assert.rejects(site.import(stick), (error: unknown) => {
    assert.ok(coded('bundle.incomplete')(error));
    return /volume-0002\.tar/.test(String(error));
  });
  assert.deepEqual(await site.published(), {});
  await site.import([elsewhere, stick]);
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: one that was not finished is not imported, and can be gone on with', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.put('tools', 'large.bin', randomBytes(5 * MIB));
  const medium = parseMedium('2MiB');
  await station.export(stick, { medium });
  const bundle = await bundleIn(stick);
  await rm(path.join(bundle, 'COMMIT'));
  await assert.rejects(site.import(stick), coded('bundle.incomplete'));
  await rm(path.join(bundle, 'volume-0003.tar'));
  const { written, present } = await station.resume(stick);
  assert.deepEqual([written, present], [['volume-0003.tar'], ['volume-0001.tar', 'volume-0002.tar']]);
  await site.import(stick);
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: --resume writes again what is damaged or missing on a finished medium', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.put('tools', 'large.bin', randomBytes(5 * MIB));
  await station.export(stick, { medium: parseMedium('2MiB') });
  const bundle = await bundleIn(stick);
  await flip(path.join(bundle, 'volume-0001.tar'), 700_000);
  await rm(path.join(bundle, 'volume-0003.tar'));
  await assert.rejects(site.import(stick), coded('bundle.incomplete'));
  const { written, present } = await station.resume(stick);
  assert.deepEqual([written, present], [['volume-0001.tar', 'volume-0003.tar'], ['volume-0002.tar']]);
  await site.import(stick);
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: a damaged volume is named, nothing is published, and the next run goes on', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.put('tools', 'b.bin', randomBytes(3 * MIB));
  await station.put('tools', 'z.bin', randomBytes(3 * MIB));
  await station.export(stick, { medium: parseMedium('4MiB') });
  const volume = path.join(await bundleIn(stick), 'volume-0002.tar');
  const good = await readFile(volume);
  await flip(volume);
  await assert.rejects(site.import(stick), (error: unknown) => {
    assert.ok(coded('blob.digest-mismatch')(error));
    return /volume-0002\.tar/.test(String(error));
  });
  assert.deepEqual(await site.published(), {});
  assert.equal(await site.trust.mark(), undefined);
  await writeFile(volume, good);
  const report = await site.import(stick);
  assert.ok(report.blobs.read < report.blobs.read + report.blobs.present, 'what was read before is not read again');
  assert.deepEqual(
    report.volumes.map(({ name }) => name),
    ['volume-0002.tar'],
  );
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: a volume that is cut short, or whose headers lie, is refused', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.export(stick);
  const volume = path.join(await bundleIn(stick), 'volume-0001.tar');
  const good = await readFile(volume);
  const lie = async (change: (header: Buffer) => void) => {
    const bytes = Buffer.from(good);
    change(bytes.subarray(0, 512));
    bytes.write('        ', 148);
    const sum = bytes.subarray(0, 512).reduce((all, byte) => all + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    await writeFile(volume, bytes);
    await assert.rejects(site.import(stick), coded('bundle.invalid'));
  };
  await lie((header) => header.write('../../etc/passwd\0', 0));
  await lie((header) => header.write('/etc/passwd\0', 0));
  await lie((header) => header.write('c:x\0', 0));
  await lie((header) => header.write('2', 156)); // symbolic link
  await lie((header) => header.write('1', 156)); // hard link
  await lie((header) => header.write('6', 156)); // fifo
  await lie((header) => header.write('S', 156)); // sparse
  await lie((header) => header.write('77777777777\0', 124));
  await lie((header) => header.fill(0xff, 124, 136)); // a negative size
  await writeFile(volume, good);
  await truncate(volume, good.length - 512);
  await assert.rejects(site.import(stick), coded('bundle.incomplete'));
  await writeFile(volume, Buffer.concat([good, Buffer.alloc(512)]));
  await assert.rejects(site.import(stick), coded('bundle.incomplete'));
  assert.deepEqual(await site.published(), {});
  await writeFile(volume, good);
  await site.import(stick);
});

test('bundle: a site keeps what it imported itself; later bundles replace what earlier ones brought', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  await site.put('tools', 'own.txt', 'of the site');
  await station.export(stick);
  await site.import(stick);
  assert.deepEqual(await site.published(), { 'tools/a.txt': 'first', 'tools/own.txt': 'of the site' });

  await station.put('tools', 'a.txt', 'second');
  await station.export(await folder('two'));
  const { repositories } = await site.import(await folder('two'));
  assert.equal(repositories[0]?.replaced.length, 1);
  assert.equal((await site.published())['tools/a.txt'], 'second');

  await station.put('tools', 'own.txt', 'of the station');
  await station.export(await folder('three'));
  await assert.rejects(site.import(await folder('three')), coded('path.conflict'));
  assert.deepEqual(await site.published(), { 'tools/a.txt': 'second', 'tools/own.txt': 'of the site' });
  assert.equal((await site.trust.mark())?.sequence, 2);
});

test('bundle: media that may not be written to are imported, and nothing is written to them', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.export(stick);
  const bundle = await bundleIn(stick);
  const before = await readdir(stick, { recursive: true });
  for (const name of await readdir(bundle)) await chmod(path.join(bundle, name), name === 'metadata' ? 0o555 : 0o444);
  await chmod(bundle, 0o555);
  await site.import(stick);
  await chmod(bundle, 0o755);
  await chmod(path.join(bundle, 'metadata'), 0o755);
  assert.deepEqual(await readdir(stick, { recursive: true }), before);
});

test('bundle: what the site has and was touched is proven again, and no file stays open for that', async (t) => {
  const { station, site, folder } = await scene(t);
  for (let n = 0; n < 30; n += 1) await station.put('tools', `${n}.txt`, `text ${n}`);
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  await sendReceipt(site, station, await folder('back'));
  await station.put('tools', 'new.txt', 'new');
  await station.export(await folder('two'));
  for (let n = 0; n < 30; n += 1) {
    const file = blobPath(site.dir, digestOfBytes(Buffer.from(`text ${n}`)));
    await utimes(file, new Date(), new Date(1000));
  }
  const open = async () => (await readdir('/proc/self/fd')).length;
  const before = await open();
  await site.import(await folder('two'));
  assert.ok((await open()) < before + 15, `${await open()} after ${before}`);
  assert.deepEqual(await site.published(), await station.published());
});

test('bundle: an import that was interrupted in a large file goes on in the middle of it', async (t) => {
  const { station, site, stick } = await scene(t);
  await station.put('tools', 'huge.bin', randomBytes(96 * MIB));
  await station.export(stick);
  const stop = new AbortController();
  let done = 0;
  const advance = (bytes: number) => {
    done += bytes;
    if (done > 80 * MIB) stop.abort();
  };
  await assert.rejects(
    site.import(stick, { signal: stop.signal, progress: { ...silent, advance } }),
    coded('interrupted'),
  );
  assert.deepEqual(await site.published(), {});
  const suspended = await readdir(path.join(site.dir, 'partial', 'suspended'));
  assert.equal(suspended.filter((name) => name.endsWith('.part')).length, 1);
  // What is here already needs no room again.
  const freeSpace = t.mock.method(site.app.blobs, 'freeSpace', async () => limits.spaceReserve + 10 * MIB);
  await assert.rejects(site.import(stick), coded('space.insufficient'));
  freeSpace.mock.mockImplementation(async () => limits.spaceReserve + 40 * MIB);
  await site.import(stick);
  assert.deepEqual(await readdir(path.join(site.dir, 'partial', 'suspended')), []);
  assert.equal(Object.keys(await site.published()).length, 2);
});
