/** One volume is lost, or damaged: the others and the parity volume make up for it, and for no more than that. */
import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type AirlockError, type ErrorCode, EXIT, isAirlockError } from '../../src/errors.ts';
import { silent } from '../../src/repo/progress.ts';
import { inspectBundles, type VerifiedVolumes, verifyVolumes } from '../../src/sync/bundle/inspect-bundle.ts';
import { laidSource } from '../../src/sync/bundle/laid-source.ts';
import { layOut } from '../../src/sync/bundle/layout.ts';
import { parseMedium } from '../../src/sync/bundle/medium-size.ts';
import { writeParity, xorOf } from '../../src/sync/bundle/parity.ts';
import { writeVolume } from '../../src/sync/bundle/write-volume.ts';
import type { Carrier } from '../../src/sync/carriers/carrier.ts';
import { openCarrier } from '../../src/sync/carriers/open-carrier.ts';
import { airlock } from '../support/cli.ts';
import { MemoryBlobs, noise, sourceOf } from './delta/memory-blobs.ts';
import { bundleIn, coded, flip, type Place, type Scene, scene, sendReceipt } from './scene.ts';

const MIB = 2 ** 20;
const VOLUMES = ['volume-0001.tar', 'volume-0002.tar', 'volume-0003.tar'];
const [ONE = '', TWO = '', THREE = ''] = VOLUMES;
const PARITY = 'parity.bin';

interface Sent extends Scene {
  /** Folder of the bundle. */
  readonly bundle: string;
}

/** A bundle of three volumes of different lengths, with parity. */
async function sent(t: TestContext): Promise<Sent> {
  const made = await scene(t);
  const { station, stick } = made;
  for (const [index, size] of [1_500_000, 1_800_001, 900_000].entries())
    await station.put('tools', `${index}.bin`, noise(size, index + 1));
  const { volumes, parity } = await station.export(stick, { medium: parseMedium('2MiB'), parity: true });
  assert.deepEqual(
    volumes.map(({ name }) => name),
    VOLUMES,
  );
  assert.deepEqual(parity, { name: PARITY, size: Math.max(...volumes.map(({ size }) => size)) });
  assert.equal(new Set(volumes.map(({ size }) => size)).size, 3);
  return { ...made, bundle: await bundleIn(stick) };
}

async function arrived({ station, site }: Scene): Promise<void> {
  assert.deepEqual(await site.published(), await station.published());
  const { catalog, blobs } = site.app;
  for await (const { artifact } of catalog.entries('tools', (await catalog.repository('tools'))?.published ?? 0)) {
    assert.equal((await blobs.stat(artifact.digest))?.size, artifact.size);
  }
}

async function verified({ trust, app }: Place, dir: string): Promise<VerifiedVolumes> {
  const running = { signal: new AbortController().signal, progress: silent };
  return await verifyVolumes({ trust, blobs: app.blobs }, [await openCarrier(dir)], {
    ...running,
    acceptExpired: false,
  });
}

test('parity: is the XOR of volumes of any length, and gives back each of them from the others', async () => {
  for (const sizes of [[0], [5], [3000, 17, 0, 4_999], [5 * MIB + 3, 4 * MIB, 4 * MIB + 1]]) {
    const volumes = sizes.map((size, index) => noise(size, index + 1));
    const pieces: Buffer[] = [];
    const sink = async (bytes: Uint8Array) => {
      pieces.push(Buffer.from(bytes));
    };
    let heard = 0;
    const onBytes = (bytes: number) => {
      heard += bytes;
    };
    const digests = await writeParity(volumes.map(sourceOf), { sink, onBytes });
    const parity = Buffer.concat(pieces);
    assert.equal(parity.length, Math.max(...sizes));
    assert.equal(
      heard,
      sizes.reduce((sum, size) => sum + size, 0),
    );
    assert.equal(new Set(digests.volumes).size, sizes.length);
    for (const [index, volume] of volumes.entries()) {
      const others = [...volumes.filter((each) => each !== volume), parity];
      const rebuilt = xorOf(others.map(sourceOf), volume.length);
      const bytes = Buffer.alloc(volume.length + 9, 7);
      assert.equal(await rebuilt.readAt(bytes, 0), volume.length);
      assert.ok(bytes.subarray(0, volume.length).equals(volume), `volume ${index} of ${sizes}`);
      const some = Buffer.alloc(2000).subarray(3, 1500);
      const read = await rebuilt.readAt(some, 1001);
      assert.ok(some.subarray(0, read).equals(volume.subarray(1001, 1001 + 1497)));
    }
  }
});

