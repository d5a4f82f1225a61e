import assert from 'node:assert/strict';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { ProcessLock } from '../../../src/repo/blobs/process-lock.ts';
import { startChild, withDirectory } from './support.ts';

const script = path.join(import.meta.dirname, 'lock-child.ts');

describe('a process lock', () => {
  test('is held by one in a process', () =>
    withDirectory(async (dir) => {
      const file = path.join(dir, 'lock');
      const lock = ProcessLock.tryAcquire(file);
      assert.equal(lock?.path, file);
      assert.equal(ProcessLock.tryAcquire(file), undefined);
      assert.equal(ProcessLock.tryAcquire(file), undefined); // closing the failed attempt did not drop it
      lock?.release();
      lock?.release();
      const again = ProcessLock.tryAcquire(file);
      assert.ok(again);
      lock?.release(); // not ours any more
      assert.equal(ProcessLock.tryAcquire(file), undefined);
      again.release();
    }));

  test("may be shared by any number, and is then nobody's alone", () =>
    withDirectory(async (dir) => {
      const file = path.join(dir, 'lock');
      const shared: (ProcessLock | undefined)[] = [ProcessLock.tryShare(file), ProcessLock.tryShare(file)];
      assert.ok(!shared.includes(undefined));
      assert.equal(ProcessLock.tryAcquire(file), undefined);
      const child = startChild(script, [file]);
      assert.equal(await child.line(), 'busy');
      await child.finish();
      shared[0]?.release();
      assert.equal(ProcessLock.tryAcquire(file), undefined);
      shared.push(ProcessLock.tryShare(file));
      assert.ok(shared[2], 'a failed attempt to have it alone leaves nothing behind');
      for (const lock of shared) lock?.release();
      const alone = ProcessLock.tryAcquire(file);
      assert.ok(alone);
      alone.release();
      assert.deepEqual(await readdir(dir), ['lock']);
    }));

  test('that somebody has alone is not shared', () =>
    withDirectory(async (dir) => {
      const file = path.join(dir, 'lock');
      const child = startChild(script, [file]);
      assert.equal(await child.line(), 'held');
      assert.equal(ProcessLock.tryShare(file), undefined);
      await child.kill();
      const lock = ProcessLock.tryShare(file);
      assert.ok(lock);
      lock.release();
    }));

  test('leaves an empty file and nothing else', () =>
    withDirectory(async (dir) => {
      const lock = ProcessLock.tryAcquire(path.join(dir, 'lock'));
      assert.deepEqual(await readdir(dir), ['lock']);
      lock?.release();
      assert.deepEqual(await readdir(dir), ['lock']);
      assert.equal((await stat(path.join(dir, 'lock'))).size, 0);
    }));

  test('excludes other processes, both ways', () =>
    withDirectory(async (dir) => {
      const file = path.join(dir, 'lock');
      const first = startChild(script, [file]);
      assert.equal(await first.line(), 'held');
      assert.equal(ProcessLock.tryAcquire(file), undefined);
      const second = startChild(script, [file]);
      assert.equal(await second.line(), 'busy');
      assert.deepEqual([await second.finish(), await first.finish()], [0, 0]);

      const ours = ProcessLock.tryAcquire(file);
      assert.ok(ours);
      const third = startChild(script, [file]);
      assert.equal(await third.line(), 'busy');
      await third.finish();
      ours.release();
    }));

  test('is let go when its process is killed, and leaves no rubbish', () =>
    withDirectory(async (dir) => {
      const file = path.join(dir, 'lock');
      const child = startChild(script, [file]);
      assert.equal(await child.line(), 'held');
      await child.kill();
      const lock = ProcessLock.tryAcquire(file);
      assert.ok(lock);
      lock.release();
      assert.deepEqual(await readdir(dir), ['lock']);
    }));

  test('stays with the file when its folder is renamed or the file removed', () =>
    withDirectory(async (dir) => {
      await mkdir(path.join(dir, 'a'));
      const lock = ProcessLock.tryAcquire(path.join(dir, 'a', 'lock'));
      await rename(path.join(dir, 'a'), path.join(dir, 'b'));
      assert.equal(ProcessLock.tryAcquire(path.join(dir, 'b', 'lock')), undefined);
      await rm(path.join(dir, 'b', 'lock'));
      const other = ProcessLock.tryAcquire(path.join(dir, 'b', 'lock'));
      assert.ok(other, 'a new file is another lock');
      lock?.release();
      other.release();
    }));

  test('survives the garbage collector although nobody refers to it', () =>
    withDirectory(async (dir) => {
      const file = path.join(dir, 'lock');
      const takeAndForget = (): boolean => ProcessLock.tryAcquire(file) !== undefined;
      assert.ok(takeAndForget());
      for (let round = 0; round < 20; round++) {
        Array.from({ length: 1000 }, () => new Uint8Array(10_000)); // enough rubbish that it is collected
        await new Promise(setImmediate);
      }
      assert.equal(ProcessLock.tryAcquire(file), undefined);
    }));

  test('cannot be taken where there is no folder, or on a file with other content', () =>
    withDirectory(async (dir) => {
      assert.throws(() => ProcessLock.tryAcquire(path.join(dir, 'nowhere', 'lock')));
      await writeFile(path.join(dir, 'notes'), 'not a database '.repeat(100));
      assert.throws(() => ProcessLock.tryAcquire(path.join(dir, 'notes')));
    }));
});
