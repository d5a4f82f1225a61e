/** Machines in small: network namespaces with links between them. Needs root. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { needsRoot } from './needs.ts';
import type { Scope } from './scope.ts';

/** Options for tests that make namespaces. */
export function needsNamespaces(...more: string[]): { skip?: string } {
  const options = needsRoot('ip=iproute2', 'tc=iproute2', 'unshare=util-linux', ...more);
  if (options.skip !== undefined || spawnSync('unshare', ['--net', 'true']).status === 0) return options;
  const reason = 'network namespaces cannot be made here: this needs CAP_SYS_ADMIN and CAP_NET_ADMIN';
  if (process.env.CI === 'true') throw new Error(reason);
  return { skip: reason };
}

/** One end of a link. */
export interface LinkEnd {
  readonly address: string;
  /** Of the interface, as the kernel counts them since the link was made; headers included. */
  sent(): Promise<number>;
  /** No more than so much leaves here. Bits per second. */
  shape(bitsPerSecond: number): void;
  /** As if the cable were pulled. */
  pull(): void;
}

export interface Namespace {
  readonly name: string;
  /** Stands before a command that shall run in here: `wrapper` of `startCli`. */
  readonly wrapper: readonly string[];
  /** Runs a command in here. @returns its standard output */
  run(command: string, ...args: string[]): Promise<string>;
  /** Writes one of its files below /etc anew; who runs in there sees it. */
  write(file: string, text: string): void;
  /** IPv4 packets that came in, of all protocols, as the kernel counts them. */
  packets(): Promise<number>;
}

const PREFIX = 'airlock-test-';
/** As ip-netns(8) has it. */
const FILES = '/etc/netns';
let count = 0;

/** Namespaces and their links; all of them are gone after the test, and those of tests that were killed as well. */
export class Network {
  readonly #names: string[] = [];
  #links = 0;

  constructor(t: Scope) {
    removeOrphans();
    t.after(() => {
      for (const name of this.#names) remove(name);
    });
  }

  /** @param files below /etc, which hide those of the machine from who runs in there: `resolv.conf`, `hosts` */
  namespace(files: Readonly<Record<string, string>> = {}): Namespace {
    count += 1;
    const name = `${PREFIX}${process.pid}-${count}`;
    this.#names.push(name);
    ip('netns', 'add', name);
    const write = (file: string, text: string) => writeFileSync(path.join(FILES, name, file), text);
    mkdirSync(path.join(FILES, name), { recursive: true });
    for (const [file, text] of Object.entries(files)) write(file, text);
    ip('-n', name, 'link', 'set', 'lo', 'up');
    const wrapper = ['ip', 'netns', 'exec', name];
    const run = async (...words: string[]) => {
      const [command = '', ...args] = [...wrapper, ...words];
      return (await promisify(execFile)(command, args, { env: ENV, maxBuffer: 2 ** 26 })).stdout;
    };
    return {
      name,
      wrapper,
      run,
      write,
      packets: async () => {
        // RFC 1213: ipInReceives is the third
        const values = /^Ip: (\d.*)$/m.exec(await run('cat', '/proc/net/snmp'))?.[1]?.split(' ');
        return Number(values?.[2]);
      },
    };
  }

  /** Joins two namespaces by a cable with two addresses, which nobody else can reach. */
  link(a: Namespace, b: Namespace): readonly [LinkEnd, LinkEnd] {
    this.#links += 1;
    const net = `10.213.${this.#links}`;
    const [nameA, nameB] = [`l${this.#links}a`, `l${this.#links}b`];
    ip('link', 'add', nameA, 'netns', a.name, 'type', 'veth', 'peer', 'name', nameB, 'netns', b.name);
    return [end(a, nameA, `${net}.1`), end(b, nameB, `${net}.2`)];
  }
}

function end({ name, run }: Namespace, device: string, address: string): LinkEnd {
  ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', device);
  ip('-n', name, 'link', 'set', device, 'up');
  return {
    address,
    sent: async () => Number(await run('cat', `/sys/class/net/${device}/statistics/tx_bytes`)),
    shape: (bits) => {
      const words = ['rate', `${bits}bit`, 'burst', '64kb', 'latency', '100ms'];
      command('tc', '-n', name, 'qdisc', 'replace', 'dev', device, 'root', 'tbf', ...words);
    },
    pull: () => ip('-n', name, 'link', 'set', device, 'down'),
  };
}

/** Namespaces are named after the process that made them. */
function removeOrphans(): void {
  const named = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8', env: ENV }).match(/^\S+/gm) ?? [];
  const folders = existsSync(FILES) ? readdirSync(FILES) : [];
  for (const name of [...named, ...folders]) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-\\d+$`).exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) remove(name);
  }
}

/** Links go with a namespace at one of their ends. Who still runs in there goes on running. */
function remove(name: string): void {
  spawnSync('ip', ['netns', 'del', name], { env: ENV });
  if (!existsSync(FILES)) return;
  rmSync(path.join(FILES, name), { recursive: true, force: true });
  if (readdirSync(FILES).length === 0) rmdirSync(FILES);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const ENV = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

function ip(...words: string[]): void {
  command('ip', ...words);
}

function command(name: string, ...args: string[]): void {
  execFileSync(name, args, { stdio: ['ignore', 'ignore', 'pipe'], env: ENV });
}
