/** A disk without a byte left, and no process that holds the catalog open (SQLite then needs room to open it). */
import assert from 'node:assert/strict';
import { existsSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { openApp } from '../../src/app.ts';
import { limits } from '../../src/limits.ts';
import { makeScene, type Scene } from '../repo/upkeep/support.ts';
import { startServer } from '../support/cli.ts';
import { needsRoot } from '../support/needs.ts';
import { makeTinyDisk, type TinyDisk } from '../support/tiny-disk.ts';

const CONTENT = 'what routers need\n'.repeat(10_000);

/** A disk with a data directory on it, larger than what imports leave free. */
async function onDisk(t: TestContext): Promise<Scene & { disk: TinyDisk; reserve: string }> {
  const disk = makeTinyDisk(t, 80);
  const scene = await makeScene(t, path.join(disk.dir, 'data'));
  await scene.add('one', CONTENT);
  await scene.add('two', `${CONTENT}!`);
  return { ...scene, disk, reserve: path.join(scene.data, 'reserve') };
}

test('reading goes on, and so does what makes room', needsRoot('mount'), async (t) => {
  const { data, disk, reserve, run, json } = await onDisk(t);
  assert.equal(statSync(reserve).size, limits.spaceForEmergency);
  const shown = await run('repo', 'show', 'tools');
  disk.fill();
  for (let round = 0; round < 2; round++) {
    const full = await run('repo', 'show', 'tools');
    assert.deepEqual([full.code, full.stdout], [0, shown.stdout], full.stderr);
    assert.equal((await run('show', 'system', 'software', 'available')).code, 0);
    assert.equal(statSync(reserve).size, limits.spaceForEmergency, 'taken back');
  }
  const server = await startServer(t, data);
  const body = await (await fetch(`${server.url}/repos/tools/one`)).text();
  assert.equal(body, CONTENT);
  assert.equal((await run('repo', 'list')).code, 0);
  await server.stop();

  const pruned = await run('prune', '--grace', '0');
  assert.deepEqual([pruned.code, pruned.stdout], [0, 'Freed 0 B in 0 blobs.\n'], pruned.stderr);
  disk.relieve();
  const app = await openApp({ dataDir: data });
  await app.catalog.transaction((tx) => tx.publish('tools', { reason: 'test', withdraw: ['two'] }));
  await app.close();
  disk.fill();
  const freed = await json<{ removed: unknown[] }>('prune', '--grace', '0');
  assert.deepEqual([freed.code, freed.json.removed.length], [0, 1], freed.stderr);
  assert.equal((await run('verify')).code, 0);
  disk.relieve();
  assert.equal((await run('doctor')).code, 0);
});

test('without the reserve it is said what is wrong, and what to do', needsRoot('mount'), async (t) => {
  const { disk, reserve, run } = await onDisk(t);
  rmSync(reserve);
  disk.fill();
  const refused = await run('repo', 'list');
  assert.equal(refused.code, 6, refused.stderr);
  assert.match(refused.stderr, /error \(space\.insufficient\): No space left for the catalog .*prune --grace 0/);
  disk.relieve();
  assert.equal((await run('repo', 'list')).code, 0);
  assert.ok(existsSync(reserve), 'kept again');
});

test('a running server goes on, and commands beside it', needsRoot('mount'), async (t) => {
  const { data, disk, run } = await onDisk(t);
  const server = await startServer(t, data);
  disk.fill();
  for (const [at, content] of [
    ['one', CONTENT],
    ['two', `${CONTENT}!`],
  ]) {
    const response = await fetch(`${server.url}/repos/tools/${at}`);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), content);
  }
  assert.equal((await fetch(`${server.url}/repos/tools/`)).status, 200);
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  assert.equal((await run('repo', 'show', 'tools')).code, 0);
  assert.equal((await run('prune', '--grace', '0')).code, 0);
  assert.equal((await server.stop()).code, 0);
});
