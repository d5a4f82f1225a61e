import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import { openDirectoryCarrier } from '../../../src/sync/carriers/directory-carrier.ts';
import { openCarrier } from '../../../src/sync/carriers/open-carrier.ts';
import { carrierConformance, failsWith, pattern, put, read } from '../../conformance/carrier.ts';
import { makeLoopDisk, needsLoopDisk } from '../../support/loop-disk.ts';
import { makeStick, needsStick, type Stick, type StickKind } from '../../support/media.ts';
import { needs, needsRoot } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { makeTinyDisk } from '../../support/tiny-disk.ts';
import { lookInto } from './places.ts';

const SETTLE_EVERY = 64 * 1024;
const MiB = 2 ** 20;
/** Seen with plain reads and writes, too; neither exFAT nor a kernel's file system does it. */
const FUSEFAT = 'fusefat 0.1a gives back other bytes behind the former end of a file that is read and written on';

for (const kind of ['fat32', 'exfat'] as const) {
  carrierConformance(
    `directory on ${kind}`,
    async () => {
      const stick = await makeStick(kind);
      const open = () => openDirectoryCarrier(stick.dir, { settleEvery: SETTLE_EVERY });
      const { peek, plant } = lookInto(stick.dir); // no links there
      return {
        peek,
        plant,
        carrier: await open(),
        settleEvery: SETTLE_EVERY,
        another: open,
        remove: () => stick.remove(),
      };
    },
    { ...needsStick(kind), ...(kind === 'fat32' ? { resumes: { skip: FUSEFAT } } : {}) },
  );
}

