/** Conductors of an HA pair: processes of their own, each of which knows the other as its peer. */
import { mkdir, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { airlock, type CliResult, ended, startCli } from './cli.ts';
import { tempDir } from './temp-dir.ts';

export class Half {
  readonly data: string;
  readonly port: number;
  #running: { kill(signal: NodeJS.Signals): void; result: Promise<CliResult> } | undefined;

  private constructor(data: string, port: number) {
    this.data = data;
    this.port = port;
  }

  static async make(t: TestContext): Promise<Half> {
    const data = path.join(await tempDir(t), 'data');
    await mkdir(data);
    const half = new Half(data, await freePort());
    t.after(() => half.end('SIGKILL'));
    return half;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async configure(peer: string): Promise<void> {
    await writeFile(path.join(this.data, 'airlock.yaml'), `peer: ${peer}\n`);
  }

  async start(): Promise<void> {
    const child = startCli(['--data', this.data, 'serve', '--listen', `127.0.0.1:${this.port}`]);
    const result = ended(child);
    this.#running = { kill: (signal) => void child.kill(signal), result };
    const isUp = new Promise<void>((resolve) => child.stdout?.once('data', () => resolve()));
    const failed = result.then(({ code, stderr }) => Promise.reject(new Error(`ended with ${code}: ${stderr}`)));
    await Promise.race([isUp, failed]);
    failed.catch(() => undefined);
  }

  async end(signal: NodeJS.Signals): Promise<CliResult | undefined> {
    const running = this.#running;
    this.#running = undefined;
    running?.kill(signal);
    return await running?.result;
  }

  async done(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await airlock(['--data', this.data, ...args]);
    if (code === 0) return stdout;
    throw new Error(`${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.done('--json', ...args)) as T;
  }

  async get(name: string): Promise<{ readonly status: number; readonly body: Buffer; readonly headers: Headers }> {
    const response = await fetch(new URL(name, this.url));
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()), headers: response.headers };
  }

  async api<T>(name: string): Promise<T> {
    return JSON.parse((await this.get(`/api/v1/${name}`)).body.toString()) as T;
  }

  /** Every file below a folder, as the listings name them. */
  async *files(folder: string): AsyncGenerator<string> {
    const { body } = await this.get(folder);
    for (const [, href = ''] of body.toString().matchAll(/<a href="([^"]+)">/g)) {
      if (href === '../') continue;
      if (href.endsWith('/')) yield* this.files(`${folder}${href}`);
      else yield `${folder}${href}`;
    }
  }
}

/** Both know each other, and serve. */
export async function startPair(t: TestContext): Promise<[Half, Half]> {
  const [a, b] = [await Half.make(t), await Half.make(t)];
  await a.configure(b.url);
  await b.configure(a.url);
  await Promise.all([a.start(), b.start()]);
  return [a, b];
}

/** Waits, a minute at most, until something is so. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(100)) {
    if (await isSo().catch(() => false)) return;
  }
  throw new Error(`it never came about that ${what}`);
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
