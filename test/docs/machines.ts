/** The machines on which the commands of a document run: a home, a data directory, ports and terminals for each. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { ended } from '../support/cli.ts';
import { freePort } from '../support/ports.ts';

const root = path.join(import.meta.dirname, '..', '..');

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What documents call things, and what these are called in the tests. */
type Names = readonly (readonly [inDocument: string, inTest: string])[];

interface Known {
  readonly names: Names;
  readonly conductor: number;
  readonly router: number;
  readonly vendor: number;
}

/** Where documents say that the vendor is. */
const VENDOR = 'https://software.128technology.com/artifactory';

export class Machines {
  readonly dir: string;
  readonly vendorPort: number;
  readonly #names: Names;
  readonly #ports: Readonly<Record<'conductor' | 'router', number>>;
  readonly #running: { readonly child: ChildProcess; readonly result: Promise<unknown> }[] = [];

  private constructor(dir: string, { names, vendor, ...ports }: Known) {
    this.dir = dir;
    this.vendorPort = vendor;
    this.#names = names;
    this.#ports = ports;
  }

  /**
   * @param dir an empty folder
   * @param document what it calls its machines decides what they are called in outputs
   */
  static async in(t: TestContext, dir: string, document: string): Promise<Machines> {
    const [conductor, router, vendor] = [await freePort(), await freePort(), await freePort()];
    const address = (port: number) => `127.0.0.1:${port}`;
    const known: Names = [
      ['conductor:8480', address(conductor)],
      ['localhost:8480', address(conductor)],
      ['router:8480', address(router)],
      ['localhost:8481', address(router)],
      ['0.0.0.0:8481', address(router)],
      [VENDOR, `http://${address(vendor)}/artifactory`],
      ['/media/stick', path.join(dir, 'stick')],
      ['/media/report', path.join(dir, 'report')],
      ['/etc/yum.repos.d', path.join(dir, 'dnf', 'repos')],
    ];
    const names = known.filter(([inDocument]) => document.includes(inDocument));
    const machines = new Machines(dir, { names, conductor, router, vendor });
    for (const name of ['bin', 'stick', 'report', ...DNF.map((name) => `dnf/${name}`)])
      await mkdir(path.join(dir, name), { recursive: true });
    for (const name of LINKED) await symlink(path.join(root, name), path.join(dir, name));
    await machines.#program('airlock', `exec '${process.execPath}' '${path.join(root, 'src', 'cli.ts')}' "$@"`);
    await machines.#program('dnf', `exec /usr/bin/dnf ${dnfOptions(path.join(dir, 'dnf')).join(' ')} "$@"`);
    t.after(() => machines.#stop());
    return machines;
  }

  /** Ports are those of the configuration, so that no command of a document names one that is none of its readers'. */
  async configure(machine: string, yaml = ''): Promise<void> {
    const home = await this.#home(machine);
    const listen = `127.0.0.1:${this.#ports[machine === 'router' ? 'router' : 'conductor']}`;
    const log = 'log: { file: airlock.log }';
    const own = [...(/^listen:/m.test(yaml) ? [] : [`listen: ${listen}`]), ...(/^log:/m.test(yaml) ? [] : [log])];
    await writeFile(path.join(home, 'data', 'airlock.yaml'), `${own.join('\n')}\n${this.inTest(yaml)}`);
  }

  /** Runs commands one after another until one fails. */
  async run(machine: string, commands: string): Promise<Ran> {
    return await ended(await this.#spawn(machine, `set -eo pipefail\n${commands}`));
  }

  /** Starts a command that stays, and waits until it says that it serves. @throws Error if it ends before */
  async stay(machine: string, command: string): Promise<void> {
    const child = await this.#spawn(machine, `exec ${command}`);
    const result = ended(child);
    this.#running.push({ child, result });
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', (text: string) => /serves https?:/.test(text) && resolve());
      result.then(({ code, stderr }) => reject(new Error(`${command} ended with ${code}: ${stderr}`)), reject);
    });
  }

  inTest(text: string): string {
    return this.#names.reduce((so, [inDocument, inTest]) => so.replaceAll(inDocument, inTest), text);
  }

  /** Data directories are called DATA in outputs, as in storage/README.md. */
  inDocument(text: string): string {
    // What mkdtemp gives holds nothing that means something to a pattern.
    const places = new RegExp(`${this.dir}/[a-z]+/data\\b`, 'g');
    return this.#inDocument(text.replaceAll(places, 'DATA'));
  }

  #inDocument(text: string): string {
    return this.#names.reduceRight((so, [inDocument, inTest]) => so.replaceAll(inTest, inDocument), text);
  }

  async #spawn(machine: string, script: string): Promise<ChildProcess> {
    const home = await this.#home(machine);
    return spawn('bash', ['-c', this.inTest(script)], {
      cwd: home,
      env: {
        ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AIRLOCK_'))),
        PATH: `${path.join(this.dir, 'bin')}:${process.env.PATH ?? ''}`,
        HOME: home,
        AIRLOCK_DATA: path.join(home, 'data'),
        NODE_COMPILE_CACHE: path.join(root, 'node_modules', '.cache', 'airlock'),
        NODE_TEST_CONTEXT: undefined,
        LC_ALL: 'C.UTF-8',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async #home(machine: string): Promise<string> {
    const home = path.join(this.dir, machine);
    const isNew = (await mkdir(path.join(home, 'data'), { recursive: true })) !== undefined;
    if (isNew) await this.configure(machine);
    return home;
  }

  async #program(name: string, script: string): Promise<void> {
    const file = path.join(this.dir, 'bin', name);
    await writeFile(file, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
  }

  async #stop(): Promise<void> {
    for (const { child } of this.#running) child.kill('SIGTERM');
    await Promise.allSettled(this.#running.map(({ result }) => result));
  }
}

/** What `npm run` needs: documents are read in the clone. */
const LINKED = ['package.json', 'node_modules', 'test'] as const;

/** Folders of dnf. */
const DNF = ['root', 'repos', 'cache', 'state', 'log'] as const;

/** As on a router, but in a root of its own. */
function dnfOptions(dir: string): string[] {
  const places = { reposdir: 'repos', cachedir: 'cache', persistdir: 'state', logdir: 'log' };
  return [
    ...[
      '-y',
      `--installroot=${path.join(dir, 'root')}`,
      '--releasever=7',
      '--forcearch=x86_64',
      '--disableplugin=local',
    ],
    ...Object.entries(places).map(([option, name]) => `--setopt=${option}=${path.join(dir, name)}`),
    '--setopt=tsflags=nocontexts',
  ];
}