test('parity: a volume read at any position has the bytes that are written', async () => {
  const blobs = new MemoryBlobs([noise(70_000, 1), Buffer.alloc(0), noise(511, 2), noise(512, 3), noise(3 * MIB, 4)]);
  const items = [...blobs.blobs].map(([digest, { length: size }]) => ({ digest, size }));
  const created = new Date('2026-01-01T00:00:00Z');
  for (const volume of layOut(items, 2 * MIB)) {
    const pieces: Buffer[] = [];
    const sink = async (bytes: Uint8Array) => {
      pieces.push(Buffer.from(bytes));
    };
    await writeVolume(blobs.open, volume, { created, sink, onBytes: () => undefined });
    const all = Buffer.concat(pieces);
    const source = laidSource(blobs.open, volume, created);
    assert.equal(source.size, all.length);
    const near = volume.entries.flatMap(({ offset, length }) => [offset - 512, offset, offset + length]);
    for (const position of [0, 1, ...near.flatMap((at) => [at - 3, at, at + 3]), all.length - 1, all.length]) {
      for (const length of [1, 100, 513, 100_000, all.length]) {
        const bytes = Buffer.alloc(length, 7);
        const read = await source.readAt(bytes, Math.max(0, position));
        const wanted = all.subarray(Math.max(0, position), Math.max(0, position) + length);
        assert.ok(bytes.subarray(0, read).equals(wanted), `${volume.name}: ${length} at ${position}`);
      }
    }
  }
  assert.equal(blobs.openReaders, 0);
});

test('parity: any one volume may be missing, damaged, or cut short', async (t) => {
  const made = await sent(t);
  const { site, stick, bundle } = made;
  const lose = [
    ['missing', (file: string) => rm(file)],
    ['missing', (file: string) => truncate(file, 1000)],
    ['damaged', (file: string) => flip(file)], // in the middle of a blob
    ['damaged', (file: string) => flip(file, 20)], // in the first header
  ] as const;
  for (const name of VOLUMES) {
    for (const [why, spoil] of lose) {
      const good = await readFile(path.join(bundle, name));
      await spoil(path.join(bundle, name));
      const report = await site.import(stick);
      assert.deepEqual(report.rebuilt, { name, why });
      assert.deepEqual(
        report.volumes.map((each) => each.name),
        [PARITY, ...VOLUMES.filter((each) => each !== name)],
      );
      await arrived(made);
      await writeFile(path.join(bundle, name), good);
      await forget(site);
    }
  }
  assert.equal((await site.import(stick)).rebuilt, null);
});

/** The import fails so; nothing is published, and nothing has landed. What was read before and is good stays. */
async function refused(site: Place, dir: string, exitCode: number, code: ErrorCode): Promise<AirlockError> {
  const error = await site.import(dir).catch((failed: unknown) => failed);
  assert.ok(isAirlockError(error, code), String(error));
  assert.equal(error.exitCode, exitCode);
  assert.deepEqual([await site.published(), await site.trust.mark()], [{}, undefined]);
  return error;
}

/** All that the bundle brought is gone, so that it has to be brought again. */
async function forget({ app: { blobs, catalog } }: Place): Promise<void> {
  for await (const { digest } of blobs.list()) {
    await blobs.delete(digest);
    await catalog.transaction((tx) => tx.forgetBlob(digest));
  }
}

test('parity: a volume that cannot be read any more, in the midst of it, is rebuilt; a medium that goes is not', async (t) => {
  const made = await sent(t);
  const { site, stick, bundle } = made;
  const importCutting = async (...names: string[]) => {
    const advance = () => {
      for (const name of names.splice(0)) truncateSync(path.join(bundle, name), 700);
    };
    return await site.import(stick, { progress: { ...silent, advance } });
  };
  const [two, three] = [await readFile(path.join(bundle, TWO)), await readFile(path.join(bundle, THREE))];
  await assert.rejects(importCutting(TWO, THREE), coded('source.lost'));
  assert.deepEqual(await site.published(), {});
  await writeFile(path.join(bundle, TWO), two);
  await writeFile(path.join(bundle, THREE), three);
  const report = await importCutting(THREE);
  assert.deepEqual(report.rebuilt, { name: THREE, why: 'damaged' });
  await arrived(made);
});

test('parity: volumes may lie on several media, in any order', async (t) => {
  const made = await sent(t);
  const { site, stick, bundle, folder } = made;
  const [first, second] = [await folder('first'), await folder('second')];
  await rename(path.join(bundle, PARITY), path.join(first, PARITY));
  await rename(path.join(bundle, THREE), path.join(second, THREE));
  await rm(path.join(bundle, ONE));
  await assert.rejects(site.import([second, stick]), (error: unknown) => {
    assert.ok(coded('bundle.incomplete')(error));
    return /volume-0001\.tar is missing.*To rebuild it, parity\.bin would be needed/.test(String(error));
  });
  const report = await site.import([second, stick, first]);
  assert.deepEqual(report.rebuilt, { name: ONE, why: 'missing' });
  assert.deepEqual(report.warnings, []);
  await arrived(made);
});

