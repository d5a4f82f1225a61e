import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openApp } from '../../../src/app.ts';
import type { PruneReport } from '../../../src/repo/upkeep/prune.ts';
import { needsTracing, startTraced } from '../../support/strace.ts';
import { makeScene } from './support.ts';

/** Takes paths of `tools` out for good. */
async function withdraw(data: string, ...paths: string[]): Promise<void> {
  const app = await openApp({ dataDir: data });
  try {
    await app.catalog.transaction((tx) => tx.publish('tools', { reason: 'test', withdraw: paths }));
  } finally {
    await app.close();
  }
}

test('it says what still waits, until when, and how not to wait', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('kept', 'kept');
  await add('one', 'first');
  await add('two', 'second one');
  assert.equal((await run('prune')).stdout, 'Freed 0 B in 0 blobs.\n');
  const before = Date.now();
  await withdraw(data, 'one');
  await withdraw(data, 'two');
  const { json: report } = await json<PruneReport>('prune', '--grace', '2d');
  assert.deepEqual([report.removed.length, report.waiting.blobs, report.waiting.bytes], [0, 2, 15]);
  const [first = '', last = ''] = report.waiting.since ?? [];
  assert.ok(Date.parse(String(first)) >= before && Date.parse(String(first)) < Date.parse(String(last)));
  const said = await run('prune', '--grace', '2d');
  const day = new Date(Date.parse(String(first)) + 2 * 24 * 3600_000).toISOString().slice(0, 10);
  assert.match(
    said.stdout,
    /^Freed 0 B in 0 blobs\.\n15 B in 2 blobs wait until .* UTC.*; "airlock prune --grace 0" frees them now\.\n$/,
  );
  assert.ok(said.stdout.includes(day), said.stdout);
  assert.match((await run('prune', '--grace', '0')).stdout, /^Freed 15 B in 2 blobs\.\n$/);
  assert.equal((await json<PruneReport>('prune', '--grace', '2d')).json.waiting.since, null);
});

test('stopped, it ends soon; the next one frees the rest', needsTracing(), async (t) => {
  const { dir, data, json, add } = await makeScene(t);
  const texts = ['one', 'two', 'three'];
  const files = [];
  for (const each of texts) files.push(await add(each, each));
  await withdraw(data, ...texts);
  const hold = ['-e', 'trace=unlink', '-e', 'inject=unlink:signal=SIGSTOP:when=1'];
  for (const file of files) hold.unshift('-P', file);
  const running = await startTraced(['--data', data, 'prune', '--grace', '0'], path.join(dir, 'trace'), hold, 'pool');
  t.after(() => running.child.kill('SIGKILL'));
  await running.stopped();
  running.child.kill('SIGTERM');
  running.child.kill('SIGCONT');
  const { code, stderr } = await running.result;
  assert.equal(code, 5, stderr);
  assert.match(stderr, /error \(interrupted\)/);
  assert.equal(files.filter((file) => existsSync(file)).length, 2);
  assert.equal((await json('prune', '--grace', '0')).code, 0);
  assert.deepEqual(
    files.filter((file) => existsSync(file)),
    [],
  );
  assert.equal((await json('doctor')).code, 0);
});
