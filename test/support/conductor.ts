/** A conductor with RPM repositories: its data directory, its command line and its server. */
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { App } from '../../src/app.ts';
import { addVendorKey } from '../../src/repo/formats/openpgp/vendor-keys.ts';
import { verify } from '../../src/repo/upkeep/verify.ts';
import { airlock, airlockJson, type CliResult, type RunningServer, startServer } from './cli.ts';
import { tempDir } from './temp-dir.ts';
import { quietly, withApp } from './with-app.ts';

export const RPM_REPOSITORY = 'ssr-el7-x86_64';

/** What `--json` prints where a command fails. */
export interface Refusal {
  readonly error: { readonly code: string; readonly message: string; readonly details?: Record<string, unknown> };
}

export interface ShownRepository {
  readonly published: number;
  readonly entries: readonly {
    readonly path: string;
    readonly kind: string;
    readonly size: number;
    readonly digest: string;
    readonly verification: { readonly status: string };
  }[];
}

export interface Conductor {
  readonly data: string;
  run(...args: string[]): Promise<CliResult>;
  /** Runs a command that must succeed. */
  done(...args: string[]): Promise<CliResult>;
  /** As `done`, and gives its document. */
  json<T>(...args: string[]): Promise<T>;
  importIso(file: string, ...words: string[]): Promise<CliResult>;
  importRpm(files: readonly string[], ...flags: string[]): Promise<CliResult>;
  /** What the RPM repository holds, as `repo show --json` tells it; read without a command. */
  show(): Promise<ShownRepository>;
  /** Runs a command that must fail with this exit code, and leave everything as it was. @returns what it says */
  refuses(exitCode: number, ...args: string[]): Promise<Refusal['error']>;
  /** Files below `blobs/`, by name, with sizes. */
  blobs(): Promise<Map<string, number>>;
  serve(): Promise<Served>;
}

export interface Served {
  readonly server: RunningServer;
  /** Of the RPM repository, with a slash at its end. */
  readonly base: string;
  get(name: string, headers?: Record<string, string>): Promise<Answer>;
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly headers: Headers;
}

/**
 * @param keyFile of a vendor to trust
 * @param images were imported into it, in this order. Conductors with the same ones are copies, with one repository key.
 */
export async function newConductor(
  t: TestContext,
  keyFile?: string,
  images: readonly string[] = [],
): Promise<Conductor> {
  const data = path.join(await tempDir(t), 'data');
  if (keyFile !== undefined) await copyPrototype(keyFile, images, data);
  return conductorAt(t, data);
}

/** Data directories to be copied, by their key file and what was imported into them. They go with the key's folder. */
const prototypes = new Map<string, Promise<string>>();

async function copyPrototype(keyFile: string, images: readonly string[], data: string): Promise<void> {
  await cp(await prototype(keyFile, images), data, { recursive: true });
  if (images.length === 0) return;
  // A copy is not what was hashed when it was stored, and is not built upon before it was read.
  const { damage } = await withApp(data, async (app) => verify(await app.ingest(), { ...quietly(), now: Date.now }));
  assert.deepEqual(damage, []);
}

function prototype(keyFile: string, images: readonly string[]): Promise<string> {
  const name = [keyFile, ...images].join('\n');
  const made = prototypes.get(name) ?? makePrototype(keyFile, images);
  prototypes.set(name, made);
  return made;
}

async function makePrototype(keyFile: string, images: readonly string[]): Promise<string> {
  const data = path.join(await mkdtemp(path.join(path.dirname(keyFile), 'conductor-')), 'data');
  const last = images.at(-1);
  if (last === undefined) {
    await mkdir(data);
    await addVendorKey(data, await readFile(keyFile));
  } else {
    await copyPrototype(keyFile, images.slice(0, -1), data);
    await doneIn(data, ...importIsoWords(last));
  }
  return data;
}

