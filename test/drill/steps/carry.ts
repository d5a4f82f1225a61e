/** A bundle goes over the gap on the stick, and its receipt comes back. */
import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ExportReport } from '../../../src/sync/bundle/export.ts';
import type { ImportBundleReport } from '../../../src/sync/bundle/import-bundle.ts';
import type { AcceptedReceipt, WrittenReceipt } from '../../../src/sync/receipts.ts';
import type { Told } from '../telling.ts';
import { SITE, type World } from '../world.ts';

/** A bundle on the stick. */
export interface Written extends Pick<ExportReport, 'bundle' | 'bytes' | 'base' | 'volumes' | 'repositories'> {
  /** Of all its files. */
  readonly size: number;
}

export async function exportBundle({ staging, stick }: World): Promise<Told<Written>> {
  const value = await stick.with(async (dir) => {
    const report = await staging.json<ExportReport>('export', '--site', SITE, '--to', dir);
    return { ...report, size: await sizeOf(path.join(dir, report.bundle)) };
  });
  const { bundle, size, volumes, repositories, base } = value;
  assert.ok(repositories.length > 0);
  const carried = `${volumes.length} ${volumes.length === 1 ? 'volume' : 'volumes'}`;
  const rests = base === null ? '' : `, on top of what the receipt for sequence ${base.sequence} tells`;
  return {
    value,
    said: `${bundle} written, ${carried} with ${repositories.map(({ name }) => name).join(' and ')}${rests}`,
    checked: ['COMMIT is there', 'names are safe on FAT'],
    bytes: size,
  };
}

/** Of a finished bundle. */
async function sizeOf(folder: string): Promise<number> {
  const items = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const { name } of items) assert.match(name, /^[A-Za-z0-9][A-Za-z0-9._-]*$/);
  assert.ok(items.some(({ name }) => name === 'COMMIT'));
  const files = items.filter((item) => item.isFile()).map(({ parentPath, name }) => path.join(parentPath, name));
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** As `exportBundle`, but only what is new is carried. @param first what the first release took */
export async function exportDelta(world: World, first: Written): Promise<Told<Written>> {
  const told = await exportBundle(world);
  const { bytes, base, size } = told.value;
  assert.ok(base !== null, 'the receipt counts');
  assert.ok(bytes.deltas > 0 && bytes.made > 0, 'it is a delta');
  assert.ok(size < first.size / 2, `${size} bytes after ${first.size}`);
  const share = Math.round((100 * size) / first.size);
  return {
    ...told,
    said: `${told.said}; ${share} % of the first bundle`,
    checked: [...told.checked, 'the new image travels as a delta', 'it is less than half of the first bundle'],
  };
}

/** @param sequence of the bundle that must land */
export async function importBundle({ a, stick }: World, sequence: number): Promise<Told<ImportBundleReport>> {
  const report = await stick.with((dir) => a.json<ImportBundleReport>('import', 'bundle', dir));
  assert.deepEqual([report.outcome, report.site, report.sequence], ['imported', SITE, sequence]);
  const { blobs, repositories, bundle } = report;
  const added = repositories.reduce((sum, each) => sum + each.added.length, 0);
  return {
    value: report,
    said: `stick moved to the enclave, ${bundle} imported at A: ${added} new files, ${blobs.made} made from deltas`,
    checked: ['signatures, sequence and every digest'],
    bytes: blobs.bytes,
  };
}

/** The stick goes back with a receipt on it. */
export async function returnReceipt({ a, staging, stick }: World, sequence: number): Promise<Told<void>> {
  const written = await stick.with((dir) => a.json<WrittenReceipt>('receipt', 'write', '--to', dir));
  const accepted = await stick.with((dir) => {
    const file = path.join(dir, path.basename(written.file));
    return staging.json<AcceptedReceipt[]>('receipt', 'accept', file);
  });
  const [receipt] = accepted;
  assert.deepEqual([receipt?.outcome, receipt?.site, receipt?.sequence], ['accepted', SITE, sequence]);
  assert.equal(receipt?.fingerprint, written.fingerprint);
  return {
    value: undefined,
    said: `${path.basename(written.file)} came back: the site holds ${receipt?.blobs} files`,
    checked: ['accepted', 'fingerprints of the site agree'],
  };
}
