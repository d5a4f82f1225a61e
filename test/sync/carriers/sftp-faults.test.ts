import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AirlockError, isAirlockError } from '../../../src/errors.ts';
import type { Carrier } from '../../../src/sync/carriers/carrier.ts';
import { parseSftpUrl } from '../../../src/sync/carriers/sftp-address.ts';
import { openSftpCarrier, type SftpOptions } from '../../../src/sync/carriers/sftp-carrier.ts';
import { failsWith, pattern, put, read } from '../../conformance/carrier.ts';
import { needsRoot } from '../../support/needs.ts';
import { needsSshServer, SFTP_SERVER, type SshServer, startSshServer } from '../../support/ssh-server.ts';
import { type RelayOptions, startRelay } from '../../support/tcp-relay.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { makeTinyDisk } from '../../support/tiny-disk.ts';

const MiB = 2 ** 20;
const NAME = 'volume-0001.tar';
const BYTES = pattern(4 * MiB, 1);

describe('over SFTP', needsSshServer(), () => {
  let server: SshServer;
  before(async () => {
    server = await startSshServer();
  });
  after(() => server.stop());

  async function open(t: TestContext, dir: string, options: Partial<SftpOptions> = {}, at = server): Promise<Carrier> {
    const login = { identity: at.identity, hostKeys: [...at.fingerprints] };
    const carrier = await openSftpCarrier(parseSftpUrl(at.url(dir)), { ...login, settleEvery: MiB / 4, ...options });
    t.after(() => carrier.close());
    return carrier;
  }

  async function openThrough(t: TestContext, dir: string, line: RelayOptions, options: Partial<SftpOptions> = {}) {
    const relay = await startRelay(server.port, line);
    t.after(() => relay.stop());
    const login = { identity: server.identity, hostKeys: [...server.fingerprints] };
    const address = parseSftpUrl(server.url(dir, relay.port));
    const carrier = await openSftpCarrier(address, { ...login, settleEvery: MiB / 4, ...options });
    t.after(() => carrier.close());
    return carrier;
  }

  test('a connection cut at 99 % leaves no file, and the next one goes on', async (t) => {
    const dir = await tempDir(t);
    const carrier = await openThrough(t, dir, { cutAfter: Math.floor(BYTES.length * 0.99) });
    const error = await failsWith('source.lost', () => put(carrier, NAME, BYTES));
    assert.ok(error instanceof AirlockError);
    assert.equal(error.exitCode, 5);
    assert.deepEqual(await readdir(dir), [`${NAME}.partial`]);
    await failsWith('source.lost', () => carrier.list()); // it stays lost

    const next = await open(t, dir);
    assert.deepEqual(await next.list().then(({ files, unfinished }) => [files, unfinished]), [[], [NAME]]);
    const writer = await next.create(NAME);
    assert.ok(writer.offset >= 0.9 * BYTES.length, `${writer.offset}`);
    const kept = new Uint8Array(writer.offset);
    await writer.readAt(kept, 0);
    assert.deepEqual(kept, BYTES.subarray(0, writer.offset));
    await writer.write(BYTES.subarray(writer.offset));
    await writer.commit();
    assert.deepEqual(new Uint8Array(await readFile(path.join(dir, NAME))), BYTES);
  });

  test('a connection cut while reading is told, not taken for the end', async (t) => {
    const dir = await tempDir(t);
    await writeFile(path.join(dir, NAME), BYTES);
    const carrier = await openThrough(t, dir, { cutAfter: BYTES.length / 2 });
    await failsWith('source.lost', () => read(carrier, NAME));
  });

  test('a server that is killed in the middle is told', async (t) => {
    const own = await startSshServer();
    t.after(() => own.stop());
    const dir = await tempDir(t);
    const carrier = await open(t, dir, {}, own);
    const writer = await carrier.create(NAME);
    await writer.write(BYTES.subarray(0, MiB + 5));
    own.kill();
    await failsWith('source.lost', async () => {
      await writer.write(BYTES.subarray(MiB + 5));
      await writer.commit();
    });
    await writer.cancel(); // never fails, and nobody waits for it
    assert.deepEqual(await readdir(dir), [`${NAME}.partial`]);
    await failsWith('source.lost', () => carrier.create('b'));
    await carrier.close();
  });

  test('a server that answers no more is given up', async (t) => {
    const dir = await tempDir(t);
    const carrier = await openThrough(t, dir, { stallAfter: MiB }, { idleTimeout: 300 });
    const error = await failsWith('source.lost', () => put(carrier, NAME, BYTES));
    assert.match(error.message, /answered nothing/);
  });

  test('a slow one is not, however long it takes', async (t) => {
    const dir = await tempDir(t);
    const bytes = BYTES.subarray(0, MiB);
    const carrier = await openThrough(t, dir, { bytesPerSecond: MiB / 4 }, { idleTimeout: 2000 });
    await put(carrier, NAME, bytes);
    assert.deepEqual(new Uint8Array(await readFile(path.join(dir, NAME))), bytes);
  });

  test('nothing goes on once the user stops, and the rest is kept', async (t) => {
    const dir = await tempDir(t);
    const stop = new AbortController();
    const carrier = await open(t, dir, { signal: stop.signal });
    const writer = await carrier.create(NAME);
    await writer.write(BYTES.subarray(0, MiB));
    stop.abort();
    await failsWith('interrupted', () => writer.write(BYTES.subarray(MiB)));
    await writer.suspend();
    const writer2 = await (await open(t, dir)).create(NAME);
    assert.equal(writer2.offset, MiB - MiB / 4);
    await writer2.cancel();
  });

  test('a full disk there is a full medium', needsRoot('mount'), async (t) => {
    const disk = makeTinyDisk(t, 6);
    disk.fill(2 * MiB + 100_000);
    const own = await startSshServer(); // after the mount: its namespace has a copy of what is mounted
    t.after(() => own.stop());
    const carrier = await open(t, disk.dir, {}, own);
    assert.ok(((await carrier.freeSpace()) ?? 0) < 3 * MiB);
    const writer = await carrier.create(NAME);
    const error = await failsWith('medium.full', async () => {
      await writer.write(BYTES);
      await writer.commit();
    });
    assert.ok(isAirlockError(error) && typeof error.details.free === 'number');
    await writer.suspend().catch(() => undefined);
    assert.equal(await carrier.open(NAME), undefined);
    disk.relieve();
    const again = await carrier.create(NAME);
    assert.ok(again.offset >= MiB);
    await again.write(BYTES.subarray(again.offset));
    await again.commit();
    assert.deepEqual(await read(carrier, NAME), BYTES);
  });

  test('a folder in which nobody can make files is told', async (t) => {
    const carrier = await open(t, '/proc');
    const isTold = (error: unknown) => isAirlockError(error, 'usage.invalid', 'storage.failed', 'source.lost');
    await assert.rejects(carrier.create('a'), isTold);
  });

  test('what others write there meanwhile is noticed', async (t) => {
    const dir = await tempDir(t);
    const carrier = await open(t, dir);
    const writer = await carrier.create('a');
    await writer.write(BYTES.subarray(0, 1000));
    await writer.write(new Uint8Array());
    await writer.suspend();
    const next = await carrier.create('a');
    await next.write(BYTES.subarray(0, 1000));
    await writeFile(path.join(dir, 'a.partial'), BYTES.subarray(0, 5000));
    await failsWith('storage.failed', () => next.commit());
    assert.equal(await carrier.open('a'), undefined);
  });

  test('extensions are used where they are', async (t) => {
    const dir = await tempDir(t);
    assert.equal(typeof (await (await open(t, dir)).freeSpace()), 'number');
    const own = await startSshServer({ sftp: ['-P', 'statvfs'] });
    t.after(() => own.stop());
    assert.equal(await (await open(t, dir, {}, own)).freeSpace(), undefined);
  });

  test('bytes are durable before the name is, and the name before it is told', needsSshServer('strace'), async (t) => {
    const dir = await tempDir(t);
    const trace = path.join(await tempDir(t), 'trace');
    const calls = 'trace=fsync,rename,pwrite64,write,mkdir';
    const own = await startSshServer({ under: ['/usr/bin/strace', '-f', '-y', '-o', trace, '-e', calls, SFTP_SERVER] });
    t.after(() => own.stop());
    const carrier = await open(t, dir, {}, own);
    await put(carrier, 'metadata/a', BYTES.subarray(0, MiB / 4 + 1));
    await carrier.close();
    const lines = readFileSync(trace, 'utf8').replaceAll(dir, 'DIR').split('\n');
    const steps = lines
      .map((line) =>
        /(fsync\(\d+<[^>]*>|mkdir\("[^"]*"|rename\("[^"]*", "[^"]*")/.exec(line)?.[1]?.replace(/\d+</, '<'),
      )
      .filter((step) => step !== undefined);
    assert.deepEqual(steps, [
      'mkdir("DIR/metadata"',
      'fsync(<DIR>',
      'fsync(<DIR/metadata/a.partial>', // after a quarter of a MiB
      'fsync(<DIR/metadata/a.partial>',
      'rename("DIR/metadata/a.partial", "DIR/metadata/a"',
      'fsync(<DIR/metadata>',
    ]);
  });

  describe('a hostile server', () => {
    let hostile: SshServer;
    before(async () => {
      const program = fileURLToPath(new URL('hostile-sftp-child.ts', import.meta.url));
      hostile = await startSshServer({ under: [process.execPath, program] });
    });
    after(() => hostile.stop());

    test('names nothing that leaves the folder', async (t) => {
      const carrier = await open(t, '/there', {}, hostile);
      const listing = await carrier.list();
      assert.deepEqual(listing.files, [{ name: 'good', size: 100_000 }]);
      assert.deepEqual(listing.folders, ['metadata']);
      const ignored = listing.ignored.map(({ name, why }) => `${why} ${name}`);
      for (const each of [
        'name ../x',
        'name /etc/passwd',
        'name a/b',
        'name a\\b',
        'name nul\0',
        'link link',
        'special pipe',
      ])
        assert.ok(ignored.includes(each), each);
    });

    test('cannot list without end', async (t) => {
      const carrier = await open(t, '/there', {}, hostile);
      await failsWith('bundle.invalid', () => carrier.list('endless'));
    });

    test('may give less than was asked for, but not less than it said', async (t) => {
      const carrier = await open(t, '/there', {}, hostile);
      const bytes = await read(carrier, 'short');
      assert.deepEqual(
        bytes,
        Uint8Array.from({ length: 100_000 }, (_, at) => at % 251),
      );
      const error = await failsWith('source.lost', () => read(carrier, 'shrinks'));
      assert.match(error.message, /shorter/);
    });

    test('cannot give more than was asked for, nor something else', async (t) => {
      const carrier = await open(t, '/there', {}, hostile);
      const greedy = await read(carrier, 'greedy').catch((error: unknown) => error);
      if (greedy instanceof Uint8Array) assert.equal(greedy.length, 100_000);
      else assert.ok(isAirlockError(greedy, 'storage.failed', 'source.lost'), String(greedy));
      const other = await open(t, '/there', {}, hostile);
      await assert.rejects(read(other, 'garbage'), (error) => isAirlockError(error, 'storage.failed', 'source.lost'));
    });

    test('that refuses to take anything is told', async (t) => {
      const carrier = await open(t, '/there', {}, hostile);
      await assert.rejects(put(carrier, 'new', BYTES), (error) =>
        isAirlockError(error, 'storage.failed', 'bundle.invalid'),
      );
    });
  });
});
