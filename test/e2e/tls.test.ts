/** Serving over HTTPS: real processes, and clients that others wrote. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, copyFile, readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { PACKAGE_ISO } from '../media/vendor-site.ts';
import { digestOf, exchangeRaw, testBytes, until } from '../repo/http/support.ts';
import { accessLogOf } from '../support/access-log.ts';
import { makeCertificate } from '../support/certificates.ts';
import { airlock, airlockJson, startServer } from '../support/cli.ts';
import { newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { startRouter } from '../support/router.ts';
import { tempDir } from '../support/temp-dir.ts';
import { curl, done, OWN_TLS, run, startTlsSite, type TlsSite } from '../support/tls-server.ts';

const MiB = 1024 * 1024;
const TOOLS = needs('curl', 'openssl');

function portOf({ url }: { url: string }): number {
  return Number(new URL(url).port);
}

const logOf = ({ data }: Pick<TlsSite, 'data'>) => readFile(path.join(data, 'server.log'), 'utf8');

describe('content over TLS', TOOLS, () => {
  const small = testBytes(5000, 1);
  const big = testBytes(24 * MiB, 2);
  const files = { 'small.bin': small, 'big.bin': big };

  test('small and big files, ranges, conditions, HEAD, listings; logged as over plain HTTP', async (t) => {
    const site = await startTlsSite(t, { files });
    assert.match(site.url, /^https:\/\/127\.0\.0\.1:\d+$/);
    const at = (name: string) => `${site.url}/repos/images/${name}`;
    // One connection: the first ones are answered on the short way from memory.
    const many = await curl(site, ...Array.from({ length: 6 }, () => at('small.bin')));
    assert.deepEqual(many.stdout, Buffer.concat(Array.from({ length: 6 }, () => small)));
    assert.equal(digestOf((await curl(site, at('big.bin'))).stdout), digestOf(big));
    const part = await curl(site, '--range', '1000000-5999999', at('big.bin'));
    assert.deepEqual(part.stdout, big.subarray(1_000_000, 6_000_000));
    const multiple = await curl(site, '--range', '0-9,100-109', at('big.bin'));
    assert.ok(multiple.stdout.includes(big.subarray(100, 110)), 'a multipart answer');
    const tag = `"${digestOf(small)}"`;
    const same = await curl(site, '--include', '--header', `If-None-Match: ${tag}`, at('small.bin'));
    assert.match(same.stdout.toString(), /^HTTP\/1\.1 304 /);
    const head = (await curl(site, '--head', at('big.bin'))).stdout.toString();
    assert.match(head, /^Content-Length: 25165824\r$/m);
    assert.match(head, /^Accept-Ranges: bytes\r$/m);
    assert.match((await curl(site, at(''))).stdout.toString(), /Index of/);
    assert.match((await curl(site, `${site.url}/readyz`)).stdout.toString(), /./);
    await site.stop();
    const log = await accessLogOf(site.data);
    assert.equal(log.filter(({ path: asked, status }) => asked.endsWith('small.bin') && status === 200).length, 6);
    const ranges = log.flatMap(({ range, status, bytes }) => (range === undefined ? [] : [[range, status, bytes]]));
    assert.deepEqual(ranges[0], ['bytes=1000000-5999999', 206, 5_000_000]);
  });

  test('a hundred downloads at once', async (t) => {
    const site = await startTlsSite(t, { files: { 'big.bin': big.subarray(0, 4 * MiB) } });
    const url = `${site.url}/repos/images/big.bin`;
    const list = path.join(await tempDir(t), 'list');
    const target = (i: number) => `url = "${url}"\noutput = "${list}.${i}"\n`;
    await writeFile(list, Array.from({ length: 100 }, (_, i) => target(i)).join(''));
    const { code, stderr } = await curl(
      site,
      '--parallel',
      '--parallel-immediate',
      '--parallel-max',
      '100',
      '-K',
      list,
    );
    assert.equal(code, 0, stderr);
    for (let i = 0; i < 100; i += 1) {
      assert.ok((await readFile(`${list}.${i}`)).equals(big.subarray(0, 4 * MiB)), `download ${i}`);
    }
  });

  test('SIGTERM lets a slow download end, and cuts a handshake that does not go on', async (t) => {
    const site = await startTlsSite(t, { files });
    const silent = net.connect(portOf(site), '127.0.0.1');
    await once(silent, 'connect');
    const slow = curl(site, '--limit-rate', '12M', `${site.url}/repos/images/big.bin`);
    await until('it is under way', async () => /http_in_flight [1-9]/.test(await metrics(site)));
    const ended = site.stop();
    await once(silent, 'close');
    assert.equal(digestOf((await slow).stdout), digestOf(big));
    assert.equal((await ended).code, 0);
  });
});

async function metrics(site: TlsSite): Promise<string> {
  // The question itself is in flight, too.
  const text = (await curl(site, `${site.url}/metrics`)).stdout.toString();
  return text.replace(/(http_in_flight) (\d+)/, (_all, name, count) => `${name} ${Number(count) - 1}`);
}

test('a new certificate at SIGHUP, while a download goes on', TOOLS, async (t) => {
  const big = testBytes(24 * MiB, 3);
  const site = await startTlsSite(t, { files: { 'big.bin': big } });
  const before = await serial(site);
  const slow = curl(site, '--limit-rate', '8M', `${site.url}/repos/images/big.bin`);
  await until('it is under way', async () => /http_in_flight [1-9]/.test(await metrics(site)));
  await done(site.data, 'tls', 'renew');
  assert.equal(await serial(site), before, 'nothing changes by itself');
  site.child.kill('SIGHUP');
  await until('the new one is shown', async () => (await serial(site)) !== before);
  const after = await serial(site);

  // What cannot be used is logged, and changes nothing.
  await writeFile(path.join(site.data, 'keys/tls/server.pem'), 'half of a certif');
  site.child.kill('SIGHUP');
  await until('it is told', async () => /could not be renewed/.test(await logOf(site)));
  assert.equal(await serial(site), after);
  assert.equal(digestOf((await slow).stdout), digestOf(big));
});

async function serial(site: TlsSite): Promise<string> {
  const socket = tls.connect({ port: portOf(site), host: '127.0.0.1', ca: await readFile(site.ca) });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

test('old versions of TLS, other protocols, plain HTTP and garbage are refused', TOOLS, async (t) => {
  const site = await startTlsSite(t);
  const connect = `-connect 127.0.0.1:${portOf(site)}`.split(' ');
  const client = (...words: string[]) => run('openssl', 's_client', ...connect, '-CAfile', site.ca, ...words);
  for (const version of ['-tls1', '-tls1_1']) {
    const { code, stderr } = await client(version, '-cipher', 'ALL:@SECLEVEL=0');
    assert.notEqual(code, 0, version);
    assert.match(stderr, /alert protocol version|unsupported protocol|no protocols available/);
  }
  for (const version of ['-tls1_2', '-tls1_3']) {
    const { code, stdout } = await client(version, '-verify_return_error', '-alpn', 'h2,http/1.1');
    assert.equal(code, 0, version);
    assert.match(stdout.toString(), /ALPN protocol: http\/1\.1/);
  }
  assert.notEqual((await client('-alpn', 'h2', '-verify_return_error')).code, 0);

  const plain = await run('curl', '--silent', '--include', site.url.replace('https', 'http'));
  assert.match(plain.stdout.toString(), /^HTTP\/1\.1 400 [\s\S]*speaks HTTPS: write https:\/\//);
  const unknown = await run('curl', '--silent', '--show-error', site.url);
  assert.match(unknown.stderr, /certificate/);
  for (const bytes of [testBytes(4096, 9), Buffer.from('\x16\x03\x01\xff\xff'), Buffer.from('SSH-2.0-x\r\n')]) {
    await exchangeRaw(portOf(site), bytes, { end: true }).catch(() => undefined);
  }
  const { code, stdout } = await curl(site, `${site.url}/healthz`);
  assert.equal(code, 0, 'it goes on');
  assert.match(stdout.toString(), /./);
  assert.doesNotMatch(await logOf(site), /"level":50/);
});

describe('clients with certificates', TOOLS, () => {
  const file = testBytes(2000, 4);
  const CLIENTS = ', clients: keys/tls/ca.pem';

  async function stranger(t: TestContext): Promise<string[]> {
    const { certificate, key } = makeCertificate(await tempDir(t), 'stranger', 'DNS:stranger');
    return ['--cert', certificate, '--key', key];
  }

  function identity({ data }: TlsSite, name: string): string[] {
    return [
      '--cert',
      path.join(data, `keys/tls/clients/${name}.pem`),
      '--key',
      path.join(data, `keys/tls/clients/${name}.key`),
    ];
  }

  test('are asked for: none, a good one, one of a stranger', async (t) => {
    const site = await startTlsSite(t, { tls: CLIENTS, files: { 'a.bin': file } });
    await done(site.data, 'tls', 'client', 'router-7');
    const url = `${site.url}/repos/images/a.bin`;
    for (const version of ['1.2', '1.3']) {
      const words = ['--tlsv1.2', '--tls-max', version, '--include', url];
      const good = await curl(site, ...identity(site, 'router-7'), ...words);
      assert.match(good.stdout.toString('latin1'), /^HTTP\/1\.1 200 /);
      const none = await curl(site, ...words);
      assert.match(none.stdout.toString(), /^HTTP\/1\.1 403 [\s\S]*clients with a certificate only/);
      const foreign = await curl(site, ...(await stranger(t)), ...words);
      assert.match(foreign.stdout.toString(), /^HTTP\/1\.1 403 [\s\S]*not one that this server knows/);
    }
    assert.match(await logOf(site), /"why":"This server is for clients with a certificate only/);
  });

  test('a resumed session lets nobody in', async (t) => {
    const site = await startTlsSite(t, { tls: CLIENTS, files: { 'a.bin': file } });
    const ticket = path.join(await tempDir(t), 'session');
    for (const version of ['-tls1_2', '-tls1_3']) {
      const words = ['s_client', '-connect', `127.0.0.1:${portOf(site)}`, '-CAfile', site.ca, version];
      await run('openssl', ...words, '-sess_out', ticket);
      const { stdout } = await run('openssl', ...words, '-sess_in', ticket);
      assert.doesNotMatch(stdout.toString(), /^Reused/m);
    }
    // In the same process, with whatever the server gives.
    const ca = await readFile(site.ca);
    const [first, session] = await ask(portOf(site), ca);
    assert.match(first, /^HTTP\/1\.1 403 /);
    assert.match((await ask(portOf(site), ca, session))[0], /^HTTP\/1\.1 403 /);
  });

  test('those without one may be served, too', async (t) => {
    const site = await startTlsSite(t, { tls: `${CLIENTS}, requireClients: false`, files: { 'a.bin': file } });
    const url = `${site.url}/repos/images/a.bin`;
    assert.deepEqual((await curl(site, url)).stdout, file);
    const foreign = await curl(site, ...(await stranger(t)), '--include', url);
    assert.match(foreign.stdout.toString(), /^HTTP\/1\.1 403 /);
  });

  test('a router has one, pulls through, and knows who vouches for the conductor', async (t) => {
    const bytes = testBytes(6 * MiB, 5);
    const site = await startTlsSite(t, { tls: CLIENTS, files: { 'a.iso': bytes } });
    await done(site.data, 'tls', 'client', 'router-7');
    const data = await tempDir(t);
    for (const name of ['clients/router-7.pem', 'clients/router-7.key', 'ca.pem']) {
      await copyFile(path.join(site.data, 'keys/tls', name), path.join(data, path.basename(name)));
    }
    const config = 'ca: ca.pem\nclientCertificate: router-7.pem\nclientKey: router-7.key\n';
    const router = await startRouter(t, ['--upstream', site.url], config, { data });
    const response = await fetch(`${router.url}/repos/images/a.iso`);
    assert.equal(response.headers.get('x-cache'), 'MISS');
    assert.equal(digestOf(Buffer.from(await response.arrayBuffer())), digestOf(bytes));

    const other = await startRouter(t, ['--upstream', site.url], '');
    assert.equal((await fetch(`${other.url}/repos/images/a.iso`)).status, 504, 'it does not know the authority');
    const bare = await startRouter(t, ['--upstream', site.url], `ca: ${site.ca}\n`);
    assert.equal((await fetch(`${bare.url}/repos/images/a.iso`)).status, 502, 'it has no certificate');
  });
});

/** @returns the answer, and the session that can be resumed */
async function ask(port: number, ca: Buffer, resumed?: Buffer): Promise<[string, Buffer | undefined]> {
  const socket = tls.connect({ port, host: '127.0.0.1', ca, ...(resumed === undefined ? {} : { session: resumed }) });
  let session: Buffer | undefined;
  socket.on('session', (given) => {
    session = given;
  });
  socket.write('GET /repos/images/a.bin HTTP/1.1\r\nHost: x\r\n\r\n');
  let text = '';
  for await (const piece of socket) text += piece;
  return [text, session];
}

