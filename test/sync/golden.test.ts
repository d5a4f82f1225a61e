/** Bundles that earlier versions wrote. They are never written anew: whoever changes the format adds another one. */
import assert from 'node:assert/strict';
import { cp, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { digestOfBytes } from '../../src/repo/blobs/digest-of.ts';
import { tempDir } from '../support/temp-dir.ts';
import { noise } from './delta/memory-blobs.ts';
import { bundleIn, coded, openPlace } from './scene.ts';

/** What the bundle of format 1.1 rests on, and what it brings. */
const OLD = noise(400_000, 11);
const NEW = Buffer.concat([OLD.subarray(0, 150_000), Buffer.alloc(9_000, 'new text, '), OLD.subarray(150_123)]);

const GOLDEN = path.join(import.meta.dirname, '..', 'golden');

test('golden: a bundle of format 1.0 is imported', async (t) => {
  const folder = path.join(GOLDEN, 'bundle-1.0');
  const site = await openPlace(t, path.join(await tempDir(t), 'site'));
  site.clock = new Date('2026-02-01T00:00:00Z');
  await site.trust.add(await readFile(path.join(folder, 'root.json')), { site: 'north' });
  const report = await site.import(folder);
  assert.deepEqual([report.outcome, report.sequence], ['imported', 1]);
  assert.deepEqual(await site.published(), { 'tools/a.txt': 'first', 'tools/deep/b.txt': 'second' });
});

test('golden: a bundle of format 1.1 is imported, with a delta of what the site has', async (t) => {
  const folder = path.join(GOLDEN, 'bundle-1.1');
  const site = await openPlace(t, path.join(await tempDir(t), 'site'));
  site.clock = new Date('2026-02-01T00:00:00Z');
  await site.trust.add(await readFile(path.join(folder, 'root.json')), { site: 'north' });
  await assert.rejects(site.import(folder), coded('bundle.base-missing'));
  await site.put('tools', 'old.bin', OLD);
  const report = await site.import(folder);
  assert.deepEqual([report.outcome, report.sequence, report.blobs.made], ['imported', 2, 1]);
  const { artifact } = (await site.app.catalog.lookup('tools', 'new.bin')) ?? {};
  assert.equal(artifact?.digest, digestOfBytes(NEW));
});

test('golden: a bundle of format 1.2 is imported, also if a volume is lost that its parity makes up for', async (t) => {
  const folder = path.join(GOLDEN, 'bundle-1.2');
  for (const lost of [null, 'volume-0001.tar', 'volume-0002.tar', 'volume-0003.tar', 'parity.bin']) {
    const dir = await tempDir(t);
    const stick = path.join(dir, 'stick');
    await cp(folder, stick, { recursive: true });
    if (lost !== null) await rm(path.join(await bundleIn(stick), lost));
    const site = await openPlace(t, path.join(dir, 'site'));
    site.clock = new Date('2026-02-01T00:00:00Z');
    await site.trust.add(await readFile(path.join(folder, 'root.json')), { site: 'north' });
    const report = await site.import(stick);
    assert.equal(report.rebuilt?.name, lost === 'parity.bin' ? undefined : (lost ?? undefined));
    const { 'tools/a.txt': a, ...others } = await site.published();
    assert.deepEqual([a, Object.keys(others)], ['first', ['tools/b.txt', 'tools/deep/c.txt']]);
  }
});
