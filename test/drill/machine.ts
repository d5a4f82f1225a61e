/** A machine with Airlock: its place, its data directory, its command line and its server. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type CliResult, ended, type RunningServer, startCli, startServer } from '../support/cli.ts';
import type { Refusal } from '../support/conductor.ts';
import type { Scope } from '../support/scope.ts';
import { tempDir } from '../support/temp-dir.ts';
import type { Place } from './places.ts';

const LOG = 'log: { file: server.log }\n';

export class Machine {
  readonly name: string;
  readonly place: Place;
  readonly data: string;
  readonly #scope: Scope;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(scope: Scope, name: string, place: Place, data: string, env: Readonly<Record<string, string>>) {
    this.#scope = scope;
    this.name = name;
    this.place = place;
    this.data = data;
    this.#env = env;
  }

  /** @param config lines of its airlock.yaml */
  static async make(
    scope: Scope,
    name: string,
    place: Place,
    config = '',
    env: Readonly<Record<string, string>> = {},
  ): Promise<Machine> {
    const data = path.join(await tempDir(scope), name);
    await mkdir(data);
    await writeFile(path.join(data, 'airlock.yaml'), LOG + config);
    return new Machine(scope, name, place, data, env);
  }

  /** Starts a command. */
  start(...words: string[]): { readonly child: ChildProcess; readonly result: Promise<CliResult> } {
    const child = startCli(['--data', this.data, ...words], { wrapper: this.place.wrapper, env: this.#env });
    this.#scope.after(() => child.kill('SIGKILL'));
    return { child, result: ended(child) };
  }

  /** Runs a command that must succeed. @returns what it printed */
  async done(...words: string[]): Promise<string> {
    const { code, signal, stdout, stderr } = await this.start(...words).result;
    assert.equal(code, 0, `${this.name}: airlock ${words.join(' ')} ended with ${code ?? signal}: ${stdout}${stderr}`);
    return stdout;
  }

  /** As `done`, and gives its document. */
  async json<T>(...words: string[]): Promise<T> {
    return JSON.parse(await this.done('--json', ...words)) as T;
  }

  /** Runs a command that must fail with this exit code. @returns the code of its error */
  async refuses(exitCode: number, ...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.start('--json', ...words).result;
    const said = `${this.name}: airlock ${words.join(' ')} ended with ${code} in place of ${exitCode}: ${stdout}${stderr}`;
    assert.equal(code, exitCode, said);
    return (JSON.parse(stdout) as Refusal).error.code;
  }

  /** @param words `serve`, or `proxy` with its options */
  async serve(port: number, ...words: string[]): Promise<RunningServer> {
    return await startServer(this.#scope, this.data, {
      command: words,
      listen: `${this.place.address}:${port}`,
      wrapper: this.place.wrapper,
      env: this.#env,
    });
  }

  /** What its server logged last. */
  async lastLines(count: number): Promise<string[]> {
    const text = await readFile(path.join(this.data, 'server.log'), 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .slice(-count);
  }
}
