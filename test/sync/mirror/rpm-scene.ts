/** A vendor's dnf repository on a web server, made by createrepo_c, and a conductor that mirrors it. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { type App, openApp } from '../../../src/app.ts';
import type { Entry } from '../../../src/repo/catalog/catalog.ts';
import type { VendorKey } from '../../../src/repo/formats/openpgp/key-files.ts';
import { TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { silent } from '../../../src/repo/progress.ts';
import { Bandwidth } from '../../../src/repo/upstream/bandwidth.ts';
import { HttpUpstream } from '../../../src/repo/upstream/http-upstream.ts';
import { siteMemory } from '../../../src/sync/mirror/memory.ts';
import { mirrorRpm, type RpmRule, type RpmSite } from '../../../src/sync/mirror/rpm.ts';
import type { RuleReport } from '../../../src/sync/mirror/rule.ts';
import { buildRpm, int32, strings } from '../../media/rpm-builder.ts';
import { Origin } from '../../support/origin.ts';
import { tempDir } from '../../support/temp-dir.ts';

export const RULE: RpmRule = { path: 'el9', repository: 'tools', policy: 'immediate', include: [], exclude: [] };

/** A package in small. */
export interface Recipe {
  readonly name: string;
  readonly version: string;
  readonly requires?: readonly string[];
  readonly provides?: readonly string[];
  readonly files?: readonly string[];
  /** Two packages with another one are other bytes. */
  readonly seed?: string;
}

export function rpmOf({ name, version, requires = [], provides = [], files = [], seed = '' }: Recipe): Buffer {
  const list = (names: readonly string[], tags: readonly [number, number, number]) =>
    names.length === 0
      ? []
      : [strings(tags[0], ...names), int32(tags[1], ...names.map(() => 0)), strings(tags[2], ...names.map(() => ''))];
  return buildRpm({
    name,
    version,
    release: '1.el9',
    arch: 'x86_64',
    files: files.map((file) => [file] as const),
    archive: Buffer.from(`content ${name} ${version} ${seed}`),
    tags: [
      ...list(requires, [TAG.requireName, TAG.requireFlags, TAG.requireVersion]),
      ...list([name, ...provides], [TAG.provideName, TAG.provideFlags, TAG.provideVersion]),
    ],
  }).file;
}

/** A folder with a repository that createrepo_c describes. */
export class Repository {
  readonly dir: string;
  readonly #more: readonly string[];

  constructor(dir: string, ...createrepoOptions: string[]) {
    this.dir = dir;
    this.#more = createrepoOptions;
    mkdirSync(path.join(dir, 'Packages'), { recursive: true });
  }

  add(...recipes: Recipe[]): void {
    for (const recipe of recipes) {
      const file = `${recipe.name}-${recipe.version}-1.el9.x86_64.rpm`;
      writeFileSync(path.join(this.dir, 'Packages', file), rpmOf(recipe));
    }
  }

  describe(): void {
    execFileSync('createrepo_c', ['--quiet', ...this.#more, this.dir], { stdio: 'pipe' });
  }

  modify(type: string, file: string, ...options: string[]): void {
    execFileSync('modifyrepo_c', [...options, `--mdtype=${type}`, file, path.join(this.dir, 'repodata')], {
      stdio: 'pipe',
    });
  }

  read(name: string): Buffer {
    return readFileSync(path.join(this.dir, name));
  }

  write(name: string, bytes: string | Uint8Array): void {
    writeFileSync(path.join(this.dir, name), bytes);
  }

  remove(name: string): void {
    rmSync(path.join(this.dir, name));
  }

  files(): string[] {
    const found = readdirSync(this.dir, { recursive: true, withFileTypes: true });
    return found
      .filter((item) => item.isFile())
      .map((item) => path.relative(this.dir, path.join(item.parentPath, item.name)));
  }

  /** In place of what the web server had below this path. */
  publish(origin: Origin, prefix = 'el9'): void {
    for (const url of [...origin.files.keys()]) if (url.startsWith(`/${prefix}/`)) origin.files.delete(url);
    for (const name of this.files()) origin.files.set(`/${prefix}/${name}`, { bytes: this.read(name) });
  }

  /** Changes a metadata file, and what repomd.xml says of it. */
  change(type: string, change: (text: string) => string): void {
    const repomd = this.read('repodata/repomd.xml').toString();
    const [element = ''] = new RegExp(`<data type="${type}">[\\s\\S]*?</data>`).exec(repomd) ?? [];
    const [, href = ''] = /href="([^"]*)"/.exec(element) ?? [];
    const changed = Buffer.from(change(unpacked(path.join(this.dir, href))));
    const hex = createHash('sha256').update(changed).digest('hex');
    this.write(`repodata/changed-${type}.xml`, changed);
    const sums = `<checksum type="sha256">${hex}</checksum><location href="repodata/changed-${type}.xml"/><timestamp>${Math.ceil(Date.now() / 1000)}</timestamp><size>${changed.length}</size>`;
    this.write('repodata/repomd.xml', repomd.replace(element, `<data type="${type}">${sums}</data>`));
  }
}

