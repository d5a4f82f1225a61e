import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import { openCarrier } from '../../../src/sync/carriers/open-carrier.ts';
import { parseSftpUrl } from '../../../src/sync/carriers/sftp-address.ts';
import { openSftpCarrier } from '../../../src/sync/carriers/sftp-carrier.ts';
import type { SftpLogin } from '../../../src/sync/carriers/sftp-login.ts';
import { failsWith, put, read } from '../../conformance/carrier.ts';
import {
  fingerprint,
  keygen,
  needsSshPasswords,
  needsSshServer,
  publicKey,
  type SshServer,
  startSshServer,
} from '../../support/ssh-server.ts';
import { tempDir } from '../../support/temp-dir.ts';

describe('an SSH server’s key', needsSshServer(), () => {
  let server: SshServer;
  before(async () => {
    server = await startSshServer({ hostKeys: ['ed25519', 'ecdsa', 'rsa'] });
  });
  after(() => server.stop());

  const opens = async (login: SftpLogin) => {
    const carrier = await openCarrier(server.url(server.dir), { login: { identity: server.identity, ...login } });
    assert.ok((await carrier.list()).ignoredCount >= 0);
    await carrier.close();
  };

  /** The server was told no user's name, and no key was offered. */
  const refused = async (login: SftpLogin, reason: string) => {
    const from = server.log().length;
    const error = await failsWith('ssh.host-key', () => opens(login));
    assert.ok(error instanceof AirlockError);
    assert.equal(error.details.reason, reason);
    assert.match(error.message, /SHA256:[A-Za-z0-9+/]{43}/);
    await hungUp(server, from);
    assert.doesNotMatch(server.log().slice(from), /userauth-request|Accepted|Failed|for user/);
    return error;
  };

  const [ed25519, ecdsa, rsa] = [0, 1, 2];
  const line = (index: number, name = `[127.0.0.1]:${server.port}`) => `${name} ${server.publicKeys[index]}`;

  test('is taken when a file knows it, whichever type', async () => {
    for (const each of [ed25519, ecdsa, rsa]) await opens({ knownHosts: server.knownHosts([line(each)]) });
  });

  test('is taken when a file knows it by a pattern, by a hash, or beside other keys', async (t) => {
    const other = await otherKey(t);
    await opens({ knownHosts: server.knownHosts([line(ed25519, '*,!10.*')]) });
    await opens({ knownHosts: server.knownHosts([`# a comment`, 'nonsense', `h ${other}`, line(rsa), line(ed25519)]) });
    const hashed = server.knownHosts([line(ed25519)]);
    execFileSync('ssh-keygen', ['-H', '-f', hashed], { stdio: 'ignore' });
    await opens({ knownHosts: hashed });
  });

  test('is taken when it is pinned, whichever type', async () => {
    for (const pin of server.fingerprints) await opens({ hostKeys: [pin] });
    await opens({ hostKeys: [`SHA256:${'A'.repeat(43)}`, `${server.fingerprints[0]}=`] });
    assert.match(server.log(), /userauth-request.*Accepted publickey/s); // what must not stand there when it is refused
  });

  test('is refused when nobody knows it, before anything is said', async () => {
    const error = await refused({ knownHosts: server.knownHosts([]) }, 'unknown');
    assert.ok(error.message.includes(`--host-key ${server.fingerprints[0]}`));
    await refused({ knownHosts: server.knownHosts([line(ed25519, 'other.example')]) }, 'unknown');
    // Another port is another server.
    await refused({ knownHosts: server.knownHosts([line(ed25519, '127.0.0.1')]) }, 'unknown');
    await refused(
      { knownHosts: server.knownHosts([line(ed25519, `*,!\\[127.0.0.1\\]:${server.port},!*1*`)]) },
      'unknown',
    );
  });

  test('is refused when it is another one', async (t) => {
    const other = await otherKey(t);
    await refused({ knownHosts: server.knownHosts([`[127.0.0.1]:${server.port} ${other}`]) }, 'changed');
    await refused({ hostKeys: [`SHA256:${'A'.repeat(43)}`] }, 'changed');
    // A pin is stricter than a file.
    await refused({ hostKeys: [`SHA256:${'A'.repeat(43)}`], knownHosts: server.knownHosts() }, 'changed');
  });

  test('is refused when it is revoked, also where it is known or pinned', async () => {
    const lines = [line(ed25519), `@revoked * ${server.publicKeys[0]}`];
    await refused({ knownHosts: server.knownHosts(lines) }, 'revoked');
    await refused({ knownHosts: server.knownHosts(lines), hostKeys: [server.fingerprints[0] ?? ''] }, 'revoked');
  });

  test('is not vouched for by a certification authority, and that is said', async () => {
    const lines = [`@cert-authority * ${server.publicKeys[0]}`];
    const error = await refused({ knownHosts: server.knownHosts(lines) }, 'unknown');
    assert.match(error.message, /@cert-authority/);
  });

  test('must be known somehow', async () => {
    const error = await failsWith('usage.invalid', () => opens({}));
    assert.match(error.message, /--known-hosts FILE.*--host-key/);
    await failsWith('usage.invalid', () => opens({ hostKeys: ['MD5:00:11'] }));
    await failsWith('file.not-found', () => opens({ knownHosts: '/nowhere/known_hosts' }));
  });
});

