/** Two conductors of an HA pair in this process, each with a server of its own. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type App, openApp } from '../../../src/app.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import type { Logger } from '../../../src/repo/http/logger.ts';
import { type RunningServer, startHttpServer } from '../../../src/repo/http/server.ts';
import { importFile } from '../../../src/repo/ingest/import-file.ts';
import { silent } from '../../../src/repo/progress.ts';
import { HttpUpstream } from '../../../src/repo/upstream/http-upstream.ts';
import { revokedHere } from '../../../src/sync/bundle/revoked.ts';
import { Peer } from '../../../src/sync/replica/peer.ts';
import { Replicator, type Round } from '../../../src/sync/replica/replicator.ts';
import { tempDir } from '../../support/temp-dir.ts';

const QUIET: Logger = { debug() {}, info() {}, warn() {}, error() {} };

export class Twin {
  readonly dir: string;
  readonly app: App;
  readonly server: RunningServer;
  /** Lines of its access log. */
  readonly asked: string[];

  private constructor(dir: string, { app, server, asked }: { app: App; server: RunningServer; asked: string[] }) {
    this.dir = dir;
    this.app = app;
    this.server = server;
    this.asked = asked;
  }

  static async start(t: TestContext, dir?: string): Promise<Twin> {
    const dataDir = dir ?? path.join(await tempDir(t), 'data');
    const app = await openApp({ dataDir });
    const asked: string[] = [];
    const { catalog, blobs } = app;
    const listen = { host: '127.0.0.1', port: 0 };
    const accessLog = { write: (line: string) => void asked.push(line), flush() {} };
    const server = await startHttpServer({ catalog, blobs, logger: QUIET, listen, memoryCache: 0, accessLog });
    t.after(async () => {
      await server.close();
      await app.close();
    });
    return new Twin(dataDir, { app, server, asked });
  }

  /** Publishes a file in the place of what is there. */
  async put(at: string, content: string | Uint8Array): Promise<void> {
    const cut = at.indexOf('/');
    const file = path.join(this.dir, 'incoming');
    await writeFile(file, content);
    await importFile(
      await this.app.ingest(),
      file,
      { repository: at.slice(0, cut), path: at.slice(cut + 1), replace: true },
      { signal: new AbortController().signal, progress: silent, requireChecksum: false, requireSignature: false },
    );
  }

  async remove(at: string): Promise<void> {
    const cut = at.indexOf('/');
    await this.app.catalog.transaction((tx) =>
      tx.publish(at.slice(0, cut), { reason: 'remove', remove: [at.slice(cut + 1)] }),
    );
  }

  /** What is published, by `<repository>/<path>`. */
  async holds(): Promise<Record<string, Digest>> {
    const found: Record<string, Digest> = {};
    for (const { name, published } of await this.app.catalog.repositories()) {
      for await (const { path: at, artifact } of this.app.catalog.entries(name, published)) {
        found[`${name}/${at}`] = artifact.digest;
      }
    }
    return found;
  }

  replicatorOf(other: Pick<RunningServer, 'url'>, instance = 'none'): Replicator {
    const upstream = new HttpUpstream({ url: other.url });
    const peer = new Peer(upstream);
    return new Replicator({ context: () => this.app.ingest(), peer, revoked: () => revokedHere(this.dir), instance });
  }
}

/** A pair, and a look of each at the other. */
export async function pair(t: TestContext) {
  const [a, b] = [await Twin.start(t), await Twin.start(t)];
  const [fromB, fromA] = [a.replicatorOf(b.server), b.replicatorOf(a.server)];
  return {
    a,
    b,
    /** Of A's look at B. */
    fromB,
    fromA,
    aLooks: () => look(fromB),
    bLooks: () => look(fromA),
  };
}

export async function look(replicator: Replicator, signal = new AbortController().signal): Promise<Round> {
  return await replicator.round({ signal, progress: silent });
}

export function digestOf(content: string | Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}
