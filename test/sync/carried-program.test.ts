import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { programToCarry } from '../../src/sync/bundle/carried-program.ts';
import { airlock, airlockJson } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';
import { coded } from './scene.ts';

const NAME = 'airlock-9.1.0-linux-x64.tar.gz';
const BUNDLE = 'airlock-north-000001';

interface Verified {
  volumes: { name: string; status: string }[];
}

test('programToCarry: only a package, and only as the SHA256SUMS beside it says', async (t) => {
  const dir = await tempDir(t);
  const file = path.join(dir, NAME);
  await assert.rejects(programToCarry(file), (error: unknown) => {
    return coded('file.not-found')(error) && /npm run package/.test(String(error));
  });
  await writeFile(file, 'package');
  const { name, size, sha256 } = await programToCarry(file);
  assert.deepEqual([name, size, sha256], [NAME, 7, createHash('sha256').update('package').digest('hex')]);
  const sums = path.join(dir, 'SHA256SUMS');
  await writeFile(sums, `${sha256}  ${NAME}\n`);
  assert.equal((await programToCarry(file)).sha256, sha256);
  await writeFile(sums, `${'0'.repeat(64)}  ${NAME}\n`);
  await assert.rejects(programToCarry(file), coded('checksum.mismatch'));
  await assert.rejects(programToCarry(sums), coded('usage.invalid'));
});

test('export --with-airlock: the package travels with the bundle, signed, and is not read by an import', async (t) => {
  const dir = await tempDir(t);
  const [station, site, stick, file] = ['station', 'site', 'stick', NAME].map((name) => path.join(dir, name)) as [
    string,
    string,
    string,
    string,
  ];
  const at = (data: string, ...args: string[]) => airlock(['--data', data, ...args]);
  const ok = async (...words: Parameters<typeof at>) => {
    const result = await at(...words);
    assert.equal(result.code, 0, result.stderr);
    return result;
  };
  await mkdir(stick);
  const bytes = randomBytes(300_000);
  await writeFile(file, bytes);
  await ok(station, 'keys', 'init');
  await ok(station, 'keys', 'export-root', path.join(dir, 'root.json'));
  await ok(station, 'import', 'file', '--repository', 'tools', '--path', 'a', path.join(dir, 'root.json'));
  const exporting = ['export', '--site', 'north', '--to', stick] as const;

  const planned = async (...args: string[]) => {
    const { json } = await airlockJson<{ bytes: { medium: number } }>([
      ...['--data', station, ...exporting, '--dry-run'],
      ...args,
    ]);
    return json.bytes.medium;
  };
  assert.equal((await planned('--with-airlock', file)) - (await planned()), bytes.length);

  await ok(station, ...exporting, '--with-airlock', file);
  const bundle = path.join(stick, BUNDLE);
  assert.deepEqual(await readFile(path.join(bundle, NAME)), bytes);
  execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: bundle, stdio: 'pipe' });
  assert.match(await readFile(path.join(bundle, 'SHA256SUMS'), 'utf8'), /airlock-9\.1\.0-linux-x64\.tar\.gz/);
  assert.match(
    await readFile(path.join(bundle, 'README.txt'), 'utf8'),
    /airlock-9\.1\.0-linux-x64\/system\/install\.sh/,
  );

  await ok(site, 'trust', 'add', path.join(dir, 'root.json'), '--site', 'north');
  const verified = async () => {
    const { code, json } = await airlockJson<Verified>(['--data', site, 'bundle', 'verify', stick]);
    return { code, status: json.volumes.find(({ name }) => name === NAME)?.status };
  };
  assert.deepEqual(await verified(), { code: 0, status: 'good' });
  await writeFile(path.join(bundle, NAME), 'forged');
  assert.deepEqual(await verified(), { code: 4, status: 'damaged' });

  // gone on with: the same one is written again, another one was not signed
  await ok(station, ...exporting, '--resume', '--with-airlock', file);
  assert.deepEqual(await verified(), { code: 0, status: 'good' });
  await writeFile(file, 'another');
  const refused = await at(station, ...exporting, '--resume', '--with-airlock', file);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /signed with another Airlock/);

  await rm(path.join(bundle, NAME));
  assert.deepEqual(await verified(), { code: 0, status: undefined });
  assert.match((await ok(site, 'import', 'bundle', stick)).stdout, /Import success/);
});
