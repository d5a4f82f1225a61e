import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { type ErrorCode, isAirlockError } from '../../../src/errors.ts';
import type { Catalog, CatalogTransaction, Entry, Put, RevisionChange } from '../../../src/repo/catalog/catalog.ts';
import { DiskRevisionLog, type RevisionLog } from '../../../src/repo/catalog/revision-log.ts';
import { testStat } from '../../support/artifacts.ts';

/** Rows of each table, in the order of its key; numbers as numbers, and without leases (their holder is random). */
export type Dump = Readonly<Record<string, readonly object[]>>;

/** Tables that a dump holds, and their keys. */
export const TABLES = {
  repositories: 'name',
  revisions: 'repository, number',
  artifacts: 'id',
  entries: 'repository, folder, name, from_revision',
  blobs: 'digest',
  doomed: 'digest',
  meta: 'key',
} as const;

export interface OpenOptions {
  readonly now: () => number;
  readonly mayLag?: boolean;
}

/** Where a driver under test keeps one catalog. */
export interface CatalogPlace {
  /** Opens it, as each process does. The suite closes it. */
  open(log: RevisionLog, options: OpenOptions): Promise<Catalog>;
  dump(): Promise<Dump>;
  /** Called after all that was opened is closed. */
  remove(): Promise<void>;
}

export type MakePlace = () => Promise<CatalogPlace>;

/** A catalog on a place and a log of its own, and what a test needs beside it. */
export class CatalogUnderTest {
  readonly place: CatalogPlace;
  readonly log: DiskRevisionLog;
  readonly logDir: string;
  readonly #make: MakePlace;
  readonly #ending: (() => Promise<void>)[] = [];
  /** Milliseconds since the epoch, as every catalog here sees it. Each look at it is one later. */
  time = Date.UTC(2026, 0, 1);
  catalog: Catalog;

  private constructor(make: MakePlace, place: CatalogPlace, dir: string, catalog: Catalog, log: DiskRevisionLog) {
    this.#make = make;
    this.place = place;
    this.log = log;
    this.logDir = dir;
    this.catalog = catalog;
  }

  static async make(make: MakePlace): Promise<CatalogUnderTest> {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-catalog-'));
    const place = await make();
    const log = new DiskRevisionLog(path.join(dir, 'revisions'));
    let under: CatalogUnderTest | undefined;
    const catalog = await place.open(log, { now: () => under?.now() ?? 0 });
    under = new CatalogUnderTest(make, place, path.join(dir, 'revisions'), catalog, log);
    under.#ending.push(
      () => catalog.close(),
      () => place.remove(),
      () => rm(dir, { recursive: true }),
    );
    return under;
  }

  async end(): Promise<void> {
    for (const step of this.#ending) await step();
  }

  now(): number {
    this.time += 1;
    return this.time;
  }

  /** A moment after all that happened so far. */
  later(): Date {
    return new Date(this.now());
  }

  /** Opens the same catalog again; closed with the others. */
  async another(options: Partial<OpenOptions> = {}): Promise<Catalog> {
    const catalog = await this.place.open(this.log, { now: () => this.now(), ...options });
    this.#ending.unshift(() => catalog.close());
    return catalog;
  }

  /** An empty catalog on a place of its own, over the same log. */
  async elsewhere(options: Partial<OpenOptions> = {}): Promise<{ catalog: Catalog; place: CatalogPlace }> {
    const place = await this.#make();
    const catalog = await place.open(this.log, { now: () => this.now(), mayLag: true, ...options });
    this.#ending.unshift(
      () => catalog.close(),
      () => place.remove(),
    );
    return { catalog, place };
  }

  /** Names of all files of the log. */
  async logFiles(): Promise<string[]> {
    const items = await readdir(this.logDir, { recursive: true, withFileTypes: true }).catch(() => []);
    return items
      .filter((item) => item.isFile())
      .map((item) => path.relative(this.logDir, path.join(item.parentPath, item.name)))
      .sort();
  }

  /** Publishes in a repository of kind `file`, recording the blobs of all that is put. */
  publish(repository: string, change: Omit<RevisionChange, 'reason'> & { reason?: string }): Promise<number> {
    return this.catalog.transaction((tx) => publishIn(tx, repository, change));
  }
}

/** Runs a test on a fresh catalog. */
export type Check = (title: string, run: (under: CatalogUnderTest) => Promise<void>) => void;

export function checksOn(make: MakePlace): Check {
  return (title, run) => {
    test(title, async () => {
      const under = await CatalogUnderTest.make(make);
      try {
        await run(under);
        assert.deepEqual(under.log.pending(), [], 'pending revision files are left over');
      } finally {
        await under.end();
      }
    });
  };
}

export async function publishIn(
  tx: CatalogTransaction,
  repository: string,
  change: Omit<RevisionChange, 'reason'> & { reason?: string },
): Promise<number> {
  await tx.ensureRepository(repository, 'file');
  const put: Put[] = [...(change.put ?? [])];
  for (const size of new Set(put.map(({ artifact }) => artifact.size))) await tx.recordBlob(testStat(size));
  return await tx.publish(repository, { reason: 'test', ...change, put });
}

export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Path and digits of the digest, as tests compare them: `a/b=7`. */
export function shown(entries: readonly Entry[]): string[] {
  return entries.map((entry) => `${entry.path}=${entry.artifact.size}`);
}

export function failsWith(code: ErrorCode, message?: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isAirlockError(error, code), `${code} was expected, not ${String(error)}`);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  };
}

/** Compares as SQLite and PostgreSQL shall: by bytes, where JavaScript goes by UTF-16. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
