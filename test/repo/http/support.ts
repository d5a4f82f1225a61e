import { createHash } from 'node:crypto';
import net from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { BlobStore, Digest } from '../../../src/repo/blobs/blob-store.ts';
import { openDiskStore } from '../../../src/repo/blobs/disk-store.ts';
import type { Artifact, RepositoryKind } from '../../../src/repo/catalog/artifact.ts';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import { DiskRevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { openSqliteCatalog } from '../../../src/repo/catalog/sqlite.ts';
import type { Logger } from '../../../src/repo/http/logger.ts';
import { type HttpServerOptions, type RunningServer, startHttpServer } from '../../../src/repo/http/server.ts';
import { testArtifact } from '../../support/artifacts.ts';
import { tempDir } from '../../support/temp-dir.ts';

/** When everything was published, as far as readers see. */
export const PUBLISHED = Date.UTC(2021, 10, 18, 19, 54, 30);

/** A data directory with a catalog and blobs on disk, closed and removed after the test. */
export class TestRepository {
  readonly dir: string;
  readonly catalog: Catalog;
  readonly blobs: BlobStore;

  private constructor(dir: string, catalog: Catalog, blobs: BlobStore) {
    this.dir = dir;
    this.catalog = catalog;
    this.blobs = blobs;
  }

  static async make(t: TestContext): Promise<TestRepository> {
    const dir = await tempDir(t);
    const catalog = await TestRepository.openCatalog(dir);
    const blobs = await openDiskStore(dir);
    t.after(async () => {
      await blobs.close();
      await catalog.close();
    });
    return new TestRepository(dir, catalog, blobs);
  }

  /** As another process would. The caller closes it. */
  static openCatalog(dir: string): Promise<Catalog> {
    const log = new DiskRevisionLog(path.join(dir, 'revisions'));
    return openSqliteCatalog(path.join(dir, 'catalog.sqlite'), log, { now: () => PUBLISHED });
  }

  /** Stores bytes and records them as proven. */
  async store(bytes: Uint8Array): Promise<Digest> {
    const writer = await this.blobs.create();
    for (let at = 0; at < bytes.length; at += 1 << 20) await writer.writeAt(at, bytes.subarray(at, at + (1 << 20)));
    const stat = await writer.commit();
    await this.catalog.transaction((tx) => tx.recordBlob(stat));
    return stat.digest;
  }

  /** Publishes bytes under `<repository>/<path>`. */
  async put(
    at: string,
    bytes: Uint8Array,
    facts: Partial<Artifact> = {},
    kind: RepositoryKind = 'file',
  ): Promise<Digest> {
    const digest = await this.store(bytes);
    const cut = at.indexOf('/');
    await this.publish(at.slice(0, cut), [{ path: at.slice(cut + 1), digest, size: bytes.length, facts }], kind);
    return digest;
  }

  async publish(
    repository: string,
    files: readonly { path: string; digest: Digest; size: number; facts?: Partial<Artifact> }[],
    kind: RepositoryKind = 'file',
  ): Promise<void> {
    const put = files.map((file) => {
      const name = path.posix.basename(file.path);
      const artifact = testArtifact(0, { name, digest: file.digest, size: file.size, ...file.facts });
      return { path: file.path, artifact, replace: true };
    });
    await this.catalog.transaction(async (tx) => {
      await tx.ensureRepository(repository, kind);
      await tx.publish(repository, { reason: 'test', put });
    });
  }

  /** Starts a server on it, stopped after the test. */
  async serve(t: TestContext, options: Partial<HttpServerOptions> = {}): Promise<RunningServer & { log: LogLine[] }> {
    const log: LogLine[] = [];
    const server = await startHttpServer({
      catalog: this.catalog,
      blobs: this.blobs,
      logger: recordingLogger(log),
      listen: { host: '127.0.0.1', port: 0 },
      memoryCache: 32 << 20,
      ...options,
      limits: { drainTimeout: 100, ...options.limits },
    });
    t.after(() => server.close());
    return { ...server, log };
  }
}

export interface LogLine {
  readonly level: keyof Logger;
  readonly message: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

export function recordingLogger(lines: LogLine[]): Logger {
  const at = (level: keyof Logger) => (facts: object, message: string) => {
    lines.push({ level, message, facts: { ...facts } });
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Bytes that look random and are the same each time. */
export function testBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(length / 4));
  let state = seed >>> 0 || 1;
  for (let at = 0; at < words.length; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    words[at] = state;
  }
  return bytes;
}

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Sends bytes on a connection of their own and collects what comes back until the server ends it. */
export function exchangeRaw(port: number, request: string | Buffer, options: { end?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
    socket.write(request);
    if (options.end === true) socket.end();
  });
}

/** The value of a metric, summed over its labels. */
export async function metric(server: RunningServer, name: string): Promise<number> {
  const text = await (await fetch(new URL('/metrics', server.url))).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

/** Waits until a condition holds. @throws what says which one never did */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never came true: ${what}`);
}