describe('a folder as a carrier', () => {
  test('must be there, and be a folder', async (t) => {
    const dir = await tempDir(t);
    await writeFile(path.join(dir, 'file'), 'x');
    for (const each of ['none', 'file', 'file/x', 'none/x'])
      await failsWith('file.not-found', () => openCarrier(path.join(dir, each)));
    await symlink(dir, path.join(dir, 'link')); // named by the user: that one is followed
    const carrier = await openCarrier(path.join(dir, 'link'));
    assert.deepEqual((await carrier.list()).files, [{ name: 'file', size: 1 }]);
  });

  test('is read where nothing can be written', needsRoot('mount'), async (t) => {
    const dir = await tempDir(t);
    await put(await openDirectoryCarrier(dir), 'metadata/a', pattern(1000, 1));
    const view = await mkdtemp(path.join(os.tmpdir(), 'airlock-ro-'));
    t.after(() => {
      spawnSync('umount', ['-l', view]);
      return rm(view, { recursive: true });
    });
    execFileSync('mount', ['--bind', dir, view]);
    execFileSync('mount', ['-o', 'remount,ro,bind', view]);
    const carrier = await openDirectoryCarrier(view);
    assert.deepEqual(await read(carrier, 'metadata/a'), pattern(1000, 1));
    assert.deepEqual((await carrier.list()).folders, ['metadata']);
    for (const run of [
      () => carrier.create('metadata/b'),
      () => carrier.create('c/d'),
      () => carrier.remove('metadata/a'),
    ]) {
      const error = await failsWith('storage.failed', run);
      assert.match(error.message, /read-only/);
    }
  });

  // fusefat keeps no files in memory.
  for (const kind of ['ext4', 'exfat'] as const) {
    const there = kind === 'ext4' ? needsLoopDisk(kind, 'fincore') : needsStick(kind);
    test(`what is read back comes from the medium, not out of memory: ${kind}`, there, async (t) => {
      const { dir } = kind === 'ext4' ? makeLoopDisk(t, kind) : await stickFor(t, kind);
      const carrier = await openDirectoryCarrier(dir);
      const bytes = pattern(4 * MiB, 1);
      await put(carrier, 'metadata/a.bin', bytes);
      const file = path.join(dir, 'metadata', 'a.bin');
      assert.ok(pagesInMemory(file) > 0);
      await carrier.dropCache?.('metadata/a.bin');
      assert.equal(pagesInMemory(file), 0);
      assert.deepEqual(await read(carrier, 'metadata/a.bin'), bytes);
    });
  }

  test('what is not there, or is no file, is in no memory: nothing is waited for', needs('mkfifo'), async (t) => {
    const dir = await tempDir(t);
    execFileSync('mkfifo', [path.join(dir, 'pipe')]);
    const carrier = await openDirectoryCarrier(dir);
    for (const name of ['pipe', 'none', 'none/x']) await carrier.dropCache?.(name);
  });

  test('that is full is a full medium, and can be gone on with', needsRoot('mount'), async (t) => {
    const disk = makeTinyDisk(t, 6);
    disk.fill(2 * MiB + 100_000);
    const carrier = await openDirectoryCarrier(disk.dir, { settleEvery: SETTLE_EVERY });
    const bytes = pattern(4 * MiB, 1);
    const writer = await carrier.create('volume-0001.tar');
    const error = await failsWith('medium.full', () => writer.write(bytes));
    assert.ok(error instanceof AirlockError);
    assert.equal(error.exitCode, 5);
    assert.equal(typeof error.details.free, 'number');
    await writer.suspend();
    assert.equal(await carrier.open('volume-0001.tar'), undefined);
    disk.relieve();
    const next = await carrier.create('volume-0001.tar');
    assert.ok(next.offset >= 1.9 * MiB, `${next.offset}`);
    await next.write(bytes.subarray(next.offset));
    await next.commit();
    assert.deepEqual(await read(carrier, 'volume-0001.tar'), bytes);
  });

  test('that was pulled is lost, and nothing is written into what lies under it', needsRoot('mount'), async (t) => {
    const dir = await tempDir(t);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dir]);
    t.after(() => spawnSync('umount', ['-l', dir]));
    const carrier = await openDirectoryCarrier(dir);
    await put(carrier, 'a', pattern(10, 1));
    execFileSync('umount', ['-l', dir]);
    for (const run of [
      () => carrier.create('b'),
      () => carrier.open('a'),
      () => carrier.list(),
      () => carrier.freeSpace(),
      () => carrier.remove('a'),
      () => carrier.sync(),
    ]) {
      const error = await failsWith('source.lost', run);
      assert.match(error.message, /another file system/);
    }
    assert.deepEqual(await readdir(dir), []);
  });

  test('whose mount point went away is lost', async (t) => {
    const dir = path.join(await tempDir(t), 'stick');
    await mkdir(dir);
    const carrier = await openDirectoryCarrier(dir);
    const writer = await carrier.create('metadata/a');
    await writer.write(pattern(10, 1));
    await rm(dir, { recursive: true });
    await failsWith('source.lost', () => writer.commit());
    await writer.cancel();
    await failsWith('source.lost', () => carrier.list());
    await failsWith('source.lost', () => carrier.create('b'));
  });

  test('is lost when its driver dies', needsStick('fat32'), async (t) => {
    const stick = await makeStick('fat32');
    t.after(() => stick.remove());
    const carrier = await openDirectoryCarrier(stick.dir);
    await put(carrier, 'a', pattern(MiB, 1));
    const file = await carrier.open('a');
    const writer = await carrier.create('b');
    await stick.kill();
    await failsWith('source.lost', async () => {
      await writer.write(pattern(1000, 1));
      await writer.commit();
    });
    await failsWith('source.lost', async () => await file?.readAt(new Uint8Array(MiB), 0));
    await file?.close(); // what was read has told it
  });

  test('stops when the user does', async (t) => {
    const stop = new AbortController();
    const dir = await tempDir(t);
    const carrier = await openDirectoryCarrier(dir, { signal: stop.signal });
    await put(carrier, 'a', pattern(10, 1));
    const writer = await carrier.create('b');
    const file = await carrier.open('a');
    stop.abort();
    await failsWith('interrupted', () => writer.write(pattern(10, 1)));
    await failsWith('interrupted', async () => await file?.readAt(new Uint8Array(10), 0));
    await writer.suspend();
    await file?.close();
    assert.deepEqual((await readdir(dir)).sort(), ['a', 'b.partial']);
  });
});

async function stickFor(t: TestContext, kind: StickKind): Promise<Stick> {
  const stick = await makeStick(kind);
  t.after(() => stick.remove());
  return stick;
}

function pagesInMemory(file: string): number {
  return Number(execFileSync('fincore', ['--noheadings', '--output', 'PAGES', file], { encoding: 'utf8' }));
}
