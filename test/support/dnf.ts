/** A router's dnf: with a root, caches and logs of its own, it knows one repository. */
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Scope } from './scope.ts';
import { tempDir } from './temp-dir.ts';

const exec = promisify(execFile);

/** For `needs`: dnf with `download` and `reposync`. */
export const DNF = ['dnf', '/usr/lib/python3/dist-packages/dnf-plugins/reposync.py=dnf-plugins-core', 'rpm'] as const;

export class Dnf {
  readonly root: string;
  readonly #dir: string;
  readonly #wrapper: readonly string[];

  private constructor(dir: string, wrapper: readonly string[]) {
    this.#dir = dir;
    this.#wrapper = wrapper;
    this.root = path.join(dir, 'root');
  }

  /**
   * @param repoFile what the repository itself offers as its `.repo` file
   * @param wrapper stands before the command, so that it runs in a network namespace
   */
  static async with(t: Scope, repoFile: string, wrapper: readonly string[] = []): Promise<Dnf> {
    const dir = await tempDir(t);
    for (const name of ['root', 'repos', 'cache', 'state', 'log']) await mkdir(path.join(dir, name));
    await writeFile(path.join(dir, 'repos', 'site.repo'), repoFile);
    return new Dnf(dir, wrapper);
  }

  /** @throws an error with `stderr` if dnf fails */
  async run(...args: string[]): Promise<string> {
    const places = { reposdir: 'repos', cachedir: 'cache', persistdir: 'state', logdir: 'log' };
    const [command = '', ...words] = [...this.#wrapper, 'dnf'];
    const { stdout, stderr } = await exec(
      command,
      [
        ...words,
        ...['-y', `--installroot=${this.root}`, '--releasever=7', '--forcearch=x86_64', '--disableplugin=local'],
        ...Object.entries(places).map(([option, name]) => `--setopt=${option}=${path.join(this.#dir, name)}`),
        '--setopt=tsflags=nocontexts',
        ...args,
      ],
      { env: { ...process.env, LC_ALL: 'C.UTF-8' }, maxBuffer: 2 ** 26 },
    );
    return stdout + stderr;
  }

  /** As after a long time without use. */
  async forgetCache(): Promise<void> {
    await rm(path.join(this.#dir, 'cache'), { recursive: true });
    await mkdir(path.join(this.#dir, 'cache'));
  }

  /** `[epoch:]version-release` of an installed package. */
  async installed(name: string): Promise<string> {
    return (await exec('rpm', ['--root', this.root, '-q', '--qf', '%{evr}', name])).stdout;
  }
}
