/**
 * How a node is put together: the only file that names concrete drivers.
 */
import { existsSync } from 'node:fs';
import { link, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, type ReadConfig, readConfig } from './config.ts';
import { AirlockError } from './errors.ts';
import { limits } from './limits.ts';
import type { BlobStore } from './repo/blobs/blob-store.ts';
import { openDiskStore } from './repo/blobs/disk-store.ts';
import { makeDirectory, syncDirectory } from './repo/blobs/durable.ts';
import { ProcessLock } from './repo/blobs/process-lock.ts';
import { SpaceReserve } from './repo/blobs/space-reserve.ts';
import type { Catalog } from './repo/catalog/catalog.ts';
import { translated } from './repo/catalog/node-sqlite.ts';
import { DiskRevisionLog, type RevisionLog } from './repo/catalog/revision-log.ts';
import { openSqliteCatalog } from './repo/catalog/sqlite.ts';
import type { VendorKey } from './repo/formats/openpgp/key-files.ts';
import { openRepositoryKey } from './repo/formats/openpgp/repository-key.ts';
import { loadVendorKeys } from './repo/formats/openpgp/vendor-keys.ts';
import type { IngestContext } from './repo/ingest/ingest-file.ts';
import type { RevokedContent } from './repo/revoked.ts';
import { slicedBlobs } from './repo/sliced-blobs.ts';
import { type RebuildOptions, type RebuildReport, rebuildCatalog } from './repo/upkeep/rebuild.ts';

export interface AppOptions {
  readonly dataDir: string;
  /** Default: `airlock.yaml` in the data directory, if it is there. */
  readonly configFile?: string;
}

/** A data directory, opened. Whoever opened it closes it. Several processes may have it open. */
export interface App {
  readonly dataDir: string;
  /** As it was named; undefined: the default one. */
  readonly configFile: string | undefined;
  readonly config: Config;
  readonly blobs: BlobStore;
  readonly catalog: Catalog;
  readonly log: RevisionLog;
  /** What imports work on. Reads the keyring. */
  ingest(): Promise<IngestContext>;
  /** What must not be brought in, as the lists here have it now. @throws trust.invalid */
  revoked(): Promise<RevokedContent>;
  /** @throws server.locked if a server runs on this data directory. The caller releases the lock. */
  lockServer(): ProcessLock;
  /** Before what frees space: on a full disk, makes the room that this needs itself. */
  makeRoom(): void;
  close(): Promise<void>;
}

/** Reads the configuration only. @throws config.invalid, file.not-found */
export async function loadConfig(options: AppOptions): Promise<Config> {
  return (await locateConfig(options)).config;
}

/** As `loadConfig`; tells also where in it something stands. */
export function locateConfig({ dataDir, configFile }: AppOptions): Promise<ReadConfig> {
  return readConfig(configFile ?? path.join(dataDir, 'airlock.yaml'), { required: configFile !== undefined });
}

/**
 * Opens a data directory, making it if it is not there, and clears away what dead processes left.
 * @throws config.invalid, catalog.corrupt, catalog.newer-format, data.locked while the catalog is being made anew,
 *   space.insufficient if not even that which is kept for a full disk is there
 */
