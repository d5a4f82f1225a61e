/**
 * A process that keeps changing a data directory: `race-child.ts COMMAND DATA [ARGUMENT...]`, until its standard input
 * ends or it is done.
 *
 *     prune                          frees what nobody refers to, again and again; says how many blobs in the end
 *     churn FILE REPOSITORY ROUNDS   imports a file, reads what it published, takes it out again
 */
import { type App, openApp } from '../../src/app.ts';
import { digestOf } from '../../src/repo/blobs/digest-of.ts';
import { importFile } from '../../src/repo/ingest/import-file.ts';
import { silent } from '../../src/repo/progress.ts';
import { prune } from '../../src/repo/upkeep/prune.ts';

const PATH = 'shared/file.bin';

async function pruneAlways({ blobs, catalog }: App): Promise<void> {
  let isOver = false;
  process.stdin.resume().once('end', () => {
    isOver = true;
  });
  let removed = 0;
  while (!isOver) {
    removed += (
      await prune(blobs, catalog, {
        before: new Date(),
        now: new Date(),
        dryRun: false,
        signal: new AbortController().signal,
        progress: silent,
      })
    ).removed.length;
    await new Promise(setImmediate);
  }
  console.log(removed);
}

async function churn(app: App, [file = '', repository = '', rounds]: string[]): Promise<void> {
  const context = await app.ingest();
  for (let round = 0; round < Number(rounds); round++) {
    const options = { signal: new AbortController().signal, progress: silent };
    await importFile(context, file, { repository, path: PATH }, options);
    await mustBeThere(app, repository);
    await app.catalog.transaction((tx) => tx.publish(repository, { reason: 'race', withdraw: [PATH] }));
  }
}

/** Nobody but this process takes out of its repository what it put there. */
async function mustBeThere({ blobs, catalog }: App, repository: string): Promise<void> {
  const entry = await catalog.lookup(repository, PATH);
  if (entry === undefined) throw new Error(`${repository}/${PATH} is not published`);
  const reader = await blobs.open(entry.artifact.digest);
  try {
    if ((await digestOf(reader)) !== entry.artifact.digest) throw new Error(`${repository}/${PATH} holds other bytes`);
  } finally {
    await reader.close();
  }
}

const [command, dataDir = '', ...rest] = process.argv.slice(2);
const app = await openApp({ dataDir });
try {
  if (command === 'prune') await pruneAlways(app);
  else await churn(app, rest);
} finally {
  await app.close();
}
