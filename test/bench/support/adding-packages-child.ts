/**
 * What it takes to add packages in a process that is up: `node adding-packages-child.ts DATA FILE...` imports one after the other,
 * each as `airlock import rpm` does, and prints the seconds of each, a line each.
 */
import { openApp } from '../../../src/app.ts';
import { importRpms } from '../../../src/repo/ingest/import-rpm.ts';
import { silent } from '../../../src/repo/progress.ts';

const [dataDir = '', ...files] = process.argv.slice(2);
const app = await openApp({ dataDir });
try {
  const target = {
    distribution: 'el7',
    architecture: 'x86_64',
    policy: { signatures: 'allow-unsigned', isExplicit: true },
  } as const;
  const options = { signal: new AbortController().signal, progress: silent };
  for (const file of files) {
    const before = performance.now();
    await importRpms(await app.ingest(), [file], target, options);
    process.stdout.write(`${((performance.now() - before) / 1000).toFixed(4)}\n`);
  }
} finally {
  await app.close();
}