export async function openApp(options: AppOptions): Promise<App> {
  const config = await loadConfig(options);
  const dataDir = path.resolve(options.dataDir);
  await makeDirectory(dataDir);
  const lock = await shareDirectory(dataDir);
  const reserve = new SpaceReserve(dataDir);
  const log = revisionLog(dataDir);
  let catalog: Catalog | undefined;
  const close = async () => {
    await catalog?.close();
    lock.release();
    reserve.restore();
  };
  try {
    if (existsSync(newCatalogFile(dataDir))) await removeDatabase(newCatalogFile(dataDir)); // its maker died
    const opened = await reserve.lend(() => openSqliteCatalog(catalogFile(dataDir), log));
    catalog = opened;
    const blobs = slicedBlobs(await openDiskStore(dataDir), opened);
    reserve.keep();
    const revoked = async () => {
      const { revocationsHere } = await import('./sync/bundle/revoked.ts'); // only here: commands that read need it not
      return await revocationsHere(dataDir);
    };
    return {
      dataDir,
      configFile: options.configFile,
      config,
      blobs,
      catalog: opened,
      log,
      ingest: async () => ({
        blobs,
        catalog: opened,
        keys: await loadVendorKeys(dataDir),
        upstreamKeys: await upstreamKeys(dataDir, config),
        repositoryKey: () => openRepositoryKey(dataDir),
        revoked,
      }),
      revoked,
      lockServer: () => lockServer(dataDir),
      makeRoom: () => reserve.spendIfFull(),
      close: async () => {
        await blobs.close();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Of all upstreams. One that cannot be read is for whoever mirrors to tell. */
async function upstreamKeys(dataDir: string, { upstreams }: Config): Promise<VendorKey[]> {
  const keys: VendorKey[] = [];
  for (const [name, { keys: files }] of Object.entries(upstreams)) {
    if (files.length === 0) continue;
    const { configuredKeys } = await import('./app/upstream-keys.ts');
    keys.push(...(await configuredKeys(dataDir, `upstreams.${name}.keys`, files).catch(() => [])));
  }
  return keys;
}

export interface RebuildAppOptions extends Omit<RebuildOptions, 'skipDamaged'> {
  /** Go on without revision files that cannot be read. */
  readonly skipDamaged: boolean;
}

export interface RebuiltApp extends RebuildReport {
  /** The folder that keeps the old catalog; null if there was none. */
  readonly kept: string | null;
}

/**
 * Makes the catalog of a data directory anew, beside the old one; when it is whole it takes the old one's place, which
 * is kept in `quarantine/`. If anything fails, the old one is untouched.
 * @throws server.locked, data.locked while others work on the directory, revision.damaged, interrupted
 */
export async function rebuild(dataDir: string, options: RebuildAppOptions): Promise<RebuiltApp> {
  const dir = path.resolve(dataDir);
  await makeDirectory(dir);
  const server = lockServer(dir);
  try {
    const lock = await takeDirectory(dir);
    try {
      const kept = path.join(dir, 'quarantine', `catalog-${Date.now()}`);
      const { progress, signal, skipDamaged } = options;
      const report = await makeCatalog(dir, { progress, signal, ...(skipDamaged ? { skipDamaged: kept } : {}) });
      return { ...report, kept: await replaceCatalog(dir, kept) };
    } finally {
      lock.release();
    }
  } finally {
    server.release();
  }
}

/** Makes a whole new catalog under another name. */
async function makeCatalog(dir: string, options: RebuildOptions): Promise<RebuildReport> {
  const file = newCatalogFile(dir);
  await removeDatabase(file);
  const log = revisionLog(dir);
  const blobs = await openDiskStore(dir);
  try {
    const catalog = await openSqliteCatalog(file, log, { mayLag: true });
    let report: RebuildReport;
    try {
      report = await rebuildCatalog(catalog, log, blobs, options);
    } finally {
      await catalog.close(); // takes the write-ahead log into the database
    }
    if (existsSync(`${file}-wal`)) {
      throw new AirlockError(
        'catalog.inaccessible',
        `The new catalog ${file} could not be finished; the old one is as it was. See that the disk is well and not full, and try again.`,
      );
    }
    return report;
  } catch (error) {
    await removeDatabase(file).catch(() => undefined); // the next attempt does it
    throw error;
  } finally {
    await blobs.close();
  }
}

/**
 * Puts the new catalog in the place of the old one, in one step; only what a crash left beside the old one goes first,
 * for SQLite would take it for part of the new one.
 * @returns where the old catalog is now
 */
async function replaceCatalog(dir: string, kept: string): Promise<string | null> {
  const file = catalogFile(dir);
  const old = DATABASE_FILES.filter((suffix) => existsSync(`${file}${suffix}`));
  if (old.length > 0) await makeDirectory(kept);
  for (const suffix of old) {
    const [from, to] = [`${file}${suffix}`, `${catalogFile(kept)}${suffix}`];
    if (suffix !== '') await rename(from, to);
    else await link(from, to).catch(() => rename(from, to)); // FAT knows no links
  }
  if (old.length > 0) await syncDirectory(kept);
  await rename(newCatalogFile(dir), file);
  await syncDirectory(dir);
  return old.length > 0 ? kept : null;
}

/** What SQLite keeps beside a database, and the database itself. */
const DATABASE_FILES = ['-journal', '-shm', '-wal', ''];

async function removeDatabase(file: string): Promise<void> {
  for (const suffix of DATABASE_FILES) await rm(`${file}${suffix}`, { force: true });
}

function lockServer(dataDir: string): ProcessLock {
  const lock = ProcessLock.tryAcquire(path.join(dataDir, 'server.lock'));
  if (lock !== undefined) return lock;
  throw new AirlockError(
    'server.locked',
    `A server already runs on ${dataDir}. Stop it first, or name another data directory with --data.`,
  );
}

/** What every process holds that works on a data directory. */
function shareDirectory(dataDir: string): Promise<ProcessLock> {
  return patiently(
    () => translated(catalogLock(dataDir), () => ProcessLock.tryShare(catalogLock(dataDir))),
    `The catalog of ${dataDir} is being made anew. Wait until that is done, and try again.`,
  );
}

/** Only while nobody else works on it. */
function takeDirectory(dataDir: string): Promise<ProcessLock> {
  return patiently(
    () => translated(catalogLock(dataDir), () => ProcessLock.tryAcquire(catalogLock(dataDir))),
    `Other commands are working on ${dataDir}. Wait until they are done, or stop them, and try again.`,
  );
}

/** @throws data.locked with this message, after a while */
async function patiently(attempt: () => ProcessLock | undefined, message: string): Promise<ProcessLock> {
  const end = performance.now() + limits.directoryLockWait;
  for (;;) {
    const lock = attempt();
    if (lock !== undefined) return lock;
    if (performance.now() > end) throw new AirlockError('data.locked', message);
    await sleep(10 + 20 * Math.random());
  }
}

function catalogLock(dataDir: string): string {
  return path.join(dataDir, 'catalog.lock');
}

function newCatalogFile(dataDir: string): string {
  return path.join(dataDir, 'catalog.new.sqlite');
}

function catalogFile(dataDir: string): string {
  return path.join(dataDir, 'catalog.sqlite');
}

function revisionLog(dataDir: string): RevisionLog {
  return new DiskRevisionLog(path.join(dataDir, 'revisions'));
}
