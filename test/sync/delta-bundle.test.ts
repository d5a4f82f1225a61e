/** What a site has comes again as a delta: planned, carried, made into the very bytes, or not at all. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { EXIT } from '../../src/errors.ts';
import { digestOfBytes } from '../../src/repo/blobs/digest-of.ts';
import { blobPath } from '../../src/repo/blobs/layout.ts';
import { parseMedium } from '../../src/sync/bundle/medium-size.ts';
import { KeyStore } from '../../src/sync/trust/key-store.ts';
import { noise } from './delta/memory-blobs.ts';
import { bundleIn, coded, flip, refusedWith, type Scene, sceneWithOld, sendReceipt } from './scene.ts';

const MIB = 2 ** 20;
const OLD = noise(4 * MIB, 1);
/** Something put in, something taken out. */
const NEW = Buffer.concat([
  OLD.subarray(0, MIB),
  noise(50_000, 2),
  OLD.subarray(MIB, 3 * MIB),
  OLD.subarray(3 * MIB + 9),
]);
const [OLD_DIGEST, NEW_DIGEST] = [digestOfBytes(OLD), digestOfBytes(NEW)];

/** The site holds the old one, and the station knows it. */
const withOld = (t: TestContext) => sceneWithOld(t, OLD, NEW);

async function stored({ site }: Scene): Promise<boolean> {
  const blob = await site.app.blobs.open(NEW_DIGEST);
  const bytes = Buffer.alloc(NEW.length);
  await blob.readAt(bytes, 0);
  await blob.close();
  return bytes.equals(NEW);
}

test('delta: a new release of what the site has travels as what is new in it', async (t) => {
  const made = await withOld(t);
  const { station, site, folder, dir } = made;
  const planned = await station.plan(await folder('two'));
  assert.deepEqual([planned.bytes.whole, planned.bytes.made], [0, NEW.length]);
  assert.ok(planned.bytes.deltas > 50_000 && planned.bytes.deltas < 60_000, `${planned.bytes.deltas}`);
  assert.ok(planned.bytes.site > NEW.length && planned.bytes.medium > planned.bytes.deltas);
  assert.ok(planned.free !== null && planned.media === 1);
  assert.deepEqual(await readdir(await folder('two')), [], 'nothing is written');
  const deltas = path.join(dir, 'station', 'deltas');
  const before = await readdir(deltas, { recursive: true });
  const sent = await station.export(await folder('two'));
  assert.deepEqual(await readdir(deltas, { recursive: true }), before, 'what was planned is not made again');
  assert.deepEqual(sent.bytes, planned.bytes);
  const { blobs } = await site.import(await folder('two'));
  assert.deepEqual([blobs.read, blobs.made, blobs.bytes], [1, 1, sent.bytes.deltas]);
  assert.ok(await stored(made));
  assert.deepEqual(await site.published(), await station.published());
  assert.equal((await site.import(await folder('two'))).outcome, 'present');
  await assert.rejects(readdir(path.join(dir, 'site', 'deltas')), 'a site needs no index');

  // The next receipt: what rested on the one before is of no use any more.
  await sendReceipt(site, station, await folder('back'));
  await station.put('tools', 'newer.bin', Buffer.concat([noise(20_000, 3), NEW]));
  await station.export(await folder('three'));
  assert.equal((await readdir(path.join(deltas, 'north'))).length, 1);
  await site.import(await folder('three'));
  assert.deepEqual(await site.published(), await station.published());
});

test('delta: whole, where a delta saves less than a tenth, is not wanted, or the site could not read it', async (t) => {
  const { station, folder, dir } = await withOld(t);
  assert.equal((await station.plan(await folder('two'), { full: true })).bytes.made, 0);
  await station.put('tools', 'other.bin', Buffer.concat([noise(4 * MIB, 9), OLD.subarray(0, 300_000)]));
  const { bytes } = await station.plan(await folder('two'));
  assert.deepEqual([bytes.made, bytes.whole], [NEW.length, 4 * MIB + 300_000]);
  // A receipt of a site whose Airlock knows format 1.0 says nothing of what it reads.
  const file = path.join(dir, 'station', 'keys', 'publisher', 'receipts', 'north.json');
  const receipt = await readFile(file, 'utf8');
  assert.match(receipt, /"reads":\{"major":1,"minor":2\}/);
  const { signed } = JSON.parse(receipt) as { signed: { reads?: object } };
  delete signed.reads;
  const [key] = await new KeyStore(path.join(dir, 'site', 'keys', 'site')).list();
  const signature = key?.key.sign(Buffer.from(JSON.stringify(signed))).sig;
  await writeFile(file, JSON.stringify({ signed, key: key?.key.publicKey.keyVal.public, signature }));
  const older = await station.plan(await folder('two'));
  assert.deepEqual([older.bytes.made, older.bytes.held > OLD.length], [0, true]);
});

