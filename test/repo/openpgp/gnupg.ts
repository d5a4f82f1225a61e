/** The real GnuPG, in home folders of its own: makes keys and signatures, and gives its verdict on ours. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const COMMON = ['--batch', '--yes', '--no-tty', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', ''];

interface GpgOptions {
  /** The time that gpg believes it to be; it stands still. */
  readonly at?: Date;
  readonly input?: Uint8Array;
}

export class Gnupg implements Disposable {
  readonly home = mkdtempSync(path.join(tmpdir(), 'airlock-gpg-'));

  /** Runs gpg and gives its standard output. @throws if it fails */
  run(args: readonly string[], { at, input }: GpgOptions = {}): Buffer {
    const time = at === undefined ? [] : ['--faked-system-time', `${stamp(at)}!`];
    return execFileSync('gpg', ['--homedir', this.home, ...COMMON, ...time, ...args], {
      input: input ?? Buffer.alloc(0),
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
  }

  /** Makes a key. @returns its full fingerprint */
  makeKey(name: string, algorithm: string, usage = 'sign', expires = 'never', at?: Date): string {
    this.run(['--quick-generate-key', `${name} <${name}@vendor.example>`, algorithm, usage, expires], withTime(at));
    return this.fingerprints(`<${name}@vendor.example>`)[0] ?? '';
  }

  /** Adds a subkey. @returns its full fingerprint */
  addSubkey(primary: string, algorithm: string, usage = 'sign', expires = 'never', at?: Date): string {
    this.run(['--quick-add-key', primary, algorithm, usage, expires], withTime(at));
    return this.fingerprints(primary).at(-1) ?? '';
  }

  /** Fingerprints of a key and its subkeys, the primary one first. */
  fingerprints(key: string): string[] {
    const lines = this.run(['--with-colons', '--list-keys', key]).toString().split('\n');
    return lines.filter((line) => line.startsWith('fpr:')).map((line) => line.split(':')[9] ?? '');
  }

  /** @param extra options such as `--digest-algo SHA1`; `--armor` is not set */
  sign(keys: readonly string[], data: Uint8Array, extra: readonly string[] = [], at?: Date): Buffer {
    const users = keys.flatMap((key) => ['--local-user', key]);
    return this.run([...users, ...extra, '--detach-sign'], { input: data, ...withTime(at) });
  }

  export(...keys: string[]): Buffer {
    return this.run(['--export', ...keys]);
  }

  /** Revokes a key. @param reason as `--generate-revocation` asks: 0 none, 1 compromised, 2 superseded, 3 retired */
  revoke(key: string, reason: 0 | 1 | 2 | 3, at?: Date): void {
    const answers = Buffer.from(`y\n${reason}\n\ny\n`);
    const args = ['--no-batch', '--command-fd', '0', '--output', '-', '--generate-revocation', key];
    this.run(['--import'], { input: this.run(args, { input: answers, ...withTime(at) }), ...withTime(at) });
  }

  /** Answers gpg's `--edit-key` dialogue. */
  edit(key: string, answers: readonly string[], at?: Date): void {
    const input = Buffer.from(`${answers.join('\n')}\n`);
    this.run(['--no-batch', '--command-fd', '0', '--expert', '--edit-key', key], { input, ...withTime(at) });
  }

  /** Ends the agent of this home, and the home. */
  [Symbol.dispose](): void {
    spawnSync('gpgconf', ['--homedir', this.home, '--kill', 'all']);
    // the agent removes its sockets on its way out; a removal that meets it stops half way, without an error
    for (let tries = 0; tries < 20 && existsSync(this.home); tries++)
      rmSync(this.home, { recursive: true, force: true });
  }
}

export interface GpgVerdict {
  /** One for each signature: a keyword of gpg's doc/DETAILS (`ERRSIG:<error>`), and the key id that the signature names. */
  readonly signatures: readonly { readonly status: string; readonly keyId: string }[];
  readonly exitCode: number | null;
  readonly log: string;
}

/** What gpg, knowing nothing but `keys`, says of a detached signature. */
export function gpgVerify(
  keys: readonly Uint8Array[],
  signed: Uint8Array,
  signature: Uint8Array,
  at?: Date,
): GpgVerdict {
  using gpg = new Gnupg();
  const time = at === undefined ? [] : ['--faked-system-time', `${stamp(at)}!`];
  const call = (args: readonly string[], input?: Uint8Array) =>
    spawnSync('gpg', ['--homedir', gpg.home, '--no-autostart', ...COMMON, ...time, ...args], {
      input: input ?? Buffer.alloc(0),
      env: { ...process.env, LC_ALL: 'C' },
    });
  for (const key of keys) call(['--import'], key);
  const [signatureFile, signedFile] = [path.join(gpg.home, 'signature'), path.join(gpg.home, 'signed')];
  writeFileSync(signatureFile, signature);
  writeFileSync(signedFile, signed);
  // MD5 is weak for it by itself; the keys' own signatures, read at the import, may still be over SHA-1, as with us
  const policy = ['--trust-model', 'always', '--weak-digest', 'SHA1', '--weak-digest', 'RIPEMD160'];
  const { stdout, stderr, status } = call([...policy, '--status-fd', '1', '--verify', signatureFile, signedFile]);
  return { signatures: keywords(stdout.toString()), exitCode: status, log: `${stdout}${stderr}` };
}

/** Armours binary OpenPGP data as gpg does. */
export function gpgArmor(gpg: Gnupg, data: Uint8Array): Buffer {
  const armored = gpg.run(['--enarmor'], { input: data }).toString();
  return Buffer.from(armored.replaceAll('PGP ARMORED FILE', 'PGP SIGNATURE').replace(/^Comment:.*\n/m, ''));
}

function keywords(status: string): GpgVerdict['signatures'] {
  return status.split('\n').flatMap((line) => {
    const [, keyword = '', keyId = '', ...words] = line.split(' ');
    if (keyword === 'ERRSIG') return [{ status: `ERRSIG:${words[4]}`, keyId }];
    return ['GOODSIG', 'BADSIG', 'EXPKEYSIG', 'REVKEYSIG', 'EXPSIG'].includes(keyword)
      ? [{ status: keyword, keyId }]
      : [];
  });
}

function withTime(at: Date | undefined): GpgOptions {
  return at === undefined ? {} : { at };
}

function stamp(at: Date): string {
  return at.toISOString().replace(/[-:]|\.\d+Z/g, '');
}
