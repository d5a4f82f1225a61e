import assert from 'node:assert/strict';
import { readFile, rm, utimes } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { openApp } from '../../../src/app.ts';
import { limits } from '../../../src/limits.ts';
import type { BlobStore } from '../../../src/repo/blobs/blob-store.ts';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import { silent } from '../../../src/repo/progress.ts';
import { prune } from '../../../src/repo/upkeep/prune.ts';
import { type VerifyReport, verify } from '../../../src/repo/upkeep/verify.ts';
import { startServer } from '../../support/cli.ts';
import { needs } from '../../support/needs.ts';
import { needsTracing, startTraced } from '../../support/strace.ts';
import { injecting, makeScene, rot } from './support.ts';

const quietly = () => ({ signal: new AbortController().signal, progress: silent, now: Date.now });

test('what the server took out of sight is told by verify and doctor until it is imported again', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('good', 'good bytes');
  const blob = await add('bad', 'bytes that rot');
  await rot(blob);
  const server = await startServer(t, data);
  for (let round = 0; round < 2; round++) {
    const response = await fetch(`${server.url}/repos/tools/bad`);
    assert.equal(response.status, 500);
  }
  await server.stop();
  for (let round = 0; round < 2; round++) {
    const { code, json: report } = await json<VerifyReport>('verify');
    assert.equal(code, 4);
    assert.deepEqual(
      report.damage.map(({ what, artifacts }) => ({ what, artifacts })),
      [{ what: 'missing', artifacts: ['tools/bad'] }],
    );
    const doctor = await run('doctor');
    assert.equal(doctor.code, 4);
    assert.match(doctor.stdout, /error: tools\/bad is published, and its bytes \(sha256:[0-9a-f]{64}\) are gone/);
  }
  await add('bad', 'bytes that rot');
  assert.deepEqual([(await run('verify')).code, (await run('doctor')).code], [0, 0]);
});

test('what was found is told at once; interrupted there, the next run tells it again', async (t) => {
  const { data, json, run, add } = await makeScene(t);
  for (const each of ['one', 'two', 'three']) await rot(await add(each, each));
  const app = await openApp({ dataDir: data });
  const interruption = new AbortController();
  const notes: string[] = [];
  const note = (line: string) => {
    notes.push(line);
    interruption.abort();
  };
  const options = { ...quietly(), signal: interruption.signal, progress: { ...silent, note } };
  await assert.rejects(verify(await app.ingest(), options), { code: 'interrupted' });
  await app.close();
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? '', /^✖ tools\/(one|two|three): sha256:[0-9a-f]{64} is damaged, kept in .*Import it again/);
  const { json: report } = await json<VerifyReport>('verify');
  assert.deepEqual(
    report.damage.map(({ what, artifacts }) => `${artifacts} ${what}`).sort(),
    ['one', 'two', 'three']
      .map((each) => `tools/${each} ${notes[0]?.includes(`tools/${each}:`) ? 'missing' : 'damaged'}`)
      .sort(),
  );
  const again = await run('verify');
  assert.equal(again.code, 4);
  assert.equal(again.stderr.split('✖').length, 4, 'every finding stands on standard error, too');
});

test('a bad sector under one blob is told, and the others are looked at', needs('strace'), async (t) => {
  const { dir, data, runWith, run, add } = await makeScene(t);
  const unreadable = await add('unreadable', 'no longer to be read');
  await rot(await add('rotten', 'something else'));
  await add('good', 'good bytes');
  const wrapper = injecting(dir, unreadable, 'pread64', 'error=EIO');
  const result = await runWith({ wrapper }, '--json', 'verify');
  assert.equal(result.code, 4, result.stderr);
  const report = JSON.parse(result.stdout) as VerifyReport;
  assert.equal(report.checked, 3);
  assert.deepEqual(report.damage.map(({ what, artifacts }) => `${artifacts} ${what}`).sort(), [
    'tools/rotten damaged',
    'tools/unreadable unreadable',
  ]);
  assert.match(result.stderr, /tools\/unreadable: .* cannot be read from the disk, kept in .*Check the disk/);
  const kept = report.damage.find(({ what }) => what === 'unreadable')?.quarantined ?? '';
  assert.equal(await readFile(kept, 'utf8'), 'no longer to be read');
  assert.equal(path.dirname(kept), path.join(data, 'quarantine'));
  await add('unreadable', 'no longer to be read');
  await add('rotten', 'something else');
  assert.equal((await run('verify')).code, 0);
});

/** Deletes all of `tools` and prunes it, as another process may at any time. */
async function pruneAll(blobs: BlobStore, catalog: Catalog): Promise<void> {
  await catalog.transaction((tx) => tx.publish('tools', { reason: 'test', withdraw: ['one'] }));
  const now = new Date(Date.now() + 1000);
  const { removed } = await prune(blobs, catalog, { ...quietly(), now, before: now, dryRun: false });
  assert.equal(removed.length, 1);
}