test('delta: cut over volumes, a damaged one is named and written again as it was', async (t) => {
  const made = await withOld(t);
  const { station, site, folder } = made;
  await station.put('tools', 'new.bin', Buffer.concat([noise(2_500_000, 5), NEW]));
  const stick = await folder('two');
  const { volumes } = await station.export(stick, { medium: parseMedium('1MiB') });
  assert.equal(volumes.length, 3);
  const volume = path.join(await bundleIn(stick), 'volume-0002.tar');
  const good = await readFile(volume);
  for (const at of [5000, 500_000]) {
    await flip(volume, at);
    const error = await refusedWith(site, stick, EXIT.unverified, 'blob.digest-mismatch');
    assert.match(error.message, /volume-0001\.tar.*volume-0002\.tar.*volume-0003\.tar/);
    await writeFile(volume, good);
  }
  await flip(volume);
  const { written } = await station.resume(stick);
  assert.deepEqual(written, ['volume-0002.tar']);
  assert.ok((await readFile(volume)).equals(good));
  await site.import(stick);
  assert.deepEqual(await site.published(), await station.published());
});

test('delta: what it rests on is gone, or damaged: said, with what to do, and a full bundle helps', async (t) => {
  const made = await withOld(t);
  const { station, site, folder } = made;
  await station.export(await folder('two'));
  // Rot that no stamp shows.
  const file = blobPath(site.dir, OLD_DIGEST);
  await rm(file);
  await writeFile(file, Buffer.concat([OLD.subarray(0, 99), Buffer.from('rot'), OLD.subarray(102)]));
  const stat = await site.app.blobs.stat(OLD_DIGEST);
  assert.ok(stat !== undefined);
  await site.app.catalog.transaction((tx) => tx.confirmBlob(stat));
  const rotten = await refusedWith(site, await folder('two'), EXIT.incomplete, 'bundle.base-missing');
  assert.match(rotten.message, /is damaged here.*--full/s);
  await rm(file);
  await assert.rejects(site.import(await folder('two')), (error: unknown) => {
    return coded('bundle.base-missing')(error) && /--full/.test(String(error));
  });
  await station.export(await folder('full'), { full: true });
  await site.import(await folder('full'));
  assert.ok(await stored(made));
});

test('delta: what is kept for planning may be deleted or damaged at any time', async (t) => {
  const { station, site, folder, dir } = await withOld(t);
  const deltas = path.join(dir, 'station', 'deltas');
  const { bytes } = await station.plan(await folder('two'));
  for (const name of await readdir(deltas, { recursive: true })) {
    const content = await readFile(path.join(deltas, name)).catch(() => undefined);
    if (content !== undefined) await flip(path.join(deltas, name), 40);
  }
  assert.deepEqual((await station.plan(await folder('two'))).bytes, bytes);
  await rm(deltas, { recursive: true });
  await station.export(await folder('two'));
  // But for a volume of a delta that is to be written again.
  await rm(deltas, { recursive: true });
  const volume = path.join(await bundleIn(await folder('two')), 'volume-0001.tar');
  const good = await readFile(volume);
  await flip(volume);
  await assert.rejects(station.resume(await folder('two')), (error: unknown) => {
    return coded('blob.damaged')(error) && /without --resume/.test(String(error));
  });
  await station.export(await folder('two'));
  const anew = await readFile(path.join(await folder('two'), 'airlock-north-000003', 'volume-0001.tar'));
  assert.ok(anew.subarray(512).equals(good.subarray(512)), 'the same delta; its time stands in the header');
  await site.import(await folder('two'));
  assert.deepEqual(await site.published(), await station.published());
});
