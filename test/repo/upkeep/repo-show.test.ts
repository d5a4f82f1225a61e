import assert from 'node:assert/strict';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openApp } from '../../../src/app.ts';
import { testArtifact, testStat } from '../../support/artifacts.ts';
import { makeScene } from './support.ts';

interface Shown {
  name: string;
  entries: { path: string; size: number }[];
}

/** Gives the one entry so many names: publishing them would take minutes. */
function multiply(file: string, count: number): void {
  const database = new DatabaseSync(file);
  database.exec(`
    with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${count - 1})
    insert into entries
    select repository, folder, n, from_revision, until_revision, artifact, modified_at, withdrawn_at, list_key
    from entries cross join numbers`);
  database.close();
}

test('a repository of any size is shown: none, one, more than a call takes arguments', async (t) => {
  const { data, run, runWith, json } = await makeScene(t);
  await run('repo', 'create', 'tools', '--kind', 'file');
  assert.deepEqual((await json<Shown>('repo', 'show', 'tools')).json.entries, []);
  const app = await openApp({ dataDir: data });
  const COUNT = 140_000;
  await app.catalog.transaction(async (tx) => {
    await tx.recordBlob(testStat(1));
    const put = [{ path: 'f/0', artifact: testArtifact(1) }];
    await tx.publish('tools', { reason: 'import \u001b[31mred', put });
  });
  await app.close();
  multiply(path.join(data, 'catalog.sqlite'), COUNT);
  const small = { env: { NODE_OPTIONS: '--max-old-space-size=60' } };
  const document = await runWith(small, '--json', 'repo', 'show', 'tools');
  assert.equal(document.code, 0, document.stderr);
  const shown = JSON.parse(document.stdout) as Shown;
  assert.deepEqual([shown.name, shown.entries.length], ['tools', COUNT]);
  const table = await runWith(small, 'repo', 'show', 'tools');
  assert.equal(table.code, 0, table.stderr);
  assert.equal(table.stdout.trimEnd().split('\n').length, COUNT + 3);
  const revisions = await run('repo', 'revisions', 'tools');
  assert.match(revisions.stdout, /import \\u001b\[31mred/);
});
