/**
 * Several processes on one data directory (invariant 5): they see each other's changes at once and undo none of them.
 * 8 imports beside a server, 3 pairs of imports, 60 rounds of a race; with AIRLOCK_DEEP=1 100, 20 and 1000.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { filler } from '../media/vendor-site.ts';
import { airlock, airlockJson, type CliResult, ended, startServer } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';
import { withApp } from '../support/with-app.ts';
import { assertImages, assertOnlyImages, soundState } from './aftermath.ts';
import { isDeep } from './points.ts';
import { makeStick, trustingDirectory } from './stick.ts';

const VERSION = '6.3.0-107.r1.el7';

test('a server gives out what the command line imported, replaced or deleted, from that moment on', async (t) => {
  const dir = await tempDir(t);
  const data = path.join(dir, 'data');
  const file = path.join(dir, 'file.bin');
  const server = await startServer(t, data);
  const url = (name: string) => `${server.url}/repos/tools/${name}`;
  for (let round = 1; round <= (isDeep ? 100 : 8); round++) {
    assert.equal((await fetch(url(`${round}.bin`))).status, 404); // which it may remember
    const bytes = filler(`round ${round}`, 5000 + round);
    await writeFile(file, bytes);
    const [name, ...more] = round % 2 === 0 ? [`${round}.bin`] : ['same.bin', '--replace'];
    const imported = await airlock([
      '--data',
      data,
      'import',
      'file',
      '--repository',
      'tools',
      '--path',
      name ?? '',
      ...more,
      file,
    ]);
    assert.equal(imported.code, 0, imported.stderr);
    const response = await fetch(url(name ?? ''));
    assert.equal(response.status, 200, `round ${round}`);
    assert.ok(bytes.equals(new Uint8Array(await response.arrayBuffer())), `round ${round}: other bytes`);
  }

  const stick = await makeStick(path.join(dir, 'stick'));
  await trustingDirectory(data, stick);
  assert.equal((await airlock(['--data', data, 'import', 'iso', 'filepath', stick.file])).code, 0);
  const image = `${server.url}/repos/images/${Object.keys(stick.paths)[0]}`;
  assert.equal((await fetch(image, { method: 'HEAD' })).status, 200);
  assert.equal((await airlock(['--data', data, 'delete', 'system', 'software', 'version', VERSION])).code, 0);
  assert.equal((await fetch(image, { method: 'HEAD' })).status, 404);
  assert.equal((await airlock(['--data', data, 'repo', 'publish', 'images', '1'])).code, 0);
  assert.equal((await fetch(image, { method: 'HEAD' })).status, 200);
});

test('two imports of one image at once both succeed, and make one revision', async (t) => {
  const dir = await tempDir(t);
  const stick = await makeStick(path.join(dir, 'stick'), 3000);
  for (let round = 1; round <= (isDeep ? 20 : 3); round++) {
    const data = path.join(dir, `data-${round}`);
    await trustingDirectory(data, stick);
    const command = ['--data', data, 'import', 'iso', 'filepath', stick.file];
    const runs = [
      airlockJson<{ imported: { outcome: string }[] }>(command),
      airlockJson<{ imported: { outcome: string }[] }>(command),
    ];
    const outcomes: (string | undefined)[] = [];
    for (const { code, json, stderr } of await Promise.all(runs)) {
      assert.equal(code, 0, stderr);
      outcomes.push(json.imported[0]?.outcome);
    }
    assert.ok(outcomes.includes('imported'), outcomes.join());
    assert.ok(
      outcomes.every((outcome) => outcome === 'imported' || outcome === 'present'),
      outcomes.join(),
    );
    await assertOnlyImages(data, stick.paths);
    assert.deepEqual(Object.keys((await soundState(data)).visible.revisions), ['revisions/images/00000001.jsonl']);
  }
});

test('imports that race prune never publish what prune took', async (t) => {
  const dir = await tempDir(t);
  const data = path.join(dir, 'data');
  const stick = await makeStick(path.join(dir, 'stick'));
  await trustingDirectory(data, stick);
  const file = path.join(dir, 'file.bin');
  await writeFile(file, filler('race', 300_000));
  const rounds = isDeep ? 1000 : 60;
  const pruning = startRace(t, 'prune', data);
  // The same bytes in two repositories: what one lets go of, the other is about to publish.
  const churning = ['left', 'right'].map(
    (repository) => startRace(t, 'churn', data, file, repository, `${rounds}`).result,
  );
  const importing = (async () => {
    for (let round = 0; round < 3; round++) {
      const imported = await airlock(['--data', data, 'import', 'iso', 'filepath', stick.file]);
      assert.equal(imported.code, 0, imported.stderr);
      await assertHas(data, stick.paths);
      const deleted = await airlock(['--data', data, 'delete', 'system', 'software', 'version', VERSION]);
      assert.equal(deleted.code, 0, deleted.stderr);
    }
  })();
  const [, ...churned] = await Promise.all([importing, ...churning]);
  for (const { code, stderr } of churned) assert.equal(code, 0, stderr);
  pruning.child.stdin?.end();
  const { code, stdout, stderr } = await pruning.result;
  assert.equal(code, 0, stderr);
  t.diagnostic(`prune took ${stdout.trim()} blobs while ${2 * rounds + 3} imports ran`);
  assert.ok(Number(stdout) >= 3, `prune took only ${stdout.trim()} blobs`);
  const { visible } = await soundState(data);
  assert.deepEqual(visible.entries, {});
  assert.equal((await airlock(['--data', data, 'import', 'iso', 'filepath', stick.file])).code, 0);
  await assertImages(data, stick.paths);
});

/** Of what a CLI import published while others work on other repositories. */
async function assertHas(data: string, paths: Readonly<Record<string, string>>): Promise<void> {
  const shown: [string, string][] = [];
  await withApp(data, async ({ catalog }) => {
    const { published } = (await catalog.repository('images')) ?? assert.fail('nothing was published');
    for await (const { path: at, artifact } of catalog.entries('images', published)) shown.push([at, artifact.digest]);
  });
  assert.deepEqual(Object.fromEntries(shown), paths);
}

function startRace(t: TestContext, ...args: string[]): { child: ChildProcess; result: Promise<CliResult> } {
  const script = path.join(import.meta.dirname, 'race-child.ts');
  const child = spawn(process.execPath, [script, ...args], {
    stdio: 'pipe',
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  t.after(() => child.kill('SIGKILL'));
  return { child, result: ended(child) };
}

test('a second server is refused, and so is making the catalog anew under a server', async (t) => {
  const data = path.join(await tempDir(t), 'data');
  const server = await startServer(t, data);
  for (const command of [
    ['serve', '--listen', '127.0.0.1:0'],
    ['doctor', '--rebuild-catalog'],
  ]) {
    const refused = await airlock(['--data', data, ...command]);
    assert.deepEqual({ code: refused.code, stdout: refused.stdout }, { code: 7, stdout: '' });
    assert.match(
      refused.stderr,
      /error \(server\.locked\): A server already runs on .*\. Stop it first, or name another/,
    );
  }
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  assert.equal((await server.stop()).code, 0);
  const next = await startServer(t, data);
  assert.equal((await next.stop()).code, 0);
});

test('a killed server leaves no lock behind', async (t) => {
  const data = path.join(await tempDir(t), 'data');
  for (let round = 0; round < 3; round++) {
    const server = await startServer(t, data);
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    server.child.kill('SIGKILL');
    await once(server.child, 'close');
  }
  const server = await startServer(t, data);
  assert.equal((await server.stop()).code, 0);
});