test('"proxy status" asks a server over TLS on this machine', TOOLS, async (t) => {
  const site = await startTlsSite(t, { files: { 'a.iso': testBytes(1000, 6) } });
  const data = await tempDir(t);
  await done(data, 'tls', 'init', '--name', 'router.example');
  const config = `tls: { ${OWN_TLS}, clients: keys/tls/ca.pem }\nca: ${site.ca}\n`;
  const router = await startRouter(t, ['--upstream', site.url], config, { data });
  await writeFile(path.join(data, 'airlock.yaml'), `${config}listen: 127.0.0.1:${portOf(router)}\n`);
  const { stdout, code, stderr } = await airlock(['--data', data, 'proxy', 'status']);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`conductor ${site.url}`));
});

test('dnf installs over https', needs(...PACKAGE_TOOLS, ...DNF, 'openssl'), async (t) => {
  const vendor = new PackageVendor();
  t.after(() => vendor[Symbol.dispose]());
  const [rpm = ''] = vendor.build([{ name: '128T', version: '6.2.6', release: '15.sts.el7' }]);
  const conductor = await newConductor(t, vendor.keyFile);
  await conductor.importIso(vendor.iso(PACKAGE_ISO, [rpm]));
  await conductor.done('tls', 'init', '--name', '127.0.0.1');
  await writeFile(path.join(conductor.data, 'airlock.yaml'), `tls: { ${OWN_TLS} }\n`);
  const server = await startServer(t, conductor.data);
  const ca = path.join(conductor.data, 'keys/tls/ca.pem');
  const { stdout } = await curl({ ca }, `${server.url}/repos/${RPM_REPOSITORY}/${RPM_REPOSITORY}.repo`);
  const repoFile = stdout.toString();
  assert.match(repoFile, /^baseurl=https:/m);
  const dnf = await Dnf.with(t, `${repoFile}sslcacert=${ca}\n`);
  await dnf.run('install', '128T');
  assert.equal(await dnf.installed('128T'), '6.2.6-15.sts.el7');
  await assert.rejects((await Dnf.with(t, repoFile)).run('install', '128T'), /SSL|certificate/);
});

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
