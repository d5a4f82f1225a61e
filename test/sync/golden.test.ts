/** Bundles that earlier versions wrote. They are never written anew: whoever changes the format adds another one. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';
import { openPlace } from './scene.ts';

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
