/** What the next process finds after something happened to a data directory. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { App } from '../../src/app.ts';
import { describeReleases } from '../../src/repo/available.ts';
import { importImage } from '../../src/repo/ingest/import-image.ts';
import { examine } from '../../src/repo/upkeep/doctor.ts';
import { verify } from '../../src/repo/upkeep/verify.ts';
import { quietly, withApp } from '../support/with-app.ts';

/** Everything that can be told of a data directory, but for times and random identifiers. */
export interface State {
  /** What clients and users see. */
  readonly visible: {
    readonly repositories: readonly unknown[];
    /** By repository and path. */
    readonly entries: Readonly<Record<string, { readonly digest: string }>>;
    readonly releases: readonly unknown[];
    /** The lines of each revision file. */
    readonly revisions: Readonly<Record<string, readonly unknown[]>>;
  };
  /** Digests of the files under `blobs/`, each of which was hashed. */
  readonly blobs: readonly string[];
}

/** All that may lie in a data directory while nobody writes. */
const KNOWN = [
  /^blobs\/sha256\/([0-9a-f]{2})\/\1?[0-9a-f]+$/,
  /^revisions\/[a-z]+\/\d{8}\.jsonl$/,
  /^catalog\.sqlite(-wal|-shm)?$/,
  /^partial\/lock$/,
  /^keys\/vendor\/[0-9A-F]{40}\.asc$/,
  /^quarantine\/catalog-\d+\/catalog\.sqlite(-wal|-shm)?$/,
  /^(server|catalog)\.lock$/,
  /^reserve$/,
  /^airlock\.yaml$/,
];

/**
 * Opens a data directory and asserts that all in it is sound: nothing half done lies about, every blob is what its
 * name says, everything published is complete, and `verify` and `doctor` find nothing.
 */
export async function soundState(dataDir: string): Promise<State> {
  return await withApp(dataDir, async (app) => {
    const files = await filesIn(dataDir);
    assert.deepEqual(
      files.filter((file) => !KNOWN.some((pattern) => pattern.test(file))),
      [],
      'files that nobody needs',
    );
    const blobs = await provenBlobs(dataDir, files);
    const report = await verify(await app.ingest(), { ...quietly(), now: Date.now });
    assert.deepEqual(report.damage, []);
    const { healthy, findings } = await examine(app.blobs, app.catalog, app.log, quietly().signal);
    const others = findings.filter(({ message }) => !/stored blobs are not in the catalog/.test(message));
    assert.deepEqual({ healthy, others }, { healthy: true, others: [] });
    const visible = await visibleState(app, files);
    for (const [at, { digest }] of Object.entries(visible.entries))
      assert.ok(blobs.includes(digest), `${at} has no bytes`);
    return { visible, blobs };
  });
}

/** Asserts that a data directory is sound and that its `images` hold exactly these paths, with these digests. */
export async function assertImages(dataDir: string, ...paths: Readonly<Record<string, string>>[]): Promise<void> {
  areImages(await soundState(dataDir), paths);
}

/** As `assertImages`, and as `assertNothingLeft`. */
export async function assertOnlyImages(dataDir: string, ...paths: Readonly<Record<string, string>>[]): Promise<void> {
  const state = await soundState(dataDir);
  areImages(state, paths);
  hasNothingElse(state);
}

/** Asserts that nothing of an import lies in a data directory: no blob that no revision refers to, nothing partial. */
export async function assertNothingLeft(dataDir: string): Promise<void> {
  hasNothingElse(await soundState(dataDir));
}

function areImages({ visible }: State, paths: readonly Readonly<Record<string, string>>[]): void {
  const found = Object.entries(visible.entries).map(([at, { digest }]) => [at, digest]);
  const wanted = Object.entries(Object.assign({}, ...paths)).map(([at, digest]) => [`images/${at}`, digest]);
  assert.deepEqual(Object.fromEntries(found), Object.fromEntries(wanted));
}

function hasNothingElse({ visible, blobs }: State): void {
  assert.deepEqual(blobs, [...new Set(Object.values(visible.entries).map(({ digest }) => digest))].sort());
}

/** What `import iso filepath FILE` does, without a process of its own. */
export async function importAgain(dataDir: string, file: string): Promise<void> {
  await withApp(dataDir, async (app) => {
    const { artifact } = await importImage(await app.ingest(), file, {
      ...quietly(),
      policy: { signatures: 'disabled', isExplicit: true },
    });
    assert.equal(artifact.verification.status, 'signature');
  });
}

/** Regular files, relative to `dir`. */
async function filesIn(dir: string): Promise<string[]> {
  const items = await readdir(dir, { recursive: true, withFileTypes: true });
  return items
    .filter((item) => !item.isDirectory())
    .map((item) => path.relative(dir, path.join(item.parentPath, item.name)))
    .sort();
}

async function provenBlobs(dataDir: string, files: readonly string[]): Promise<string[]> {
  const digests: string[] = [];
  for (const file of files.filter((each) => each.startsWith('blobs/'))) {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path.join(dataDir, file))) hash.update(chunk as Buffer);
    const digest = hash.digest('hex');
    assert.equal(digest, path.basename(file), 'a blob that is not what its name says');
    digests.push(`sha256:${digest}`);
  }
  return digests.sort();
}

async function visibleState({ catalog, dataDir }: App, files: readonly string[]): Promise<State['visible']> {
  const entries: Record<string, { digest: string }> = {};
  const repositories = await catalog.repositories();
  for (const { name, published } of repositories) {
    for await (const entry of catalog.entries(name, published)) {
      const { digest, size, kind, verification } = entry.artifact;
      entries[`${name}/${entry.path}`] = Object.assign({ digest }, { size, kind, verification });
    }
  }
  const revisions: Record<string, unknown[]> = {};
  for (const file of files.filter((each) => each.startsWith('revisions/'))) {
    const lines = (await readFile(path.join(dataDir, file), 'utf8')).trimEnd().split('\n');
    revisions[file] = lines.map((line) => ({
      ...JSON.parse(line),
      createdAt: undefined,
      id: undefined,
      sha256: undefined,
    }));
  }
  return {
    repositories: repositories.map(({ name, kind, published }) => ({ name, kind, published })),
    entries,
    releases: describeReleases(await catalog.releases()),
    revisions,
  };
}