for (const moment of ['before it is looked for', 'before it is opened', 'while it is being hashed'] as const) {
  test(`a blob that is pruned ${moment} is neither told nor recorded again`, async (t) => {
    const { data, add, run } = await makeScene(t);
    await add('one', 'one');
    const app = await openApp({ dataDir: data });
    t.after(() => app.close());
    const { blobs, catalog } = app;
    const watched: BlobStore = {
      ...blobs,
      async stat(digest) {
        if (moment === 'before it is looked for' && (await catalog.blob(digest))) await pruneAll(blobs, catalog);
        return await blobs.stat(digest);
      },
      async open(digest) {
        if (moment === 'before it is opened') await pruneAll(blobs, catalog);
        const reader = await blobs.open(digest);
        if (moment === 'while it is being hashed') await pruneAll(blobs, catalog);
        return reader;
      },
    };
    const report = await verify({ ...(await app.ingest()), blobs: watched }, quietly());
    assert.deepEqual(report.damage, []);
    assert.deepEqual(await catalog.totals(), { blobs: 0, bytes: 0 });
    assert.equal((await run('doctor')).code, 0);
  });
}

test('a copy that was replaced while it was being hashed is looked at anew, not condemned', async (t) => {
  const { data, add } = await makeScene(t);
  const blob = await add('one', 'right');
  await rot(blob);
  const app = await openApp({ dataDir: data });
  t.after(() => app.close());
  let opened = 0;
  const watched: BlobStore = {
    ...app.blobs,
    async open(digest) {
      const reader = await app.blobs.open(digest);
      opened += 1;
      if (opened > 1) return reader;
      const writer = await app.blobs.create();
      await writer.writeAt(0, Buffer.from('right'));
      await writer.commit({ digest });
      return reader;
    },
  };
  const report = await verify({ ...(await app.ingest()), blobs: watched }, quietly());
  assert.deepEqual([report.damage, opened], [[], 2]);
  assert.equal(await readFile(blob, 'utf8'), 'right');
});

test('an interrupted run is gone on with for some days, and only for what nobody touched', async (t) => {
  const { data, add, json } = await makeScene(t);
  await add('one', 'one');
  const touched = await add('two', 'two');
  const start = async (age: number) => {
    const app = await openApp({ dataDir: data });
    await app.catalog.setMeta('verify.started', String(Date.now() - age));
    await app.close();
  };
  const counts = async () => {
    const { code, json: report } = await json<VerifyReport>('verify');
    return { code, checked: report.checked, resumed: report.resumed };
  };
  await start(3600_000);
  assert.deepEqual(await counts(), { code: 0, checked: 0, resumed: 2 });
  await start(limits.verifyResume + 1000);
  assert.deepEqual(await counts(), { code: 0, checked: 2, resumed: 0 });
  await start(-3600_000); // a clock that was wrong
  assert.deepEqual(await counts(), { code: 0, checked: 2, resumed: 0 });
  await start(3600_000);
  await utimes(touched, 1, 1);
  assert.deepEqual(await counts(), { code: 0, checked: 1, resumed: 1 });
  await start(3600_000);
  await rot(touched);
  assert.deepEqual(await counts(), { code: 4, checked: 1, resumed: 1 });
});

test('--repair says what it took out, and clients are told 404', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('good', 'good bytes');
  await rm(await add('a/gone', 'gone'));
  await rot(await add('b/rotten', 'rotten'));
  const repaired = await run('verify', '--repair');
  assert.equal(repaired.code, 4);
  assert.match(repaired.stdout, /tools\/a\/gone was taken out of what is published\./);
  assert.match(repaired.stdout, /tools\/b\/rotten was taken out of what is published\./);
  assert.match(repaired.stdout, /tools is at revision 4 now/);
  const server = await startServer(t, data);
  const statuses = ['good', 'a/gone', 'b/rotten'].map(
    async (each) => (await fetch(`${server.url}/repos/tools/${each}`)).status,
  );
  assert.deepEqual(await Promise.all(statuses), [200, 404, 404]);
  const again = await json<VerifyReport>('verify', '--repair');
  assert.deepEqual([again.code, again.json.withdrawn, again.json.revisions], [0, [], {}]);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends it soon, and the next run goes on`, needsTracing(), async (t) => {
    const { dir, data, json, add } = await makeScene(t);
    const files = [await add('one', 'one'), await add('two', 'two'), await add('three', 'three')];
    const [, second = ''] = files.sort();
    const hold = ['-P', second, '-e', 'trace=pread64', '-e', 'inject=pread64:signal=SIGSTOP:when=1'];
    const running = await startTraced(['--data', data, 'verify'], path.join(dir, 'trace'), hold, 'pool');
    t.after(() => running.child.kill('SIGKILL'));
    await running.stopped();
    running.child.kill(signal);
    running.child.kill('SIGCONT');
    const { code, stderr } = await running.result;
    assert.equal(code, 5, stderr);
    assert.match(stderr, /error \(interrupted\): .*run the same command to go on/i);
    const { json: report } = await json<VerifyReport>('verify');
    // The second one may still have been finished: the signal comes while it is being read.
    assert.equal(report.checked + report.resumed, 3);
    assert.ok(report.resumed === 1 || report.resumed === 2, `resumed ${report.resumed}`);
  });
}
