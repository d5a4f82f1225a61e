/** A disk that fails is called that, with the place: neither a damaged catalog to be made anew, nor a riddle. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { injecting, makeScene } from '../repo/upkeep/support.ts';
import { needs } from '../support/needs.ts';
import { STRACE } from '../support/strace.ts';

test('a catalog that the disk does not give is no damaged one', needs('strace'), async (t) => {
  const { dir, data, runWith, run, add } = await makeScene(t);
  await add('one', 'one');
  const catalog = path.join(data, 'catalog.sqlite');
  for (const when of ['1+', '2+', '3+', '5+']) {
    const wrapper = injecting(dir, catalog, 'pread64', `error=EIO:when=${when}`);
    const { code, stderr } = await runWith({ wrapper }, 'repo', 'show', 'tools');
    assert.equal(code, 1, `${when}: ${stderr}`);
    assert.match(stderr, /error \(storage\.failed\): The disk fails at the catalog \/.*catalog\.sqlite \(.*check it/);
    assert.doesNotMatch(stderr, /rebuild/);
  }
  for (const when of ['6+', '9+', '15+', '25+']) {
    const wrapper = injecting(dir, catalog, 'pread64', `error=EIO:when=${when}`);
    const { code, stdout, stderr } = await runWith({ wrapper }, 'doctor');
    if (code === 0) continue; // it reads less than that
    assert.equal(code, 1, `${when}: ${stdout}${stderr}`);
    assert.match(stderr, /error \(storage\.failed\)/);
  }
  assert.equal((await run('doctor')).code, 0);
});

test('any other file is named', needs('strace'), async (t) => {
  const { dir, data, runWith, run, add } = await makeScene(t);
  await add('one', 'one');
  const blobs = path.join(data, 'blobs', 'sha256');
  const wrapper = injecting(dir, blobs, 'openat', 'error=EIO');
  const { code, stderr } = await runWith({ wrapper }, 'prune');
  assert.equal(code, 1, stderr);
  assert.match(stderr, /error \(storage\.failed\): The disk fails at \/.*\/blobs\/sha256 \(EIO: i\/o error/);

  const file = path.join(dir, 'two');
  await writeFile(file, 'two');
  const fsync = [...STRACE, '-qq', '-o', path.join(dir, 'trace'), '-e', 'trace=fsync', '-e'];
  const command = ['import', 'file', '--repository', 'tools', '--path', 'two', file];
  const failed = await runWith({ wrapper: [...fsync, 'inject=fsync:error=EIO:when=1'] }, ...command);
  assert.equal(failed.code, 1, failed.stderr);
  assert.match(failed.stderr, /error \(storage\.failed\): The disk fails at \/.*data\/.* \(EIO: i\/o error, fsync\)/);
  assert.equal((await run(...command)).code, 0);
});
