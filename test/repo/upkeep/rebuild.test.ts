import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { openApp } from '../../../src/app.ts';
import { ProcessLock } from '../../../src/repo/blobs/process-lock.ts';
import { makeScene } from './support.ts';

interface Shown {
  entries: { path: string }[];
}

test('while others work here it is refused, and while it runs they are', async (t) => {
  const { data, run, add } = await makeScene(t);
  await add('one', 'one');
  const app = await openApp({ dataDir: data });
  const refused = await run('doctor', '--rebuild-catalog');
  assert.equal(refused.code, 7);
  assert.match(refused.stderr, /error \(data\.locked\): Other commands are working on /);
  // What it would have lost: published while it ran.
  await app.catalog.transaction((tx) => tx.publish('tools', { reason: 'test', remove: ['one'] }));
  await app.close();
  const alone = ProcessLock.tryAcquire(path.join(data, 'catalog.lock'));
  assert.ok(alone);
  const waiting = await run('repo', 'list');
  assert.equal(waiting.code, 7);
  assert.match(waiting.stderr, /error \(data\.locked\): The catalog of .* is being made anew\. Wait until/);
  alone.release();
  assert.equal((await run('doctor', '--rebuild-catalog')).code, 0);
});

test('it says where the old catalog is, and that one is whole', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('one', 'one');
  const before = (await json('repo', 'show', 'tools')).json;
  const said = await run('doctor', '--rebuild-catalog');
  const [, kept = ''] = /The old catalog is kept in (\/\S*\/quarantine\/catalog-\d+);/.exec(said.stdout) ?? [];
  assert.ok(existsSync(path.join(kept, 'catalog.sqlite')), said.stdout);
  assert.deepEqual((await json('repo', 'show', 'tools')).json, before);
  const again = await json<{ kept: string }>('doctor', '--rebuild-catalog');
  assert.notEqual(again.json.kept, kept);
  assert.equal(existsSync(path.join(data, 'catalog.new.sqlite')), false);
});

test('a rebuild that cannot begin leaves the catalog as it was', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('one', 'one');
  const before = (await json('repo', 'show', 'tools')).json;
  const inTheWay = path.join(data, 'catalog.new.sqlite-wal');
  await mkdir(inTheWay);
  assert.notEqual((await run('doctor', '--rebuild-catalog')).code, 0);
  assert.deepEqual((await json('repo', 'show', 'tools')).json, before);
  await rmdir(inTheWay);
  assert.equal((await run('doctor', '--rebuild-catalog')).code, 0);
});

test('a damaged revision file is named; the way on is told, and tells what it costs', async (t) => {
  const { data, run, json, add } = await makeScene(t);
  await add('one', 'one');
  await add('two', 'two');
  await add('three', 'three');
  const file = path.join(data, 'revisions', 'tools', '00000002.jsonl');
  const bytes = await readFile(file);
  await writeFile(file, bytes.subarray(0, bytes.length - 10));
  const before = (await json('repo', 'show', 'tools')).json;

  const refused = await run('doctor', '--rebuild-catalog');
  assert.equal(refused.code, 4);
  assert.match(refused.stderr, /error \(revision\.damaged\): .*00000002\.jsonl.*--rebuild-catalog --skip-damaged/);
  assert.deepEqual((await json('repo', 'show', 'tools')).json, before, 'the old catalog still stands');
  assert.equal((await run('doctor', '--skip-damaged')).code, 2);

  const done = await run('doctor', '--rebuild-catalog', '--skip-damaged');
  assert.equal(done.code, 0, done.stderr);
  const lost = /✖ Revision 2 of tools is lost \(its end is missing\), and empty now\. Its file is kept in (\S+)\. /;
  const [, kept = ''] = lost.exec(done.stdout) ?? [];
  assert.match(done.stdout, /it had put:\n {4}two\n/);
  assert.deepEqual(await readFile(kept), bytes.subarray(0, bytes.length - 10));
  const shown = await json<Shown>('repo', 'show', 'tools');
  assert.deepEqual(
    shown.json.entries.map((entry) => entry.path),
    ['one', 'three'],
  );
  assert.deepEqual(
    (await json<{ number: number }[]>('repo', 'revisions', 'tools')).json.map(({ number }) => number),
    [3, 2, 1],
  );
  await add('two', 'two');
  assert.equal((await json<Shown>('repo', 'show', 'tools')).json.entries.length, 3);
  assert.equal((await run('doctor')).code, 0);
  assert.equal((await run('doctor', '--rebuild-catalog')).code, 0);
  assert.equal((await json<Shown>('repo', 'show', 'tools')).json.entries.length, 3);
});

test('a repository that was only created survives', async (t) => {
  const { run, json } = await makeScene(t);
  const made = await json<{ published: number }>('repo', 'create', 'packages', '--kind', 'rpm');
  assert.equal(made.json.published, 1);
  const before = (await json('repo', 'list')).json;
  assert.equal((await run('doctor', '--rebuild-catalog')).code, 0);
  assert.deepEqual((await json('repo', 'list')).json, before);
});

test('what a rebuild that was killed left goes with the next command', async (t) => {
  const { data, run, add } = await makeScene(t);
  await add('one', 'one');
  const left = ['', '-wal', '-shm'].map((suffix) => path.join(data, `catalog.new.sqlite${suffix}`));
  for (const file of left) await writeFile(file, 'half of it');
  assert.equal((await run('repo', 'list')).code, 0);
  assert.deepEqual(
    left.filter((file) => existsSync(file)),
    [],
  );
});
