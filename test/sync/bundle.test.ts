import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { silent } from '../../src/repo/progress.ts';
import { parseMedium } from '../../src/sync/bundle/medium-size.ts';
import { acceptReceipt, writeReceipt } from '../../src/sync/receipts.ts';
import { bundleIn, coded, flip, scene } from './scene.ts';

const MIB = 2 ** 20;

test('bundle: what is published reaches the site, and comes again only if no receipt proves it', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  await station.put('tools', 'deep/b.bin', randomBytes(3 * MIB));
  const sent = await station.export(stick);
  assert.equal(sent.bytes.held, 0);
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
  await site.import(stick);
  assert.deepEqual(await readdir(path.join(site.dir, 'partial', 'suspended')), []);
  assert.equal(Object.keys(await site.published()).length, 2);
});
