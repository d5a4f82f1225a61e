import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import * as durable from '../../../src/repo/blobs/durable.ts';
import { withDirectory } from './support.ts';

const variants = [
  ['promises', durable.writeFileDurably, durable.makeDirectory, durable.syncDirectory],
  ['synchronous', durable.writeFileDurablySync, durable.makeDirectorySync, durable.syncDirectorySync],
] as const;

for (const [name, writeDurably, makeDirectory, syncDirectory] of variants) {
  describe(`durable files, ${name}`, () => {
    test('hold text, bytes or lines', () =>
      withDirectory(async (dir) => {
        const file = path.join(dir, 'file');
        await writeDurably(file, 'text');
        assert.equal(await readFile(file, 'utf8'), 'text');
        await writeDurably(file, Uint8Array.of(0, 255, 7));
        assert.deepEqual([...(await readFile(file))], [0, 255, 7]);
        const lines = Array.from({ length: 30_000 }, (_, index) => `line ${index} ü`);
        await writeDurably(file, lines.values());
        assert.equal(await readFile(file, 'utf8'), lines.map((line) => `${line}\n`).join(''));
        await writeDurably(file, []);
        assert.equal(await readFile(file, 'utf8'), '');
        assert.deepEqual(await readdir(dir), ['file']);
      }));

    test('get the permissions asked for', () =>
      withDirectory(async (dir) => {
        const file = path.join(dir, 'secret');
        await writeDurably(file, 'x', { mode: 0o600 });
        assert.equal((await stat(file)).mode & 0o777, 0o600);
      }));

    test('keep the old content, and leave nothing beside it, when writing fails', () =>
      withDirectory(async (dir) => {
        const file = path.join(dir, 'file');
        await writeFile(file, 'old');
        function* failing(): Generator<string> {
          yield 'new';
          throw new Error('the source failed');
        }
        await assert.rejects(async () => writeDurably(file, failing()), /the source failed/);
        assert.equal(await readFile(file, 'utf8'), 'old');
        assert.deepEqual(await readdir(dir), ['file']);
        await assert.rejects(async () => writeDurably(path.join(dir, 'nowhere', 'file'), 'x'), { code: 'ENOENT' });
      }));

    test('lie in directories that are made as needed', () =>
      withDirectory(async (dir) => {
        const deep = path.join(dir, 'a', 'b', 'c');
        assert.equal(await makeDirectory(deep), true);
        assert.equal(await makeDirectory(deep), false);
        assert.ok((await stat(deep)).isDirectory());
        await syncDirectory(deep);
      }));

    test('are not made where a file stands in the way', () =>
      withDirectory(async (dir) => {
        await writeFile(path.join(dir, 'file'), '');
        await assert.rejects(async () => makeDirectory(path.join(dir, 'file', 'below')), { code: 'ENOTDIR' });
        await assert.rejects(async () => syncDirectory(path.join(dir, 'nowhere')), { code: 'ENOENT' });
      }));
  });
}

test('directories may be made by several at once', () =>
  withDirectory(async (dir) => {
    await mkdir(path.join(dir, 'real'));
    await symlink(path.join(dir, 'real'), path.join(dir, 'link'));
    const deep = path.join(dir, 'link', 'x', 'y', 'z');
    await Promise.all(Array.from({ length: 20 }, () => durable.makeDirectory(deep)));
    assert.ok((await stat(path.join(dir, 'real', 'x', 'y', 'z'))).isDirectory());
    await chmod(deep, 0o700);
  }));

test('what a killed process left half written can be told by its name', async () => {
  assert.equal(durable.isTemporaryName('7.jsonl.0123456789abcdef.tmp'), true);
  for (const name of ['7.jsonl', '7.jsonl.tmp', '0123456789abcdef.tmp.gz', '0123456789abcdef']) {
    assert.equal(durable.isTemporaryName(name), false, name);
  }
});

test('only the errors that mean "does not fit" become space.insufficient', () => {
  for (const code of ['ENOSPC', 'EDQUOT', 'EFBIG']) {
    const error = Object.assign(new Error(code), { code });
    const seen = durable.asSpaceError(error, '/tmp/x', 12) as {
      code: string;
      details: { needed: number };
      cause: Error;
    };
    assert.equal(seen.code, 'space.insufficient');
    assert.equal(seen.details.needed, 12);
    assert.equal(seen.cause, error);
  }
  const other = Object.assign(new Error('EIO'), { code: 'EIO' });
  assert.equal(durable.asSpaceError(other, '/tmp/x'), other);
});
