/** A TUF repository that tests change at will, and serve by HTTP: good ones, and what attackers would make of them. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp } from '@tufjs/models';
import { addSignatures, type Kind, type Kinds, metadataBytes, sha256 } from '../../src/sync/trust/metadata.ts';
import { makeSigningKey, type SigningKey } from '../../src/sync/trust/signing-key.ts';

const ROLES = ['root', 'timestamp', 'snapshot', 'targets'] as const;
type Role = (typeof ROLES)[number];

export class TufRepository {
  readonly files = new Map<string, Buffer>();
  /** Names asked for, in order. */
  readonly asked: string[] = [];
  readonly keys: Record<Role, SigningKey[]>;
  expires = '2099-01-01T00:00:00Z';
  versions = { root: 0, timestamp: 0, snapshot: 0, targets: 0 };
  threshold: Record<Role, number> = { root: 1, timestamp: 1, snapshot: 1, targets: 1 };
  targetFiles: Record<string, TargetFile> = {};
  /** Change what is about to be signed. */
  alter: { root?: (root: Root) => void; snapshot?: (snapshot: Snapshot) => void } = {};

  constructor() {
    const one = () => [makeSigningKey()];
    this.keys = { root: one(), timestamp: one(), snapshot: one(), targets: one() };
    this.publishRoot();
    this.publish();
  }

  addTarget(name: string, content: string): void {
    const bytes = Buffer.from(content);
    this.targetFiles[name] = new TargetFile({ path: name, length: bytes.length, hashes: { sha256: sha256(bytes) } });
    this.files.set(`targets/${sha256(bytes)}.${name}`, bytes);
  }

  /** @param signers who sign it; default: the keys of now */
  publishRoot(signers: readonly SigningKey[] = this.keys.root): void {
    this.versions.root += 1;
    const root = new Root({ ...this.#header('root'), consistentSnapshot: true });
    for (const role of ROLES) {
      for (const key of this.keys[role]) root.addKey(key.publicKey, role);
      Object.assign(root.roles[role] ?? {}, { threshold: this.threshold[role] });
    }
    this.alter.root?.(root);
    this.put(`${this.versions.root}.root.json`, root, signers);
  }

  /** Targets, snapshot and timestamp, each a version higher. */
  publish(): void {
    for (const role of ['timestamp', 'snapshot', 'targets'] as const) this.versions[role] += 1;
    this.publishAsIs();
  }

  publishAsIs(): void {
    const { targets, snapshot } = this.versions;
    const top = new Targets({ ...this.#header('targets'), targets: this.targetFiles });
    const targetsBytes = this.put(`${targets}.targets.json`, top, this.keys.targets);
    const meta = { 'targets.json': metaFile(targets, targetsBytes) };
    const above = new Snapshot({ ...this.#header('snapshot'), meta });
    this.alter.snapshot?.(above);
    const snapshotBytes = this.put(`${snapshot}.snapshot.json`, above, this.keys.snapshot);
    this.publishTimestamp(metaFile(snapshot, snapshotBytes));
  }

  publishTimestamp(snapshotMeta: MetaFile): void {
    this.put('timestamp.json', new Timestamp({ ...this.#header('timestamp'), snapshotMeta }), this.keys.timestamp);
  }

  put(name: string, signed: Kinds[Kind], keys: readonly SigningKey[]): Buffer {
    const metadata = new Metadata(signed);
    addSignatures(metadata, keys);
    const bytes = metadataBytes(metadata);
    this.files.set(`metadata/${name}`, bytes);
    return bytes;
  }

  /** @returns its base URL */
  async serve(t: TestContext): Promise<string> {
    const server = createServer((request, response) => {
      const name = decodeURIComponent((request.url ?? '').slice(1));
      this.asked.push(name);
      const bytes = this.files.get(name);
      response.statusCode = bytes === undefined ? 404 : 200;
      response.end(bytes);
    });
    await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #header(role: Role): { version: number; specVersion: string; expires: string } {
    return { version: this.versions[role], specVersion: '1.0.31', expires: this.expires };
  }
}

function metaFile(version: number, bytes: Buffer): MetaFile {
  return new MetaFile({ version, length: bytes.length, hashes: { sha256: sha256(bytes) } });
}
