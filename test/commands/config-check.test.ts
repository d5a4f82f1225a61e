/** What `config check` finds beyond the text of a configuration. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { type Certificate, makeCertificate, makeExpired } from '../support/certificates.ts';
import { airlock, airlockJson, startServer } from '../support/cli.ts';
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

  test('certificates for others that have expired, and keys that others may read', async (t) => {
    const data = await tempDir(t);
    const [old, far] = [makeExpired(data, 'old'), makeExpired(data, 'far')];
    await chmod(old.key, 0o644);
    const shown = ({ certificate, key }: Certificate, indent = '') =>
      ['ca', 'clientCertificate'].map((name) => `${indent}${name}: ${certificate}\n`).join('') +
      `${indent}clientKey: ${key}\n`;
    const upstream = `upstreams:\n  a.b:\n    url: https://a.example\n${shown(far, '    ')}`;
    await writeFile(path.join(data, 'airlock.yaml'), `peer: https://b\n${shown(old)}${upstream}`);
    const { code, stdout } = await airlock(['--data', data, 'config', 'check']);
    assert.equal(code, 0);
    const about = [...stdout.matchAll(/^! airlock\.yaml:(\d+): (\S+): (?:the certificate of )?(\w+)/gm)];
    assert.deepEqual(
      about.map(([, ...parts]) => parts),
      [
        ['2', 'ca', 'old'],
        ['3', 'clientCertificate', 'old'],
        ['4', 'clientKey', 'others'],
        ['8', 'upstreams.a.b.ca', 'far'],
        ['9', 'upstreams.a.b.clientCertificate', 'far'],
      ],
    );
    assert.match(stdout, /old expired on 2020-01-02: servers refuse it/);
    const server = await startServer(t, data);
    const { stderr } = await server.stop();
    assert.match(stderr, /clientCertificate: the certificate of old expired on 2020-01-02/);
    assert.match(stderr, /upstreams\.a\.b\.ca: the certificate of far expired on 2020-01-02/);
  });

  describe('a secret in a file that is', () => {
    const cases: [what: string, make: (file: string) => unknown, message: RegExp][] = [
      ['empty', (file) => writeFile(file, ' \n'), /there is nothing in the file/],
      ['not there', () => undefined, /there is no file/],
      ['a pipe that nobody writes to', (file) => execFileSync('mkfifo', [file]), /is a named pipe, not a file/],
      ['without end', (file) => symlink('/dev/zero', file), /is a device, not a file/],
      ['huge', (file) => writeFile(file, '').then(() => truncate(file, 2 ** 31)), /has 2147483648 bytes/],
    ];
    for (const [what, make, message] of cases) {
      test(what, async (t) => {
        const file = await configFile(
          t,
          'upstreams:\n  ssr:\n    url: https://a.example\n    password: { file: token }\n',
        );
        await make(path.join(path.dirname(file), 'token'));
        const refused = await assertRefused(file, message, ['--data', path.dirname(file)]);
        assert.match(refused, /airlock\.yaml:4: upstreams\.ssr\.password: /);
      });
    }
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
