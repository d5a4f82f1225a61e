/** A real OpenSSH server on loopback, with a configuration and keys of its own. Works as any user; passwords need root. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { systemCode } from '../../src/errors.ts';
import { needs, needsRoot } from './needs.ts';
import { freePort } from './ports.ts';

const SSHD = '/usr/sbin/sshd';
export const SFTP_SERVER = '/usr/lib/openssh/sftp-server';

/** Options for tests that use one. */
export function needsSshServer(...more: string[]): { skip?: string } {
  return needs(
    `${SSHD}=openssh-server`,
    `${SFTP_SERVER}=openssh-sftp-server`,
    'ssh-keygen=openssh-client',
    'ps=procps',
    ...more,
  );
}

/** As `needsSshServer`, for tests that log in with a password. */
export function needsSshPasswords(): { skip?: string } {
  const root = needsRoot('unshare', 'openssl');
  return root.skip === undefined ? needsSshServer() : root;
}

export interface SshServerOptions {
  /** Which of them it shows. Default: ed25519. */
  readonly hostKeys?: readonly ('ed25519' | 'rsa' | 'ecdsa')[];
  /** Of the user; as root only. */
  readonly password?: string;
  /** Arguments of the SFTP server, such as `-P request` to refuse one. */
  readonly sftp?: readonly string[];
  /** What runs instead of OpenSSH's SFTP server. */
  readonly under?: readonly string[];
}

export interface SshServer {
  readonly port: number;
  /** Who may log in: the user of the tests. */
  readonly user: string;
  /** Private key files: one that is let in, the same with the passphrase of `passphraseFile`, and one that is not. */
  readonly identity: string;
  readonly encrypted: string;
  readonly passphraseFile: string;
  readonly stranger: string;
  /** Public host keys, as files have them: `ssh-ed25519 AAAA…`, and their fingerprints. */
  readonly publicKeys: readonly string[];
  readonly fingerprints: readonly string[];
  /** A folder for files of the test. */
  readonly dir: string;
  /** `sftp://…` of a path there. @param port of something in between */
  url(dir: string, port?: number): string;
  /** A known_hosts file with what is given for the port, by default all keys. */
  knownHosts(lines?: readonly string[], port?: number): string;
  /** What the server wrote so far. */
  log(): string;
  /** SIGKILL to it and to every session. */
  kill(): void;
  stop(): void;
}

/** Starts one; the caller stops it. */
export async function startSshServer(options: SshServerOptions = {}): Promise<SshServer> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'airlock-sshd-'));
  const at = (name: string) => path.join(dir, name);
  const keys = (options.hostKeys ?? ['ed25519']).map((type) => ({ type, file: at(`host_${type}`) }));
  for (const { type, file } of keys) keygen(file, type);
  for (const name of ['identity', 'stranger']) keygen(at(name), 'ed25519');
  copyFileSync(at('identity'), at('encrypted'));
  chmodSync(at('encrypted'), 0o600);
  execFileSync('ssh-keygen', ['-q', '-p', '-a', '1', '-P', '', '-N', 'pass phrase', '-f', at('encrypted')]);
  writeFileSync(at('passphrase'), 'pass phrase\n');
  copyFileSync(at('identity.pub'), at('authorized_keys'));
  const port = await freePort();
  writeFileSync(at('config'), config(at, port, keys, options));
  const { username: user } = os.userInfo();
  const child = launch(at, user, options.password);
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const kill = () => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) killTree(child.pid);
  };
  await listening(child, () => log);
  const publicKeys = keys.map(({ file }) => publicKey(file));
  return {
    port,
    user,
    identity: at('identity'),
    encrypted: at('encrypted'),
    passphraseFile: at('passphrase'),
    stranger: at('stranger'),
    publicKeys,
    fingerprints: keys.map(({ file }) => fingerprint(file)),
    dir,
    url: (folder, through = port) => `sftp://${user}@127.0.0.1:${through}${folder}`,
    knownHosts(lines, through = port) {
      const file = at(`known_hosts_${Math.random().toString(36).slice(2)}`);
      const all = lines ?? publicKeys.map((key) => `[127.0.0.1]:${through} ${key}`);
      writeFileSync(file, `${all.join('\n')}\n`);
      return file;
    },
    log: () => log,
    kill,
    stop() {
      kill();
      child.stderr?.destroy();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** `ssh-ed25519 AAAA…` of a key file, without its comment. */
export function publicKey(file: string): string {
  return readFileSync(`${file}.pub`, 'utf8').split(' ').slice(0, 2).join(' ').trim();
}

/** `SHA256:…`, as ssh-keygen shows it. */
export function fingerprint(file: string): string {
  return execFileSync('ssh-keygen', ['-l', '-f', `${file}.pub`], { encoding: 'utf8' }).split(' ')[1] ?? '';
}

export function keygen(file: string, type: 'ed25519' | 'rsa' | 'ecdsa'): void {
  const bits = type === 'rsa' ? ['-b', '2048'] : [];
  execFileSync('ssh-keygen', ['-q', '-t', type, ...bits, '-N', '', '-C', '', '-f', file]);
}

function config(
  at: (name: string) => string,
  port: number,
  keys: readonly { file: string }[],
  { password, sftp = [], under = [SFTP_SERVER] }: SshServerOptions,
): string {
  return [
    'ListenAddress 127.0.0.1',
    `Port ${port}`,
    ...keys.map(({ file }) => `HostKey ${file}`),
    `AuthorizedKeysFile ${at('authorized_keys')}`,
    `PidFile ${at('pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin yes',
    `PasswordAuthentication ${password === undefined ? 'no' : 'yes'}`,
    'KbdInteractiveAuthentication no',
    'LogLevel DEBUG1',
    ['Subsystem sftp', ...under, ...sftp].join(' '),
    '',
  ].join('\n');
}

/** As root in a mount namespace, where the user has another line in /etc/shadow: the machine's own stays as it is. */
function launch(at: (name: string) => string, user: string, password: string | undefined): ChildProcess {
  const server = [SSHD, '-D', '-e', '-f', at('config')];
  let command = server;
  if (process.getuid?.() === 0) {
    mkdirSync('/run/sshd', { recursive: true });
    const hash = execFileSync('openssl', ['passwd', '-6', '-stdin'], {
      input: password ?? Math.random().toString(36),
      encoding: 'utf8',
    });
    writeFileSync(at('shadow'), `${user}:${hash.trim()}:19000:0:99999:7:::\n`, { mode: 0o600 });
    const script = 'mount --bind "$0" /etc/shadow && exec "$@"';
    command = ['unshare', '-m', 'sh', '-c', script, at('shadow'), ...server];
  }
  const [program = SSHD, ...args] = command;
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** It and all that came from it: sessions are in process groups of their own. */
function killTree(pid: number): void {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  const parents = lines.map((line) => line.trim().split(/ +/).map(Number));
  const found = [pid];
  for (const each of found) for (const [child, parent] of parents) if (parent === each && child) found.push(child);
  for (const each of found) {
    try {
      process.kill(each, 'SIGKILL');
    } catch (error) {
      if (systemCode(error) !== 'ESRCH') throw error;
    }
  }
}

async function listening(child: ChildProcess, log: () => string): Promise<void> {
  while (!log().includes('Server listening on')) {
    if (child.exitCode !== null) throw new Error(`sshd ended: ${log()}`);
    if (child.stderr === null) throw new Error('sshd has no log');
    await Promise.race([once(child.stderr, 'data'), once(child, 'exit')]);
  }
}