async function doneIn(data: string, ...args: string[]): Promise<CliResult> {
  const result = await airlock(['--data', data, ...args]);
  assert.equal(result.code, 0, `${args.join(' ')}: ${result.stdout}${result.stderr}`);
  return result;
}

function importIsoWords(file: string, ...words: string[]): string[] {
  return ['import', 'iso', ...words, 'force', 'filepath', file];
}

function conductorAt(t: TestContext, data: string): Conductor {
  const done = (...args: string[]) => doneIn(data, ...args);
  const json = async <T>(...args: string[]) => JSON.parse((await done('--json', ...args)).stdout) as T;
  return {
    data,
    run: (...args) => airlock(['--data', data, ...args]),
    done,
    json,
    importIso: (file, ...words) => done(...importIsoWords(file, ...words)),
    importRpm: (files, ...flags) => done(...importRpmWords(files, ...flags)),
    show: () => withApp(data, (app) => shown(app, RPM_REPOSITORY)),
    async refuses(exitCode, ...args) {
      const before = await contentOf(data);
      const { code, json: said, stderr } = await airlockJson<Refusal>(['--data', data, ...args]);
      assert.equal(code, exitCode, `${args.join(' ')}: ${JSON.stringify(said)}${stderr}`);
      assert.deepEqual(await contentOf(data), before, `${args.join(' ')} left something`);
      return said.error;
    },
    blobs: async () => {
      const files = await filesBelow(path.join(data, 'blobs'));
      return new Map([...files].filter(([name]) => /[0-9a-f]{64}$/.test(name)));
    },
    serve: () => serve(t, data),
  };
}

async function shown({ catalog }: App, name: string): Promise<ShownRepository> {
  const { published } = (await catalog.repository(name)) ?? assert.fail(`there is no repository ${name}`);
  const entries = [];
  for await (const { path: at, artifact } of catalog.entries(name, published)) {
    const { kind, size, digest, verification } = artifact;
    entries.push({ path: at, kind, size, digest, verification });
  }
  return { published, entries };
}

/** `import rpm` for the repository of the tests. */
export function importRpmWords(files: readonly string[], ...flags: string[]): string[] {
  return ['import', 'rpm', 'distribution', 'el7', 'architecture', 'x86_64', ...flags, 'filepath', ...files];
}

async function serve(t: TestContext, data: string): Promise<Served> {
  const server = await startServer(t, data);
  const base = `${server.url}/repos/${RPM_REPOSITORY}/`;
  const get = async (name: string, headers: Record<string, string> = {}) => {
    const response = await fetch(new URL(name, base), { headers });
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()), headers: response.headers };
  };
  return { server, base, get };
}

/** What repomd.xml names now. */
export async function namedFiles({ get }: Pick<Served, 'get'>): Promise<string[]> {
  const { body, status } = await get('repodata/repomd.xml');
  assert.equal(status, 200);
  const named = [...body.toString().matchAll(/<location href="([^"]+)"/g)].map(([, href = '']) => href);
  assert.ok(named.length >= 3, body.toString());
  return named;
}

/** Everything that an import may leave behind, and of the database what is published. */
async function contentOf(data: string): Promise<unknown> {
  const repositories = await withApp(data, ({ catalog }) => catalog.repositories());
  const [blobs, partial, revisions] = await Promise.all(
    ['blobs', 'partial', 'revisions'].map(async (name) => [...(await filesBelow(path.join(data, name)))]),
  );
  const files = [...(blobs ?? []), ...(partial ?? []), ...(revisions ?? [])].filter(([name]) => !/lock$/.test(name));
  return { files: files.sort(), repositories };
}

async function filesBelow(dir: string): Promise<Map<string, number>> {
  const files = new Map<string, number>();
  const items = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const item of items) {
    const file = path.join(item.parentPath, item.name);
    if (item.isFile()) files.set(file, (await stat(file)).size);
  }
  return files;
}
