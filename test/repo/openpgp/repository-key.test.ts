import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import {
  exportRepositoryKey,
  importRepositoryKey,
  openRepositoryKey,
  type RepositoryKey,
} from '../../../src/repo/formats/openpgp/repository-key.ts';
import { needs } from '../../support/needs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { Gnupg, gpgVerify } from './gnupg.ts';

const CHILD = path.join(import.meta.dirname, 'repository-key-child.ts');
const DOCUMENT = Buffer.from('<?xml version="1.0"?>\r\n<repomd/>\n');
const DAY = 24 * 3600_000;

async function refuses(work: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(isAirlockError(error, 'key.invalid'), String(error));
    assert.match(error.message, message);
    return true;
  });
}

async function assertSigns(key: RepositoryKey): Promise<void> {
  const signature = Buffer.from(await key.signDetached(DOCUMENT));
  const verdict = gpgVerify([Buffer.from(key.publicKey)], DOCUMENT, signature);
  assert.deepEqual(
    verdict.signatures.map(({ status }) => status),
    ['GOODSIG'],
    verdict.log,
  );
  const wrong = gpgVerify([Buffer.from(key.publicKey)], Buffer.concat([DOCUMENT, Buffer.from(' ')]), signature);
  assert.deepEqual(
    wrong.signatures.map(({ status }) => status),
    ['BADSIG'],
    wrong.log,
  );
}

function packets(armored: string): string {
  using gpg = new Gnupg();
  return gpg.run(['--list-packets'], { input: Buffer.from(armored) }).toString();
}

test('is made at first use and stays', async (t) => {
  const dataDir = await tempDir(t);
  const key = await openRepositoryKey(dataDir);
  assert.match(key.fingerprint, /^[0-9A-F]{40}$/);
  assert.equal(key.algorithm, 'RSA 3072');
  const again = await openRepositoryKey(dataDir);
  assert.equal(again.fingerprint, key.fingerprint);
  assert.equal(again.publicKey, key.publicKey);
  assert.equal(statSync(path.join(dataDir, 'keys', 'repository', 'private.asc')).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(path.join(dataDir, 'keys', 'repository')).sort(), ['lock', 'private.asc']);
  assert.doesNotMatch(key.publicKey, /PRIVATE/);
});

test('GnuPG verifies what it signs', needs('gpg'), async (t) => {
  await assertSigns(await openRepositoryKey(await tempDir(t)));
});

test('holds nothing that the tools of el7 do not know', needs('gpg'), async (t) => {
  const key = await openRepositoryKey(await tempDir(t));
  for (const text of [packets(key.publicKey), packets(await key.signDetached(DOCUMENT))]) {
    assert.match(text, /signature packet: algo 1,[\s\S]*version 4[\s\S]*digest algo 8/);
    assert.doesNotMatch(text, /notation|sub key/);
  }
});

test('rpm takes it', needs('rpmkeys=rpm', 'rpm'), async (t) => {
  const dir = await tempDir(t);
  const key = await openRepositoryKey(dir);
  const file = path.join(dir, 'RPM-GPG-KEY-airlock');
  writeFileSync(file, key.publicKey);
  const database = ['--dbpath', path.join(dir, 'rpmdb')];
  execFileSync('rpmkeys', [...database, '--import', file], { stdio: 'pipe' });
  const version = key.fingerprint.slice(-8).toLowerCase();
  assert.match(execFileSync('rpm', [...database, '-q', `gpg-pubkey-${version}`], { encoding: 'utf8' }), /^gpg-pubkey-/);
});

test('clocks may be wrong', needs('gpg'), async (t) => {
  const dataDir = await tempDir(t);
  const key = await openRepositoryKey(dataDir, new Date());
  const signature = Buffer.from(await key.signDetached(DOCUMENT, new Date(Date.now() - 365 * DAY)));
  assert.equal(gpgVerify([Buffer.from(key.publicKey)], DOCUMENT, signature).exitCode, 0);
  const early = gpgVerify([Buffer.from(key.publicKey)], DOCUMENT, signature, new Date(Date.now() - 12 * 3600_000));
  assert.equal(early.exitCode, 0, early.log);
});

test('processes that make it at the same time get the same one', async (t) => {
  const dataDir = await tempDir(t);
  const children = Array.from({ length: 3 }, () => startChild(t, dataDir));
  for (const { line } of children) assert.equal(await line(), 'ready');
  for (const { go } of children) go();
  const fingerprints = await Promise.all(children.map(({ line }) => line()));
  assert.equal(new Set(fingerprints).size, 1);
  assert.equal((await openRepositoryKey(dataDir)).fingerprint, fingerprints[0]);
});

function startChild(t: TestContext, dataDir: string) {
  const child = spawn(process.execPath, [CHILD, dataDir], { env: { ...process.env, NODE_TEST_CONTEXT: undefined } });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { go: () => child.stdin.write('\n'), line: async () => String((await lines.next()).value) };
}

