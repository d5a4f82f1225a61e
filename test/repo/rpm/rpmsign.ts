/** rpm's own signing, with the keys of a GnuPG home. */
import { execFileSync } from 'node:child_process';

import type { Gnupg } from '../openpgp/gnupg.ts';

interface RpmsignOptions {
  /** A signature over header and payload too, as rpm 3 reads it. */
  readonly rpmv3?: boolean;
  readonly digest?: 'sha1' | 'sha256' | 'sha512';
}

/** Signs packages where they lie; a signature that is there is replaced. @param key full fingerprint */
export function rpmsign(gpg: Gnupg, key: string, files: readonly string[], options: RpmsignOptions = {}): void {
  const { rpmv3 = false, digest = 'sha256' } = options;
  const macros = Object.entries({
    __gpg: '/usr/bin/gpg',
    _gpg_name: `${key}!`,
    _gpg_path: gpg.home,
    _gpg_digest_algo: digest,
    _gpg_sign_cmd_extra_args: '--batch --pinentry-mode loopback --passphrase ""',
  }).flatMap(([name, value]) => ['--define', `${name} ${value}`]);
  execFileSync('rpmsign', [...macros, '--addsign', ...(rpmv3 ? ['--rpmv3'] : []), ...files], {
    stdio: 'pipe',
    env: { ...process.env, GNUPGHOME: gpg.home, LC_ALL: 'C' },
  });
}
