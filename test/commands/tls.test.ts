/** `tls init | renew | client | show`, and what the server says of certificates at its start. */
import assert from 'node:assert/strict';
import { chmod, copyFile, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { validityWarnings } from '../../src/repo/http/tls.ts';
import { airlock, airlockJson, startServer } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { done, logOf, OWN_TLS, run } from '../support/tls-server.ts';

const TOOLS = needs('openssl');

describe('what the server does not start with', TOOLS, () => {
  async function refusal(t: TestContext, change: (data: string) => Promise<void>, tlsKeys = OWN_TLS): Promise<string> {
    const data = await tempDir(t);
    await done(data, 'tls', 'init', '--name', 'localhost');
    await writeFile(path.join(data, 'airlock.yaml'), `tls: { ${tlsKeys} }\n`);
    await change(data);
    const { code, stderr } = await airlock(['--data', data, 'serve', '--listen', '127.0.0.1:0']);
    assert.equal(code, 2, stderr);
    return stderr;
  }
  const none = async () => undefined;

  test('a file that is not there', async (t) => {
    assert.match(await refusal(t, none, 'certificate: x.pem, key: y.pem'), /tls\.certificate: x\.pem is not there/);
  });

  test('a key of another certificate', async (t) => {
    const mixed = 'certificate: keys/tls/server.pem, key: keys/tls/ca.key';
    assert.match(await refusal(t, none, mixed), /tls\.key: keys\/tls\/ca\.key does not belong to the certificate/);
  });

  test('certificate and key mixed up', async (t) => {
    const mixed = 'certificate: keys/tls/server.key, key: keys/tls/server.pem';
    assert.match(await refusal(t, none, mixed), /holds a private key: are the two names mixed up/);
  });

  test('a key with a passphrase', async (t) => {
    const lock = async (data: string) => {
      const key = path.join(data, 'keys/tls/server.key');
      await run('openssl', 'pkey', '-in', key, '-aes128', '-passout', 'pass:secret', '-out', `${key}.locked`);
      await copyFile(`${key}.locked`, key);
    };
    assert.match(await refusal(t, lock), /is locked with a passphrase\. Unlock it: openssl pkey/);
  });

  test('requireClients without clients', async (t) => {
    assert.match(await refusal(t, none, `${OWN_TLS}, requireClients: true`), /says nothing without clients/);
  });
});

test('an expired certificate, and a key that others may read, are warned of', TOOLS, async (t) => {
  const data = await tempDir(t);
  await done(data, 'tls', 'init', '--name', 'localhost', '--days', '10');
  await chmod(path.join(data, 'keys/tls/server.key'), 0o644);
  await writeFile(path.join(data, 'airlock.yaml'), `tls: { ${OWN_TLS} }\nlog: { file: server.log }\n`);
  const server = await startServer(t, data);
  await server.stop();
  const log = await logOf({ data });
  assert.match(log, /the certificate of localhost expires in (9|10) days/);
  assert.match(log, /others than the owner may read or write/);
});

test('what is said of a certificate that is not valid now', () => {
  const day = (text: string) => new Date(`${text}T00:00:00Z`);
  const facts = {
    subject: 'a',
    issuer: 'b',
    serial: '1',
    names: ['a'],
    fingerprint: '',
    from: day('2026-01-01'),
    until: day('2026-12-31'),
  };
  const at = (text: string) => validityWarnings('tls.certificate', facts, day(text)).join();
  assert.match(at('2025-12-31'), /valid from 2026-01-01 on only: see that the clock is right/);
  assert.equal(at('2026-06-01'), '');
  assert.match(at('2026-12-21'), /expires in 10 days, on 2026-12-31/);
  assert.match(at('2027-01-02'), /of a expired on 2026-12-31: clients refuse it/);
});

test('"tls init" makes what openssl takes, once, and only its owner reads the keys', TOOLS, async (t) => {
  const data = await tempDir(t);
  const { json } = await airlockJson<{ ca: { fingerprint: string }; server: { names: string[] } }>([
    '--data',
    data,
    'tls',
    'init',
    '--name',
    'conductor-a',
    '--name',
    '10.0.0.5',
    '--name',
    'fd00::5',
  ]);
  assert.deepEqual(json.server.names, ['conductor-a', '10.0.0.5', 'fd00::5']);
  const at = (name: string) => path.join(data, 'keys/tls', name);
  for (const [option, name] of [
    ['-verify_hostname', 'conductor-a'],
    ['-verify_ip', '10.0.0.5'],
    ['-verify_ip', 'fd00::5'],
  ] as const) {
    const { code, stderr } = await run(
      'openssl',
      'verify',
      '-x509_strict',
      '-purpose',
      'sslserver',
      '-CAfile',
      at('ca.pem'),
      option,
      name,
      at('server.pem'),
    );
    assert.equal(code, 0, stderr);
  }
  const { stdout } = await run('openssl', 'x509', '-in', at('ca.pem'), '-noout', '-fingerprint', '-sha256');
  assert.ok(stdout.toString().includes(json.ca.fingerprint));
  const { stdout: modes } = await run('stat', '-c', '%a', at(''), at('ca.key'), at('server.key'));
  assert.equal(modes.toString(), '700\n600\n600\n');

  const before = await readFile(at('ca.pem'));
  const again = await airlock(['--data', data, 'tls', 'init']);
  assert.equal(again.code, 7);
  assert.match(again.stderr, /key\.exists.*keys\/tls\/ca\.pem/);
  assert.deepEqual(await readFile(at('ca.pem')), before);
  assert.match(await done(data, 'tls', 'show'), /keys\/tls\/server\.pem +conductor-a +\d{4}/);
  for (const wrong of ['http://x', 'a b', '-', 'x:8480']) {
    assert.equal((await airlock(['--data', await tempDir(t), 'tls', 'init', '--name', wrong])).code, 2, wrong);
  }
  assert.equal((await airlock(['--data', data, 'tls', 'client', '../x'])).code, 2);
});

describe('"tls renew"', TOOLS, () => {
  const [KEY, CERTIFICATE] = ['keys/tls/server.key', 'keys/tls/server.pem'];

  async function prepared(t: TestContext): Promise<string> {
    const data = await tempDir(t);
    await done(data, 'tls', 'init', '--name', 'conductor-a');
    await writeFile(path.join(data, 'airlock.yaml'), `tls: { ${OWN_TLS} }\n`);
    return data;
  }

  test('replaces the certificate alone: killed at any moment, the two belong together', async (t) => {
    const data = await prepared(t);
    const [key, certificate] = [KEY, CERTIFICATE].map((name) => path.join(data, name)) as [string, string];
    const [before, former] = [await stat(key), await readFile(certificate)];
    assert.match(await done(data, 'tls', 'renew'), /as conductor-a$/m);
    const after = await stat(key);
    assert.deepEqual([after.ino, after.mtimeMs], [before.ino, before.mtimeMs]);
    assert.notDeepEqual(await readFile(certificate), former);
    assert.match(await done(data, 'config', 'check'), /is good/);
  });

  test('makes do with a key of another certificate, and makes one where there is none', async (t) => {
    const data = await prepared(t);
    const key = path.join(data, KEY);
    const mends = async () => {
      assert.equal((await airlock(['--data', data, 'config', 'check'])).code, 2);
      await done(data, 'tls', 'renew');
      assert.match(await done(data, 'config', 'check'), /is good/);
    };
    await copyFile(path.join(data, 'keys/tls/ca.key'), key);
    await mends();
    await writeFile(key, 'nothing');
    await mends();
    await rm(key);
    await mends();
    assert.equal((await stat(key)).mode & 0o777, 0o600);
  });
});