describe('export and import', () => {
  test('the other half of a pair signs with the same key', needs('gpg'), async (t) => {
    const [one, two] = [await tempDir(t), await tempDir(t)];
    const first = await openRepositoryKey(one);
    const second = await openRepositoryKey(two);
    const { key, replaced } = await importRepositoryKey(two, Buffer.from(await exportRepositoryKey(one)));
    assert.deepEqual([key.fingerprint, replaced], [first.fingerprint, second.fingerprint]);
    assert.equal((await openRepositoryKey(two)).publicKey, first.publicKey);
    assert.equal(statSync(path.join(two, 'keys', 'repository', 'private.asc')).mode & 0o777, 0o600);
    await assertSigns(await openRepositoryKey(two));
    assert.equal((await importRepositoryKey(two, Buffer.from(await exportRepositoryKey(one)))).replaced, null);
  });

  test('export makes the key if there is none', async (t) => {
    const dataDir = await tempDir(t);
    assert.match(await exportRepositoryKey(dataDir), /^-----BEGIN PGP PRIVATE KEY BLOCK-----/);
    assert.equal((await openRepositoryKey(dataDir)).algorithm, 'RSA 3072');
  });

  for (const algorithm of ['rsa4096', 'ed25519']) {
    test(`a key made by GnuPG: ${algorithm}`, needs('gpg'), async (t) => {
      using gpg = new Gnupg();
      const fingerprint = gpg.makeKey('site', algorithm);
      const { key } = await importRepositoryKey(await tempDir(t), gpg.run(['--export-secret-keys', fingerprint]));
      assert.equal(key.fingerprint, fingerprint);
      await assertSigns(key);
    });
  }

  test('a private key that signs with a subkey', needs('gpg'), async (t) => {
    using gpg = new Gnupg();
    const fingerprint = gpg.makeKey('site', 'rsa3072', 'cert');
    gpg.addSubkey(fingerprint, 'rsa3072', 'sign');
    const { key } = await importRepositoryKey(await tempDir(t), gpg.run(['--export-secret-keys', fingerprint]));
    await assertSigns(key);
  });

  test('what cannot sign is refused, and nothing is changed', needs('gpg'), async (t) => {
    const dataDir = await tempDir(t);
    const key = await openRepositoryKey(dataDir);
    using gpg = new Gnupg();
    const weak = gpg.makeKey('weak', 'rsa1024');
    const noSigning = gpg.makeKey('no-signing', 'rsa3072', 'cert');
    const expired = gpg.makeKey('expired', 'rsa3072', 'sign', '1d', new Date(Date.now() - 10 * DAY));
    const secret = (fingerprint: string) => gpg.run(['--export-secret-keys', fingerprint]);
    gpg.run([
      '--passphrase',
      'locked',
      '--quick-generate-key',
      'locked <locked@vendor.example>',
      'rsa3072',
      'sign',
      'never',
    ]);
    const [locked = ''] = gpg.fingerprints('<locked@vendor.example>');
    const passphrase = gpg.run(['--passphrase', 'locked', '--export-secret-keys', locked]);
    const attempts: [Uint8Array, RegExp][] = [
      [Buffer.from(key.publicKey), /public key; give the private one/],
      [Buffer.from('nothing'), /neither armoured/],
      [
        Buffer.from('-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n'),
        /no private key/,
      ],
      [gpg.run(['--export', weak]), /no private key/],
      [secret(weak), /cannot sign/],
      [secret(noSigning), /cannot sign/],
      [secret(expired), /cannot sign/],
      [passphrase, /passphrase/],
      [new Uint8Array(2 * 1024 * 1024), /bytes long/],
      [secret(weak).subarray(0, 100), /no private key/],
    ];
    for (const [bytes, message] of attempts) await refuses(importRepositoryKey(dataDir, bytes), message);
    assert.equal((await openRepositoryKey(dataDir)).fingerprint, key.fingerprint);
  });

  test('a damaged key is named and never replaced silently; an import puts it right', async (t) => {
    const [dataDir, other] = [await tempDir(t), await tempDir(t)];
    await openRepositoryKey(dataDir);
    const file = path.join(dataDir, 'keys', 'repository', 'private.asc');
    const damaged = readFileSync(file, 'utf8').slice(0, 500);
    writeFileSync(file, damaged);
    await refuses(openRepositoryKey(dataDir), /private\.asc cannot be used[\s\S]*keys repository import/);
    await refuses(exportRepositoryKey(dataDir), /cannot be used/);
    assert.equal(readFileSync(file, 'utf8'), damaged);
    const { key } = await importRepositoryKey(dataDir, Buffer.from(await exportRepositoryKey(other)));
    assert.equal((await openRepositoryKey(dataDir)).fingerprint, key.fingerprint);
  });
});
