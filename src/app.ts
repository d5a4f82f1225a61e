/**
 * How a node is put together: the only file that names concrete drivers.
 */
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { type Config, readConfig } from './config.ts';
import { AirlockError } from './errors.ts';
import type { BlobStore } from './repo/blobs/blob-store.ts';
import { openDiskStore } from './repo/blobs/disk-store.ts';
import { makeDirectory } from './repo/blobs/durable.ts';
import { ProcessLock } from './repo/blobs/process-lock.ts';
import type { Catalog } from './repo/catalog/catalog.ts';
import { DiskRevisionLog, type RevisionLog } from './repo/catalog/revision-log.ts';
import { openSqliteCatalog } from './repo/catalog/sqlite.ts';
import { loadVendorKeys } from './repo/formats/openpgp/vendor-keys.ts';
import type { IngestContext } from './repo/ingest/ingest-file.ts';
import type { Progress } from './repo/progress.ts';
import { type RebuildReport, rebuildCatalog } from './repo/upkeep/rebuild.ts';

export interface AppOptions {
  readonly dataDir: string;
  /** Default: `airlock.yaml` in the data directory, if it is there. */
  readonly configFile?: string;
}

/** A data directory, opened. Whoever opened it closes it. Several processes may have it open. */
export interface App {
  readonly dataDir: string;
  readonly config: Config;
  readonly blobs: BlobStore;
  readonly catalog: Catalog;
  readonly log: RevisionLog;
  /** What imports work on. Reads the keyring. */
  ingest(): Promise<IngestContext>;
  /** @throws server.locked if a server runs on this data directory. The caller releases the lock. */
  lockServer(): ProcessLock;
  close(): Promise<void>;
}

/** Reads the configuration only. @throws config.invalid, file.not-found */
export function loadConfig({ dataDir, configFile }: AppOptions): Promise<Config> {
  return readConfig(configFile ?? path.join(dataDir, 'airlock.yaml'), { required: configFile !== undefined });
}

/**
 * Opens a data directory, making it if it is not there, and clears away what dead processes left.
 * @throws config.invalid, catalog.corrupt, catalog.newer-format
 */
export async function openApp(options: AppOptions): Promise<App> {
  const config = await loadConfig(options);
  const dataDir = path.resolve(options.dataDir);
  await makeDirectory(dataDir);
  const log = revisionLog(dataDir);
  const catalog = await openSqliteCatalog(catalogFile(dataDir), log);
  const blobs = await openDiskStore(dataDir);
  return {
    dataDir,
    config,
    blobs,
    catalog,
    log,
    ingest: async () => ({ blobs, catalog, keys: await loadVendorKeys(dataDir) }),
    lockServer: () => lockServer(dataDir),
    close: async () => {
      await blobs.close();
      await catalog.close();
    },
  };
}

/**
 * Makes the catalog of a data directory anew; the old one is kept in `quarantine/`.
 * @throws server.locked, revision.damaged (the old catalog is then back in its place)
 */
export async function rebuild(dataDir: string, progress: Progress): Promise<RebuildReport> {
  await makeDirectory(dataDir);
  const lock = lockServer(dataDir);
  const kept = path.join(dataDir, 'quarantine', `catalog-${Date.now()}`);
  await mkdir(kept, { recursive: true });
  await moveCatalog(dataDir, kept);
  const log = revisionLog(dataDir);
  const blobs = await openDiskStore(dataDir);
  const catalog = await openSqliteCatalog(catalogFile(dataDir), log, { mayLag: true });
  try {
    return await rebuildCatalog(catalog, log, blobs, progress);
  } catch (error) {
    await catalog.close();
    await moveCatalog(kept, dataDir);
    throw error;
  } finally {
    await catalog.close();
    await blobs.close();
    lock.release();
  }
}

async function moveCatalog(from: string, to: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm']) {
    await rename(`${catalogFile(from)}${suffix}`, `${catalogFile(to)}${suffix}`).catch(() => undefined);
  }
}

function lockServer(dataDir: string): ProcessLock {
  const lock = ProcessLock.tryAcquire(path.join(dataDir, 'server.lock'));
  if (lock !== undefined) return lock;
  throw new AirlockError(
    'server.locked',
    `A server already runs on ${dataDir}. Stop it first, or name another data directory with --data.`,
  );
}

function catalogFile(dataDir: string): string {
  return path.join(dataDir, 'catalog.sqlite');
}

function revisionLog(dataDir: string): RevisionLog {
  return new DiskRevisionLog(path.join(dataDir, 'revisions'));
}
