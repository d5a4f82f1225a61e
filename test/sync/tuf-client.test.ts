/** The main cases of the public conformance suite, played through the executable that the suite drives. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Key } from '@tufjs/models';
import { makeSigningKey } from '../../src/sync/trust/signing-key.ts';
import { ended } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';
import { TufRepository } from './tuf-repository.ts';

const CLIENT = path.join(import.meta.dirname, '..', 'conformance', 'tuf-client');

interface Scene {
  readonly repository: TufRepository;
  readonly refresh: () => Promise<number | null>;
  readonly download: (name: string) => Promise<number | null>;
  readonly version: (role: string) => Promise<number | undefined>;
  readonly targets: string;
}

async function scene(t: TestContext): Promise<Scene> {
  const dir = await tempDir(t);
  const repository = new TufRepository();
  const url = await repository.serve(t);
  const [metadata, targets] = [path.join(dir, 'metadata'), path.join(dir, 'targets')];
  const client = async (...args: string[]) =>
    (await ended(spawn(CLIENT, ['--metadata-dir', metadata, ...args], { stdio: ['ignore', 'pipe', 'pipe'] }))).code;
  const root = path.join(dir, 'initial.json');
  await writeFile(root, repository.files.get('metadata/1.root.json') ?? '');
  assert.equal(await client('init', root), 0);
  const remote = ['--metadata-url', `${url}/metadata`];
  return {
    repository,
    targets,
    refresh: () => client(...remote, 'refresh'),
    download: (name) =>
      client(
        ...remote,
        '--target-name',
        name,
        '--target-base-url',
        `${url}/targets`,
        '--target-dir',
        targets,
        'download',
      ),
    version: async (role) => {
      const text = await readFile(path.join(metadata, `${role}.json`), 'utf8').catch(() => undefined);
      return text === undefined ? undefined : (JSON.parse(text) as { signed: { version: number } }).signed.version;
    },
  };
}

test('tuf-client: refreshes, downloads once, and keeps what it has', async (t) => {
  const { repository, refresh, download, version, targets } = await scene(t);
  assert.equal(await refresh(), 0);
  assert.deepEqual(repository.asked, [
    'metadata/2.root.json',
    'metadata/timestamp.json',
    'metadata/1.snapshot.json',
    'metadata/1.targets.json',
  ]);
  repository.addTarget('a.txt', 'hello');
  repository.publish();
  assert.equal(await download('a.txt'), 0);
  const [file = ''] = await readdir(targets);
  assert.equal(await readFile(path.join(targets, file), 'utf8'), 'hello');
  repository.asked.length = 0;
  assert.equal(await download('a.txt'), 0);
  assert.deepEqual(repository.asked, ['metadata/2.root.json', 'metadata/timestamp.json']);
  assert.equal(await download('no-such'), 1);
  repository.addTarget('b.txt', 'right');
  repository.publish();
  for (const name of repository.files.keys())
    if (name.endsWith('.b.txt')) repository.files.set(name, Buffer.from('wrong'));
  assert.equal(await download('b.txt'), 1);
  assert.equal(await version('targets'), 3);
});

test('tuf-client: steps through all roots, each signed by the one before it', async (t) => {
  const { repository, refresh, version } = await scene(t);
  for (let n = 0; n < 3; n += 1) {
    const former = repository.keys.root;
    repository.keys.root = [makeSigningKey()];
    repository.publishRoot([...former, ...repository.keys.root]);
  }
  assert.equal(await refresh(), 0);
  assert.equal(await version('root'), 4);
  repository.keys.root = [makeSigningKey()];
  repository.publishRoot(); // without the former key
  assert.equal(await refresh(), 1);
  assert.equal(await version('root'), 4);
});

test('tuf-client: a root of the wrong version, or not signed by itself, is refused', async (t) => {
  const { repository, refresh, version } = await scene(t);
  const former = repository.keys.root;
  repository.keys.root = [makeSigningKey()];
  repository.publishRoot(former);
  assert.equal(await refresh(), 1);
  repository.keys.root = former;
  repository.versions.root = 2;
  repository.publishRoot();
  repository.files.set('metadata/2.root.json', repository.files.get('metadata/3.root.json') ?? Buffer.from(''));
  assert.equal(await refresh(), 1);
  assert.equal(await version('root'), 1);
});

test('tuf-client: older timestamps, snapshots and targets are refused', async (t) => {
  const { repository, refresh, version } = await scene(t);
  repository.publish();
  repository.publish();
  assert.equal(await refresh(), 0);
  repository.versions = { ...repository.versions, timestamp: 2 };
  repository.publishAsIs();
  assert.equal(await refresh(), 1);
  repository.versions = { ...repository.versions, timestamp: 4, snapshot: 2 };
  repository.publishAsIs();
  assert.equal(await refresh(), 1);
  repository.versions = { ...repository.versions, timestamp: 5, snapshot: 4, targets: 1 };
  repository.publishAsIs();
  assert.equal(await refresh(), 1);
  assert.deepEqual([await version('snapshot'), await version('targets')], [3, 3]);
});

test('tuf-client: after high versions by stolen keys, rotating the keys recovers', async (t) => {
  const { repository, refresh, version } = await scene(t);
  repository.versions = { ...repository.versions, timestamp: 99999, snapshot: 99999, targets: 99999 };
  repository.publishAsIs();
  assert.equal(await refresh(), 0);
  repository.keys.timestamp = [makeSigningKey()];
  repository.keys.snapshot = [makeSigningKey()];
  repository.publishRoot();
  repository.versions = { ...repository.versions, timestamp: 1, snapshot: 1, targets: 1 };
  repository.publishAsIs();
  assert.equal(await refresh(), 0);
  assert.deepEqual([await version('timestamp'), await version('snapshot'), await version('targets')], [1, 1, 1]);
});

test('tuf-client: thresholds count keys, not signatures', async (t) => {
  const { repository, refresh, version } = await scene(t);
  assert.equal(await refresh(), 0);
  const [key] = repository.keys.snapshot;
  assert.ok(key);
  // The same key under another id, so that one holder could sign twice.
  const { keyVal } = key.publicKey;
  const again = new Key({ keyID: 'ab'.repeat(32), keyType: 'ed25519', scheme: 'ed25519', keyVal });
  repository.threshold.snapshot = 2;
  repository.alter.root = (root) => root.addKey(again, 'snapshot');
  repository.publishRoot();
  repository.keys.snapshot = [
    key,
    {
      ...key,
      id: again.keyID,
      publicKey: again,
      sign: (bytes) => Object.assign(key.sign(bytes), { keyID: again.keyID }),
    },
  ];
  repository.publish();
  assert.equal(await refresh(), 1);
  assert.deepEqual([await version('root'), await version('snapshot')], [2, 1]);
  delete repository.alter.root;
  repository.keys.snapshot = [key, makeSigningKey()];
  repository.publishRoot();
  repository.publish();
  assert.equal(await refresh(), 0);
});

test('tuf-client: what expired, was changed, or is missing is refused', async (t) => {
  const { repository, refresh, version } = await scene(t);
  repository.expires = '2020-01-01T00:00:00Z';
  repository.publish();
  assert.equal(await refresh(), 1);
  repository.expires = '2099-01-01T00:00:00Z';
  repository.publish();
  const name = `metadata/${repository.versions.snapshot}.snapshot.json`;
  const good = repository.files.get(name) ?? Buffer.from('');
  repository.files.set(name, Buffer.from(good.toString().replace('2099', '2098')));
  assert.equal(await refresh(), 1);
  repository.files.delete(name);
  assert.equal(await refresh(), 1);
  repository.files.set(name, good);
  assert.equal(await refresh(), 0);
  assert.equal(await version('snapshot'), 3);
});