test('parity: two volumes that are lost are named, and the next run goes on', async (t) => {
  const made = await sent(t);
  const { site, stick, bundle, dir } = made;
  for (const name of VOLUMES) await copyFile(path.join(bundle, name), path.join(dir, name));
  await rm(path.join(bundle, ONE));
  await rm(path.join(bundle, THREE));
  const missing = await refused(site, stick, EXIT.incomplete, 'bundle.incomplete');
  assert.match(missing.message, /volume-0001\.tar, volume-0003\.tar are missing.*makes up for one of them/);
  assert.equal((await verified(site, stick)).rebuildable, null);

  await copyFile(path.join(dir, ONE), path.join(bundle, ONE));
  await flip(path.join(bundle, TWO));
  const both = await refused(site, stick, EXIT.unverified, 'blob.digest-mismatch');
  assert.match(both.message, /volume-0003\.tar is missing, and volume-0002\.tar at .* is damaged/);
  assert.deepEqual(both.details, { volumes: [THREE, TWO] });

  await copyFile(path.join(dir, THREE), path.join(bundle, THREE));
  await flip(path.join(bundle, THREE));
  await assert.rejects(site.import(stick), (error: unknown) => {
    assert.ok(coded('blob.digest-mismatch')(error));
    return /is damaged, and volume-000[23]\.tar .*is damaged/.test(String(error));
  });
  assert.deepEqual(await site.published(), {});
  await copyFile(path.join(dir, TWO), path.join(bundle, TWO));
  assert.deepEqual((await site.import(stick)).rebuilt, { name: THREE, why: 'damaged' });
  await arrived(made);
});

test('parity: itself damaged, foreign or lost, it is not needed; where it is, it is refused', async (t) => {
  const made = await sent(t);
  const { site, stick, bundle, dir } = made;
  const file = path.join(bundle, PARITY);
  const good = await readFile(file);
  await flip(file);
  const told = await verified(site, stick);
  assert.deepEqual(told.volumes.at(-1), { name: PARITY, where: bundle, status: 'damaged' });
  assert.equal(told.rebuildable, null);

  await rename(path.join(bundle, TWO), path.join(dir, TWO));
  const damaged = await refused(site, stick, EXIT.unverified, 'blob.digest-mismatch');
  assert.match(damaged.message, /volume-0002\.tar is missing, and parity\.bin at .* is damaged/);
  await writeFile(file, noise(good.length, 99));
  await refused(site, stick, EXIT.unverified, 'blob.digest-mismatch');
  await truncate(file, good.length - 1);
  await refused(site, stick, EXIT.incomplete, 'bundle.incomplete');
  await rm(file);
  await mkdir(file);
  await refused(site, stick, EXIT.incomplete, 'bundle.incomplete');
  await rm(file, { recursive: true });
  await rename(path.join(dir, TWO), path.join(bundle, TWO));
  await writeFile(file, noise(good.length, 99));
  assert.equal((await site.import(stick)).rebuilt, null);
  await arrived(made);
});

test('parity: of a single volume it is a copy, also where that holds a delta; of nothing there is none', async (t) => {
  const made = await scene(t);
  const { station, site, folder } = made;
  const old = noise(MIB, 1);
  await station.put('tools', 'old.bin', old);
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  await sendReceipt(site, station, await folder('back'));
  assert.equal((await station.export(await folder('nothing'), { parity: true })).parity, null);

  await station.put('tools', 'new.bin', Buffer.concat([noise(9000, 2), old]));
  const { bytes } = await station.export(await folder('two'), { parity: true });
  assert.ok(bytes.deltas > 0);
  const bundle = await bundleIn(await folder('two'));
  assert.deepEqual(await readFile(path.join(bundle, PARITY)), await readFile(path.join(bundle, ONE)));
  await flip(path.join(bundle, ONE), 5000);
  const report = await site.import(await folder('two'));
  assert.deepEqual([report.rebuilt, report.blobs.made], [{ name: ONE, why: 'damaged' }, 1]);
  await arrived(made);
});

test('parity: --resume writes it again, with the same bytes; one that was begun without stays so', async (t) => {
  const { station, stick, bundle, folder } = await sent(t);
  const file = path.join(bundle, PARITY);
  const good = await readFile(file);
  for (const spoil of [() => rm(file), () => flip(file)]) {
    await spoil();
    const { written, present } = await station.resume(stick);
    assert.deepEqual([written, [...present]], [[PARITY], VOLUMES]);
    assert.ok((await readFile(file)).equals(good));
  }
  await rm(path.join(bundle, TWO));
  assert.deepEqual((await station.resume(stick, { parity: true })).written, [TWO]);
  await station.export(await folder('without'));
  await assert.rejects(station.resume(await folder('without'), { parity: true }), coded('usage.invalid'));
});

