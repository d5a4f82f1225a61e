import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openApp } from '../../../src/app.ts';
import { BufferPool } from '../../../src/repo/http/buffer-pool.ts';
import { MemoryCache } from '../../../src/repo/http/memory-cache.ts';
import { createMetrics } from '../../../src/repo/http/metrics.ts';
import { Traffic } from '../../../src/repo/http/traffic.ts';
import { TrustedBlobs } from '../../../src/repo/trusted-blobs.ts';
import { testStat } from '../../support/artifacts.ts';
import { tempDir } from '../../support/temp-dir.ts';

test('blobs are counted once for each state of the catalog, however often somebody asks', async (t) => {
  const app = await openApp({ dataDir: await tempDir(t) });
  t.after(() => app.close());
  const { catalog } = app;
  let counted = 0;
  const counting = {
    version: () => catalog.version(),
    totals: () => {
      counted += 1;
      return catalog.totals();
    },
  };
  const trusted = new TrustedBlobs(app);
  const memory = new MemoryCache(0, trusted);
  const pool = new BufferPool(1, 1);
  const metrics = createMetrics({ traffic: new Traffic(), memory, pool, trusted, catalog: counting });
  for (let round = 0; round < 3; round++) assert.match(await metrics(), /^airlock_blobs 0$/m);
  assert.equal(counted, 1);
  await catalog.transaction((tx) => tx.recordBlob(testStat(7)));
  for (let round = 0; round < 3; round++) {
    const text = await metrics();
    assert.match(text, /^airlock_blobs 1$/m);
    assert.match(text, /^airlock_blob_bytes 7$/m);
  }
  assert.equal(counted, 2);
});
