/** Commands that write a file where the user says look at that place before they do anything. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { airlock, airlockJson } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';
import { scene } from '../sync/scene.ts';

interface Refusal {
  readonly error: { readonly code: string; readonly message: string };
}

test('"import bundle --report" into a folder that is not there takes in nothing', async (t) => {
  const { dir, station, site, stick } = await scene(t);
  await station.put('tools', 'a.txt', 'text');
  await station.export(stick);
  const command = ['--data', site.dir, 'import', 'bundle', stick, '--report'];
  const { code, json } = await airlockJson<Refusal>([...command, path.join(dir, 'nope', 'r.html')]);
  assert.deepEqual([code, json.error.code], [3, 'file.not-found']);
  assert.match(json.error.message, /There is no folder .*nope\. Make it, or name another/);
  assert.deepEqual(await site.published(), {});

  const { code: folder, stderr } = await airlock([...command, dir]);
  assert.equal(folder, 2);
  assert.match(stderr, /is a folder\. Name a file in it/);
  assert.deepEqual(await site.published(), {});
});

test('keys are exported to a folder that is there', async (t) => {
  const data = path.join(await tempDir(t), 'data');
  await mkdir(data);
  await airlock(['--data', data, 'keys', 'init']);
  for (const words of [
    ['keys', 'export-root', path.join(data, 'nope', 'root.json')],
    ['keys', 'repository', 'export', path.join(data, 'nope', 'key.asc')],
  ]) {
    const { code, stderr } = await airlock(['--data', data, ...words]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error \(file\.not-found\): There is no folder/);
  }
  assert.ok(!existsSync(path.join(data, 'nope')));
});
