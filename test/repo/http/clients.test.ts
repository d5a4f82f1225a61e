import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { TestRepository, testBytes } from './support.ts';

const run = promisify(execFile);
const bytes = testBytes(12_000_000);

async function start(t: TestContext): Promise<{ url: string; dir: string; file: string }> {
  const repository = await TestRepository.make(t);
  await repository.put('images/6.3/x.iso', bytes, { kind: 'image' });
  const server = await repository.serve(t);
  const dir = await tempDir(t);
  return { url: `${server.url}/repos/images/6.3/x.iso`, dir, file: path.join(dir, 'x.iso') };
}

const same = async (file: string) => assert.ok((await readFile(file)).equals(bytes), 'other bytes');

test('curl fetches, resumes and does not fetch again what it has', needs('curl'), async (t) => {
  const { url, file, dir } = await start(t);
  await run('curl', ['-sSf', '-o', file, url]);
  await same(file);
  await writeFile(file, bytes.subarray(0, 5_000_001));
  const { stdout } = await run('curl', ['-sSf', '-C', '-', '-o', file, '-w', '%{http_code} %{size_download}', url]);
  assert.equal(stdout, `206 ${bytes.length - 5_000_001}`);
  await same(file);

  const etag = path.join(dir, 'etag');
  await run('curl', ['-sSf', '--etag-save', etag, '-o', file, url]);
  const again = ['-sSf', '--etag-compare', etag, '-o', path.join(dir, 'none'), '-w', '%{http_code}', url];
  assert.equal((await run('curl', again)).stdout, '304');
  const since = ['-sSf', '-z', file, '-R', '-o', path.join(dir, 'none'), '-w', '%{http_code}', url];
  assert.equal((await run('curl', since)).stdout, '304');
});

test('curl follows into a folder and finds the image in the listing', needs('curl'), async (t) => {
  const { url } = await start(t);
  const { stdout } = await run('curl', [
    '-sSfL',
    path.posix.dirname(url).replace('http:/', 'http://').replace('///', '//'),
  ]);
  assert.match(stdout, /<a href="x\.iso">x\.iso<\/a>/);
});

test('wget resumes, and mirrors a folder', needs('wget'), async (t) => {
  const { url, file, dir } = await start(t);
  await writeFile(file, bytes.subarray(0, 4_000_000));
  await run('wget', ['-q', '-c', '-O', file, url]);
  await same(file);
  const to = path.join(dir, 'mirror');
  await run('wget', [
    '-q',
    '-r',
    '-np',
    '-nH',
    '--cut-dirs=2',
    '-R',
    'index.html*',
    '-P',
    to,
    url.replace('x.iso', ''),
  ]);
  await same(path.join(to, '6.3/x.iso'));
});

test('aria2c fetches by eight connections', needs('aria2c'), async (t) => {
  const { url, file, dir } = await start(t);
  const options = ['-q', '-x8', '-s8', '-k1M', '--file-allocation=none', '-d', dir, '-o', 'x.iso'];
  await run('aria2c', [...options, url]);
  await same(file);
});
