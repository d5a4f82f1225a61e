/** A data directory in this process, and small packages that nobody signed, for tests of RPM repositories. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { BlobStore, Digest } from '../../../src/repo/blobs/blob-store.ts';
import { openDiskStore } from '../../../src/repo/blobs/disk-store.ts';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import { DiskRevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { openSqliteCatalog } from '../../../src/repo/catalog/sqlite.ts';
import { openRepositoryKey } from '../../../src/repo/formats/openpgp/repository-key.ts';
import { type ImportRpmReport, type ImportRpmTarget, importRpms } from '../../../src/repo/ingest/import-rpm.ts';
import type { PackagesContext } from '../../../src/repo/packages/prepare-change.ts';
import { silent } from '../../../src/repo/progress.ts';
import { slicedBlobs } from '../../../src/repo/sliced-blobs.ts';
import type { StagingOptions } from '../../../src/repo/staging.ts';
import { buildRpm } from '../../media/rpm-builder.ts';
import { tempDir } from '../../support/temp-dir.ts';

export const REPOSITORY = 'ssr-el9-x86_64';

export const TARGET: ImportRpmTarget = {
  distribution: 'el9',
  architecture: 'x86_64',
  policy: { signatures: 'disabled', isExplicit: true },
};

export class PackageScene {
  readonly dir: string;
  readonly data: string;
  readonly catalog: Catalog;
  readonly blobs: BlobStore;
  /** What the clock of the catalog shows, milliseconds since the epoch. */
  readonly clock: { now: number };

  private constructor(dir: string, catalog: Catalog, blobs: BlobStore, clock: { now: number }) {
    this.dir = dir;
    this.data = path.join(dir, 'data');
    this.catalog = catalog;
    this.blobs = blobs;
    this.clock = clock;
  }

  static async make(t: TestContext): Promise<PackageScene> {
    const dir = await tempDir(t);
    const data = path.join(dir, 'data');
    await mkdir(data);
    const clock = { now: Date.now() };
    const log = new DiskRevisionLog(path.join(data, 'revisions'));
    const catalog = await openSqliteCatalog(path.join(data, 'catalog.sqlite'), log, { now: () => clock.now });
    const blobs = slicedBlobs(await openDiskStore(data), catalog);
    t.after(async () => {
      await blobs.close();
      await catalog.close();
    });
    return new PackageScene(dir, catalog, blobs, clock);
  }

  context(parts: Partial<PackagesContext> = {}): PackagesContext {
    const { catalog, blobs, data } = this;
    return {
      catalog,
      blobs,
      keys: [],
      repositoryKey: () => openRepositoryKey(data),
      revoked: async () => new Map(),
      ...parts,
    };
  }

  /** Writes a package. @returns its path */
  async package(name: string, arch = 'noarch'): Promise<string> {
    const file = path.join(this.dir, 'packages', `${name}-1-1.${arch}.rpm`);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, buildRpm({ name, version: '1', arch }).file);
    return file;
  }

  async packages(...names: string[]): Promise<string[]> {
    return await Promise.all(names.map((name) => this.package(name)));
  }

  import(files: readonly string[], more: ImportParts = {}): Promise<ImportRpmReport> {
    const { context = this.context(), target = TARGET, ...staging } = more;
    return importRpms(context, files, target, { ...quietly(), ...staging });
  }

  /** Stores bytes. @param isRecorded whether the catalog knows them then */
  async store(bytes: Uint8Array, { isRecorded = true } = {}): Promise<Digest> {
    const writer = await this.blobs.create();
    await writer.writeAt(0, bytes);
    const stat = await writer.commit();
    if (isRecorded) await this.catalog.transaction((tx) => tx.recordBlob(stat, null));
    return stat.digest;
  }

  async stored(): Promise<Digest[]> {
    const found: Digest[] = [];
    for await (const { digest } of this.blobs.list()) found.push(digest);
    return found.sort();
  }
}

export interface ImportParts extends Partial<StagingOptions> {
  readonly context?: PackagesContext;
  readonly target?: ImportRpmTarget;
}

export function quietly(): StagingOptions {
  return { signal: new AbortController().signal, progress: silent };
}

export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
