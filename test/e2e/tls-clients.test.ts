/** Clients and routers that introduce themselves, and know who vouches for the server. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, get } from 'node:https';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { makeCertificate } from '../support/certificates.ts';
import { airlock, startServer } from '../support/cli.ts';
import { needs } from '../support/needs.ts';
import { startRouter } from '../support/router.ts';
import { tempDir } from '../support/temp-dir.ts';
import { curl, done, logOf, OWN_TLS, portOf, run, startTlsSite, type TlsSite } from '../support/tls-server.ts';

const MiB = 1024 * 1024;
const TOOLS = needs('curl', 'openssl');

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

  test('are let in no more once they are revoked, and their connections end', async (t) => {
    const site = await startTlsSite(t, { tls: CLIENTS, files: { 'a.bin': file } });
    for (const name of ['router-7', 'router-8']) await done(site.data, 'tls', 'client', name);
    const url = `${site.url}/repos/images/a.bin`;
    const answer = async (name: string) => {
      const { stdout } = await curl(site, ...identity(site, name), '--include', url);
      const text = stdout.toString('latin1');
      return [/^HTTP\/1\.1 (\d+) /.exec(text)?.[1], text.includes('was revoked')];
    };
    const { cert, key } = await credentials(site, 'router-7');
    const held = new Agent({ keepAlive: true, ca: await readFile(site.ca), cert, key });
    t.after(() => held.destroy());
    assert.equal(await statusOver(held, url), 200);
    const old = path.join(site.data, 'keys/tls/clients/old');
    await Promise.all([writeFile(`${old}.pem`, cert), writeFile(`${old}.key`, key)]);

    assert.match(await done(site.data, 'tls', 'revoke', 'router-7'), /✔ router-7, serial number [0-9A-F]+, is revoked/);
    assert.match(await done(site.data, 'tls', 'show'), /router-7\.pem +router-7 +\S+ \(revoked\)/);
    site.child.kill('SIGHUP');
    await until('the list was read', async () => (await answer('router-7'))[0] === '403');
    assert.deepEqual(await answer('router-7'), ['403', true]);
    assert.equal(await statusOver(held, url), 403, 'the connection that was there was cut');
    assert.deepEqual(await answer('router-8'), ['200', false]);

    await done(site.data, 'tls', 'client', 'router-7');
    assert.deepEqual(await answer('router-7'), ['200', false]);
    await site.stop();
    await startServer(t, site.data, { listen: `127.0.0.1:${portOf(site)}` });
    assert.deepEqual(await answer('old'), ['403', true]);
    assert.equal((await airlock(['--data', site.data, 'tls', 'revoke', 'nobody'])).code, 3);
    assert.equal((await airlock(['--data', site.data, 'tls', 'client', 'router-8'])).code, 7);
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
    // What a peer has is asked for in the same way.
    await writeFile(path.join(data, 'airlock.yaml'), `${config}peer: ${site.url}\n`);
    const shown = await done(data, 'show', 'system', 'software', 'available');
    assert.doesNotMatch(shown, /could not be asked/);

    const bare = await startRouter(t, ['--upstream', site.url], `ca: ${site.ca}\n`);
    assert.equal((await fetch(`${bare.url}/repos/images/a.iso`)).status, 502, 'it has no certificate');
  });
});

describe('what a server shows to others', TOOLS, () => {
  const CLIENTS = ', clients: keys/tls/ca.pem';
  const config = 'log: { file: server.log }\nca: ca.pem\nclientCertificate: own.pem\nclientKey: own.key\n';

  /** Puts a certificate that the site made where a server's configuration names it. */
  async function give(site: TlsSite, data: string, name: string): Promise<void> {
    for (const [from, to] of [
      [`clients/${name}.pem`, 'own.pem'],
      [`clients/${name}.key`, 'own.key'],
      ['ca.pem', 'ca.pem'],
    ] as const)
      await copyFile(path.join(site.data, 'keys/tls', from), path.join(data, to));
  }

  test('a router takes new certificates at SIGHUP, and keeps those it has while new ones cannot be used', async (t) => {
    const names = ['a', 'b', 'c', 'd'].map((name) => `${name}.bin`);
    const site = await startTlsSite(t, {
      tls: CLIENTS,
      files: Object.fromEntries(names.map((name, index) => [name, testBytes(2000, 10 + index)])),
    });
    for (const name of ['router-7', 'router-8']) await done(site.data, 'tls', 'client', name);
    const data = await tempDir(t);
    await give(site, data, 'router-7');
    const router = await startRouter(t, ['--upstream', site.url], config, { data });
    const status = async (name: string) => (await fetch(`${router.url}/repos/images/${name}.bin`)).status;
    assert.equal(await status('a'), 200);

    // Not the key of this certificate, as between the two copies of a renewal.
    await copyFile(path.join(site.data, 'keys/tls/clients/router-8.pem'), path.join(data, 'own.pem'));
    router.child.kill('SIGHUP');
    await until('it was logged', async () => (await logOf({ data })).includes('goes on with what it has'));
    assert.equal(await status('b'), 200);

    await done(site.data, 'tls', 'revoke', 'router-7');
    site.child.kill('SIGHUP');
    await until('the site lets it in no more', async () => (await status('c')) !== 200);
    await give(site, data, 'router-8');
    router.child.kill('SIGHUP');
    await until('the router shows the new one', async () => (await status('d')) === 200);
    assert.match(await logOf({ data }), /"msg":"certificates and secrets for other servers were read anew"/);
  });

  test('a conductor of a pair takes a new authority for its twin at SIGHUP', async (t) => {
    const twin = await startTlsSite(t, { tls: CLIENTS, files: { 'a.bin': testBytes(2000, 20) } });
    await done(twin.data, 'tls', 'client', 'other');
    const data = await tempDir(t);
    await give(twin, data, 'other');
    const { certificate } = makeCertificate(data, 'stranger', 'DNS:stranger');
    await copyFile(certificate, path.join(data, 'ca.pem'));
    await writeFile(path.join(data, 'airlock.yaml'), `${config}peer: ${twin.url}\n`);
    const server = await startServer(t, data);
    const peer = async () => (await (await fetch(`${server.url}/api/v1/peer`)).json()) as { state: string };
    await until('it has asked in vain', async () => (await peer()).state === 'unreachable');
    await give(twin, data, 'other');
    server.child.kill('SIGHUP');
    await until('it is in step', async () => (await peer()).state === 'in-step');
    assert.equal((await fetch(`${server.url}/repos/images/a.bin`)).status, 200);
  });
});