describe('a login', needsSshServer(), () => {
  let server: SshServer;
  before(async () => {
    server = await startSshServer();
  });
  after(() => server.stop());

  const opens = async (login: SftpLogin, at = server) => {
    const carrier = await openCarrier(at.url(at.dir), { login: { knownHosts: at.knownHosts(), ...login } });
    await put(carrier, 'a', new Uint8Array([1, 2, 3]));
    assert.deepEqual(await read(carrier, 'a'), new Uint8Array([1, 2, 3]));
    await carrier.close();
    await carrier.close();
  };

  test('is by a key', async () => {
    await opens({ identity: server.identity });
  });

  test('is by a key with a passphrase', async (t) => {
    const { encrypted: identity, passphraseFile } = server;
    await opens({ identity, passphraseFile });
    const wrong = path.join(await tempDir(t), 'wrong');
    writeFileSync(wrong, 'wrong\n');
    const none = await failsWith('usage.invalid', () => opens({ identity }));
    assert.match(none.message, /--passphrase-file/);
    await failsWith('usage.invalid', () => opens({ identity, passphraseFile: wrong }));
    writeFileSync(wrong, '\n');
    const empty = await failsWith('usage.invalid', () => opens({ identity, passphraseFile: wrong }));
    assert.match(empty.message, /empty/);
  });

  test('is by an agent', needsSshServer('ssh-agent=openssh-client', 'ssh-add=openssh-client'), async (t) => {
    const agent = await startAgent(t);
    await failsWith('ssh.authentication', () => opens({ agent })); // it has no key
    execFileSync('ssh-add', ['-q', server.identity], {
      env: { ...process.env, SSH_AUTH_SOCK: agent },
      stdio: 'ignore',
    });
    await opens({ agent });
    const gone = await failsWith('ssh.authentication', () => opens({ agent: `${agent}.none` }));
    assert.match(gone.message, /SSH agent/);
  });

  test('is by a password from a file', needsSshPasswords(), async (t) => {
    const own = await startSshServer({ password: 'päss word' });
    t.after(() => own.stop());
    const file = path.join(await tempDir(t), 'password');
    writeFileSync(file, 'päss word\nmore\n');
    await opens({ passwordFile: file }, own);
    writeFileSync(file, 'other\n');
    const error = await failsWith('ssh.authentication', () => opens({ passwordFile: file }, own));
    assert.doesNotMatch(JSON.stringify([error, error.message, String(error.cause)]), /other/);
  });

  test('fails by a key that the server does not know', async () => {
    const error = await failsWith('ssh.authentication', () => opens({ identity: server.stranger }));
    assert.ok(error instanceof AirlockError);
    assert.equal(error.exitCode, 7);
    assert.match(error.message, /authorized_keys/);
  });

  test('fails without anything to log in with, and with what is no key', async (t) => {
    await failsWith('usage.invalid', () => opens({ agent: '' }));
    await failsWith('file.not-found', () => opens({ identity: '/nowhere/key' }));
    const file = path.join(await tempDir(t), 'key');
    writeFileSync(file, 'no key\n');
    const error = await failsWith('usage.invalid', () => opens({ identity: file }));
    assert.match(error.message, /--identity/);
  });

  test('finds a folder there', async () => {
    const login = { knownHosts: server.knownHosts(), identity: server.identity };
    const error = await failsWith('file.not-found', () => openCarrier(server.url('/nowhere'), { login }));
    assert.match(error.message, /sftp:.*\/nowhere/);
    await failsWith('file.not-found', () => openCarrier(server.url(server.identity), { login }));
  });

  test('needs the SFTP service', async (t) => {
    const own = await startSshServer({ sftp: ['-Q', 'nonsense'] });
    t.after(() => own.stop());
    await failsWith('carrier.unreachable', () => opens({ identity: own.identity }, own));
  });
});

