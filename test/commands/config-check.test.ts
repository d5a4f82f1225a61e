/** What `config check` finds beyond the text of a configuration. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { makeCertificate } from '../support/certificates.ts';
import { airlock, airlockJson } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { assertRefused, configFile } from './config-scene.ts';

describe('"config check" looks beyond the text', () => {
  test('secrets, files, certificates and keys, each with its line', async (t) => {
    const text = `tls:
  certificate: no.pem
  key: no.key
ca: airlock.yaml
upstreams:
  ssr:
    url: https://a.example
    username: { env: NO_SUCH_VARIABLE }
    password:
      file: no-password
    ca: no-ca.pem
    keys:
      - no-key
`;
    const file = await configFile(t, text);
    const message = await assertRefused(file, /./, ['--data', path.dirname(file)]);
    const lines = [...message.matchAll(/^airlock\.yaml:(\d+): ([\w.]+)/gm)].map(([, line, key]) => [Number(line), key]);
    assert.deepEqual(lines, [
      [2, 'tls.certificate'],
      [4, 'ca'],
      [8, 'upstreams.ssr.username'],
      [10, 'upstreams.ssr.password'],
      [11, 'upstreams.ssr.ca'],
      [13, 'upstreams.ssr.keys'],
    ]);
  });

  test('a certificate and a key that do not fit', needs('openssl'), async (t) => {
    const data = await tempDir(t);
    const [one, other] = [makeCertificate(data, 'one', 'DNS:a'), makeCertificate(data, 'other', 'DNS:b')];
    await writeFile(path.join(data, 'airlock.yaml'), `tls:\n  certificate: ${one.certificate}\n  key: ${other.key}\n`);
    const { code, stderr } = await airlock(['--data', data, 'config', 'check']);
    assert.equal(code, 2);
    assert.match(stderr, /airlock\.yaml:3: tls\.key: .*does not belong to the certificate/);
    await writeFile(path.join(data, 'airlock.yaml'), `tls:\n  certificate: ${one.certificate}\n  key: ${one.key}\n`);
    const { code: good, stdout } = await airlock(['--data', data, 'config', 'check']);
    assert.equal(good, 0);
    assert.match(stdout, /the certificate of one expires in 1 days/);
    await writeFile(path.join(data, 'airlock.yaml'), `clientKey: ${one.key}\n`);
    assert.match((await airlock(['--data', data, 'config', 'check'])).stderr, /:1: clientKey: says nothing without/);
  });

  test('what is dangerous or of no use is warned of, and can be used', async (t) => {
    const text = `conductors: [ http://a, https://b ]
peer: http://c
schedule: { upstreams: every 12h }
log: { file: logs/a.log }
upstreams:
  one: { url: "https://same.example/a" }
  two: { url: "http://same.example/b", password: { env: HOME } }
`;
    const file = await configFile(t, text);
    const words = ['--data', path.dirname(file), 'config', 'check'];
    const { code, stdout } = await airlock(words);
    assert.equal(code, 0);
    const lines = [...stdout.matchAll(/^! airlock\.yaml:(\d+): (\S+):/gm)].map(([, line, key]) => [Number(line), key]);
    assert.deepEqual(lines.toSorted(), [
      [1, 'conductors.0'],
      [2, 'peer'],
      [3, 'schedule.upstreams'],
      [4, 'log.file'],
      [7, 'upstreams.two'],
      [7, 'upstreams.two.url'],
    ]);
    const { json } = await airlockJson<{ ok: boolean; warnings: unknown[] }>(words);
    assert.deepEqual([json.ok, json.warnings.length], [true, 6]);
  });

  test('of any file', async (t) => {
    const file = await configFile(t, 'listen: 4\n');
    const { code, stderr } = await airlock(['--data', await tempDir(t), 'config', 'check', file]);
    assert.equal(code, 2);
    assert.match(stderr, /airlock\.yaml:1: listen: /);
    const none = await airlock(['--data', await tempDir(t), 'config', 'check', 'no.yaml']);
    assert.equal(none.code, 3);
    const { code: good, stdout } = await airlock(['config', 'check', await configFile(t, '')]);
    assert.deepEqual([good, stdout], [0, 'The configuration is good.\n']);
  });
});