async function credentials({ data }: TlsSite, name: string): Promise<{ cert: Buffer; key: Buffer }> {
  const at = path.join(data, 'keys/tls/clients', name);
  return { cert: await readFile(`${at}.pem`), key: await readFile(`${at}.key`) };
}

/** Asks, and leaves the connection to the agent. @returns the status */
async function statusOver(agent: Agent, url: string): Promise<number | undefined> {
  const request = get(url, { agent });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  await once(response.resume(), 'end');
  return response.statusCode;
}

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

test('a router over TLS is a proxy, and knows itself', TOOLS, async (t) => {
  const bytes = testBytes(3000, 7);
  const site = await startTlsSite(t, { files: { 'a.iso': bytes } });
  const data = await tempDir(t);
  await done(data, 'tls', 'init', '--name', '127.0.0.1');
  const router = await startRouter(t, ['--upstream', site.url], `tls: { ${OWN_TLS} }\nca: ${site.ca}\n`, { data });
  const ca = path.join(data, 'keys/tls/ca.pem');
  const target = `http://127.0.0.1:${portOf(router)}/repos/images/a.iso`;
  const { stdout, stderr } = await curl({ ca }, '--proxy', router.url, '--proxy-cacert', ca, target);
  assert.deepEqual(stdout, bytes, stderr);
});

test('an HA twin is read over TLS, by one who has a certificate', TOOLS, async (t) => {
  const site = await startTlsSite(t, { tls: ', clients: keys/tls/ca.pem', files: { 'a.iso': testBytes(3000, 8) } });
  const data = await tempDir(t);
  const keys = path.join(site.data, 'keys/tls');
  const bare = `ca: ${site.ca}\n`;
  await writeFile(path.join(data, 'airlock.yaml'), bare);
  const refused = await airlock(['--data', data, 'repo', 'replicate', '--from', site.url]);
  assert.equal(refused.code, 8, refused.stdout);
  assert.match(refused.stderr, /refuses us \(403\)/);
  // A conductor's own certificate is one of a client, too.
  await writeFile(
    path.join(data, 'airlock.yaml'),
    `${bare}clientCertificate: ${keys}/server.pem\nclientKey: ${keys}/server.key\n`,
  );
  assert.match(await done(data, 'repo', 'replicate', '--from', site.url), /images is at revision 1: 1 taken over/);
});
