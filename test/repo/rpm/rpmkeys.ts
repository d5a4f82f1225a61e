/** rpm itself as the judge: `rpmkeys --checksig`, everything required, knowing nothing but the keys it is given. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { armoredKey } from '../openpgp/old-openpgp.ts';

export class Rpmkeys implements Disposable {
  readonly #home = mkdtempSync(path.join(tmpdir(), 'airlock-rpmkeys-'));
  #files = 0;
  /** How many keys rpm took: it leaves out those of an unknown kind, and those with anything odd in them. */
  imported = 0;

  /** @param certificates public keys, binary, each one with all that belongs to it */
  constructor(certificates: readonly Uint8Array[]) {
    this.#run(['--initdb'], 'rpmdb');
    for (const certificate of certificates) {
      const file = path.join(this.#home, `key-${this.#files++}.asc`);
      writeFileSync(file, armoredKey(certificate));
      if (this.#run(['--import', file]).status === 0) this.imported += 1;
    }
  }

  /** Whether rpm is content, and why (not). */
  check(file: Uint8Array): { readonly isOk: boolean; readonly log: string } {
    const name = path.join(this.#home, 'package.rpm');
    writeFileSync(name, file);
    const { status, log } = this.#run(['--checksig', '--verbose', name]);
    return { isOk: status === 0, log };
  }

  /** The same for many packages at once. */
  checkAll(files: readonly Uint8Array[]): boolean[] {
    const names = files.map((file, index) => {
      const name = path.join(this.#home, `package-${index}.rpm`);
      writeFileSync(name, file);
      return name;
    });
    const content = new Set<string>();
    for (let at = 0; at < names.length; at += 500) {
      const { log } = this.#run(['--checksig', ...names.slice(at, at + 500)]);
      // of a package that it cannot read, rpm writes only the name, without an end of line
      for (const line of log.split('\n')) {
        const [, name] = /([^\s:]+): (?:digests )?(?:signatures )?OK$/.exec(line) ?? [];
        if (name !== undefined) content.add(name);
      }
    }
    return names.map((name) => content.has(name));
  }

  #run(args: readonly string[], command = 'rpmkeys'): { status: number | null; log: string } {
    const setting = ['--define', '_pkgverify_level all', '--define', '_pkgverify_flags 0'];
    const { status, stdout, stderr } = spawnSync(
      command,
      ['--dbpath', path.join(this.#home, 'db'), ...setting, ...args],
      {
        env: { ...process.env, LC_ALL: 'C', HOME: this.#home },
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    return { status, log: `${stdout}${stderr}` };
  }

  [Symbol.dispose](): void {
    rmSync(this.#home, { recursive: true, force: true });
  }
}