/** Metadata as newer versions of createrepo_c write it: older ones know no Zstandard. */
export function withZstd(repository: Repository): void {
  let repomd = repository.read('repodata/repomd.xml').toString();
  for (const [element] of repomd.matchAll(/<data type="[\s\S]*?<\/data>/g)) {
    const href = /href="([^"]*)"/.exec(element)?.[1] ?? '';
    if (!href.endsWith('.gz')) continue;
    const file = path.join(repository.dir, href);
    const packed = zstdCompressSync(execFileSync('gzip', ['-dc', file]));
    const hex = createHash('sha256').update(packed).digest('hex');
    const name = `repodata/${hex}-${path.basename(href, '.gz').replace(/^[0-9a-f]{64}-/, '')}.zst`;
    rmSync(file);
    repository.write(name, packed);
    const changed = element
      .replace(/(<checksum type="sha256">)[^<]*/, `$1${hex}`)
      .replace(href, name)
      .replace(/<size>\d+/, `<size>${packed.length}`);
    repomd = repomd.replace(element, changed);
  }
  repository.write('repodata/repomd.xml', repomd);
}

/** The XML in a metadata file, whatever it is compressed with. */
function unpacked(file: string): string {
  const tool = { gz: 'gzip', bz2: 'bzip2', xz: 'xz', zst: 'zstd' }[path.extname(file).slice(1)];
  if (tool === undefined) return readFileSync(file, 'utf8');
  return execFileSync(tool, ['-dc', file], { maxBuffer: 2 ** 28 }).toString();
}

export interface Scene {
  readonly app: App;
  readonly origin: Origin;
  readonly dir: string;
  readonly site: RpmSite;
  readonly data: string;
  sync(rule?: Partial<RpmRule>, site?: Partial<RpmSite>): Promise<RuleReport>;
  /** What is published, by path. */
  published(repository?: string): Promise<Map<string, Entry>>;
  bytes(path: string, repository?: string): Promise<Buffer>;
  revision(repository?: string): Promise<number>;
}

export async function scene(t: TestContext, keys: readonly VendorKey[] = []): Promise<Scene> {
  const dir = await tempDir(t);
  const origin = await Origin.start(t);
  const data = path.join(dir, 'data');
  const app = await openApp({ dataDir: data });
  t.after(() => app.close());
  const upstream = new HttpUpstream({ url: origin.url });
  t.after(() => upstream.close());
  const site: RpmSite = {
    name: 'vendor',
    upstream,
    bandwidth: new Bandwidth(Number.POSITIVE_INFINITY),
    ingest: { ...(await app.ingest()), keys },
    memory: siteMemory(app.catalog, 'vendor'),
    progress: silent,
    signal: new AbortController().signal,
    now: () => new Date(),
    dryRun: false,
  };
  const published = async (repository = RULE.repository) => {
    const revision = (await app.catalog.repository(repository))?.published ?? 0;
    const entries = new Map<string, Entry>();
    for await (const entry of app.catalog.entries(repository, revision)) entries.set(entry.path, entry);
    return entries;
  };
  return {
    app,
    origin,
    dir,
    site,
    data,
    published,
    sync: (rule = {}, more = {}) => mirrorRpm({ ...site, ...more }, { ...RULE, ...rule }),
    revision: async (repository = RULE.repository) => (await app.catalog.repository(repository))?.published ?? 0,
    async bytes(name, repository = RULE.repository) {
      const entry = await app.catalog.lookup(repository, name);
      if (entry === undefined) throw new Error(`${name} is not published`);
      const reader = await app.blobs.open(entry.artifact.digest);
      const bytes = Buffer.alloc(reader.size);
      await reader.readAt(bytes, 0);
      await reader.close();
      return bytes;
    },
  };
}
