/**
 * A repository of many small files: `node many-artifacts-child.ts DATA COUNT` publishes them all in one revision. To be run under
 * eatmydata: what is measured later does not depend on whether they were flushed to the disk one by one.
 */
import { createHash } from 'node:crypto';
import { openApp } from '../../../src/app.ts';
import { BlobRecords } from '../../../src/repo/blob-records.ts';
import type { Artifact } from '../../../src/repo/catalog/artifact.ts';
import type { Put } from '../../../src/repo/catalog/catalog.ts';
import { endLeases, Leases, storeBytes } from '../../../src/repo/staging.ts';

const [dataDir = '', count = '0'] = process.argv.slice(2);
const app = await openApp({ dataDir });
try {
  const leases = new Leases();
  const stores = await app.ingest();
  const records = new BlobRecords(stores);
  const puts: Put[] = [];
  for (let number = 0; number < Number(count); number += 1) {
    const stat = await storeBytes(stores, contentOf(number), leases);
    await records.add(stat);
    puts.push({ path: `${number % 100}/file-${number}`, artifact: artifactOf(`file-${number}`, stat) });
  }
  await records.flush();
  await stores.catalog.transaction(async (tx) => {
    await tx.ensureRepository('many', 'file');
    await tx.publish('many', { reason: 'many files', put: puts });
    await endLeases(tx, leases);
  });
} finally {
  await app.close();
}

/** 4 KiB that nobody else has. */
function contentOf(number: number): Uint8Array {
  return createHash('shake256', { outputLength: 4096 }).update(String(number)).digest();
}

function artifactOf(name: string, { digest, size }: Pick<Artifact, 'digest' | 'size'>): Artifact {
  return {
    digest,
    size,
    kind: 'file',
    name,
    release: null,
    channel: 'downloads',
    source: 'downloads',
    facts: {},
    verification: { status: 'unverified', checks: [] },
  };
}