describe('a server that cannot be reached', () => {
  const login = (hostKey = `SHA256:${'A'.repeat(43)}`) => ({ hostKeys: [hostKey], agent: '/nowhere' });
  const address = (port: number) => parseSftpUrl(`sftp://somebody@127.0.0.1:${port}/there`);

  test('refuses, or has no address', async (t) => {
    const { port, close } = await deaf(t);
    await close();
    const error = await failsWith('carrier.unreachable', () => openSftpCarrier(address(port), login()));
    assert.ok(error instanceof AirlockError);
    assert.equal(error.exitCode, 8);
    assert.match(error.message, /ECONNREFUSED/);
    await failsWith('carrier.unreachable', () => openSftpCarrier(parseSftpUrl('sftp://u@no.invalid/x'), login()));
  });

  test('says nothing', async (t) => {
    const { port } = await deaf(t);
    const error = await failsWith('carrier.unreachable', () =>
      openSftpCarrier(address(port), { ...login(), connectTimeout: 200 }),
    );
    assert.match(error.message, /no answer/);
  });

  test('speaks something else', async (t) => {
    const { port } = await deaf(t, 'HTTP/1.1 400 Bad Request\r\n\r\n');
    await failsWith('carrier.unreachable', () => openSftpCarrier(address(port), { ...login(), connectTimeout: 3000 }));
  });

  test('is given up when the user stops', async (t) => {
    const { port } = await deaf(t);
    const stop = new AbortController();
    const opening = openSftpCarrier(address(port), { ...login(), signal: stop.signal });
    setImmediate(() => stop.abort());
    await failsWith('interrupted', () => opening);
  });
});

async function deaf(t: TestContext, greeting = ''): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    if (greeting !== '') socket.end(greeting);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    server.close();
    await once(server, 'close');
  };
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address !== 'string');
  return { port: address.port, close };
}

/** Its log tells of the end of a connection. */
async function hungUp(server: SshServer, from: number): Promise<void> {
  for (let left = 200; left > 0; left--) {
    if (
      /(Connection (closed|reset)|Received disconnect|Disconnected|ssh_dispatch_run_fatal)/.test(
        server.log().slice(from),
      )
    )
      return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`no end in the log: ${server.log().slice(from)}`);
}

async function otherKey(t: TestContext): Promise<string> {
  const file = path.join(await tempDir(t), 'other');
  keygen(file, 'ed25519');
  assert.match(fingerprint(file), /^SHA256:/);
  return publicKey(file);
}

async function startAgent(t: TestContext): Promise<string> {
  const socket = path.join(await tempDir(t), 'agent');
  const child: ChildProcess = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill());
  assert.ok(child.stdout !== null);
  await once(child.stdout, 'data');
  return socket;
}
