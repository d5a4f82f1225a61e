/** Serving over HTTPS: real processes, and clients that others wrote. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import tls from 'node:tls';
import { PACKAGE_TOOLS, PackageVendor } from '../media/package-iso.ts';
import { PACKAGE_ISO } from '../media/vendor-site.ts';
import { digestOf, exchangeRaw, testBytes, until } from '../repo/http/support.ts';
import { accessLogOf } from '../support/access-log.ts';
import { startServer } from '../support/cli.ts';
import { newConductor, RPM_REPOSITORY } from '../support/conductor.ts';
import { DNF, Dnf } from '../support/dnf.ts';
import { needs } from '../support/needs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { curl, done, logOf, OWN_TLS, portOf, run, startTlsSite, type TlsSite } from '../support/tls-server.ts';

const MiB = 1024 * 1024;
const TOOLS = needs('curl', 'openssl');

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