/** A medium, mounted at `dir`, that has room for so many files of a bundle's volumes. */
async function mediumOf(dir: string, room: number): Promise<Carrier> {
  const freeSpace = async () => {
    const written = (await readdir(dir, { recursive: true })).filter((name) => /\.(?:tar|bin)$/.test(name));
    return written.length < room ? 2 ** 40 : 0;
  };
  return new Proxy(await openCarrier(dir), {
    get(target, name) {
      if (name === 'freeSpace') return freeSpace;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

test('parity: on its own medium, it is signed before it is written, and every medium names it', async (t) => {
  const made = await scene(t);
  const { station, site, folder } = made;
  for (const index of [1, 2, 3]) await station.put('tools', `${index}.bin`, noise(1_500_000, index));
  const dirs = await Promise.all(['a', 'b', 'c'].map(folder));
  const [a = '', b = '', c = ''] = dirs;
  const to = async (dir: string, room: number) => ({ to: await mediumOf(dir, room) });
  const options = { medium: parseMedium('2MiB'), parity: true };
  await assert.rejects(station.export(a, { ...options, ...(await to(a, 1)) }), coded('medium.full'));
  await assert.rejects(station.resume(b, await to(b, 2)), coded('medium.full'));
  assert.deepEqual((await station.resume(c)).written, [PARITY]);
  const sums = await readFile(path.join(await bundleIn(a), 'SHA256SUMS'), 'utf8');
  assert.match(sums, /^[0-9a-f]{64} {2}parity\.bin$/m);
  await rm(path.join(await bundleIn(b), TWO));
  assert.deepEqual((await site.import([c, b, a])).rebuilt, { name: TWO, why: 'missing' });
  await arrived(made);
});

test('parity: a look at the medium says what it makes up for', async (t) => {
  const { site, stick, bundle } = await sent(t);
  const context = { trust: site.trust, blobs: site.app.blobs };
  const [inspected] = await inspectBundles(context, [await openCarrier(stick)], () => assert.fail());
  assert.equal(inspected?.parity?.where, bundle);
  assert.equal((await verified(site, stick)).rebuildable, null);
  await flip(path.join(bundle, TWO));
  const { volumes, rebuildable } = await verified(site, stick);
  assert.equal(rebuildable, TWO);
  assert.deepEqual(
    volumes.map(({ status }) => status),
    ['good', 'damaged', 'good', 'good'],
  );
});

test('parity: on the command line', async (t) => {
  const { station, site, stick, folder } = await scene(t);
  const at = (place: Place, ...args: string[]) => airlock(['--data', place.dir, ...args]);
  const planned = await at(station, 'export', '--site', 'north', '--to', stick, '--parity', '--dry-run');
  assert.match(planned.stdout, /parity\.bin \(.*\): a second copy of the only volume/);
  await station.put('tools', 'b.bin', noise(1_500_000, 1));
  await station.put('tools', 'c.bin', noise(1_500_000, 2));
  const args = ['export', '--site', 'north', '--to', stick, '--medium', '2MiB', '--parity'];
  const exported = await at(station, ...args);
  assert.equal(exported.code, EXIT.done, exported.stderr);
  assert.match(exported.stderr, /parity\.bin \(.*\): makes up for any one volume/);
  const bundle = await bundleIn(stick);
  assert.match(await readFile(path.join(bundle, 'README.txt'), 'utf8'), /parity\.bin makes up for it/);

  await rename(path.join(bundle, PARITY), path.join(await folder('home'), PARITY));
  const spare = await at(site, 'bundle', 'verify', stick);
  assert.deepEqual([spare.code, /all is well/.test(spare.stdout)], [EXIT.done, true], spare.stdout);
  await rm(path.join(bundle, TWO));
  const look = await at(site, 'bundle', 'inspect', stick, await folder('home'));
  assert.match(look.stdout, /parity\.bin is here: an import rebuilds volume-0002\.tar with it/);
  const verify = await at(site, 'bundle', 'verify', stick, await folder('home'));
  assert.deepEqual([verify.code, /rebuilds volume-0002\.tar/.test(verify.stdout)], [EXIT.incomplete, true]);
  const page = path.join(await folder('home'), 'report.html');
  const imported = await at(site, 'import', 'bundle', stick, await folder('home'), '--report', page);
  assert.equal(imported.code, EXIT.done, imported.stderr);
  assert.match(imported.stdout, /volume-0002\.tar was missing, and was rebuilt with the parity volume/);
  assert.match(await readFile(page, 'utf8'), /volume-0002\.tar, which was missing/);
});
