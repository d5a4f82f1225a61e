/** An export station, a site, and a stick between them, all in this process. */
import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type App, openApp } from '../../src/app.ts';
import { type AirlockError, type ErrorCode, isAirlockError } from '../../src/errors.ts';
import { importFile } from '../../src/repo/ingest/import-file.ts';
import { silent } from '../../src/repo/progress.ts';
import { TrustedBlobs } from '../../src/repo/trusted-blobs.ts';
import {
  type ExportContext,
  type ExportOptions,
  type ExportReport,
  exportBundle,
  planExport,
  resumeExport,
} from '../../src/sync/bundle/export.ts';
import type { ExportPlan } from '../../src/sync/bundle/export-plan.ts';
import {
  type ImportBundleOptions,
  type ImportBundleReport,
  importBundle,
} from '../../src/sync/bundle/import-bundle.ts';
import { openCarrier } from '../../src/sync/carriers/open-carrier.ts';
import { acceptReceipt, writeReceipt } from '../../src/sync/receipts.ts';
import { publishedRevocations } from '../../src/sync/trust/published-revocations.ts';
import { Publisher } from '../../src/sync/trust/publisher.ts';
import { SiteTrust } from '../../src/sync/trust/site-trust.ts';
import { tempDir } from '../support/temp-dir.ts';

/** A data directory, opened. */
export class Place {
  readonly app: App;
  readonly dir: string;
  /** What its clock says. */
  clock: Date | undefined;

  constructor(app: App) {
    this.app = app;
    this.dir = app.dataDir;
  }

  readonly now = (): Date => this.clock ?? new Date();

  get publisher(): Publisher {
    return new Publisher({ dataDir: this.dir, now: this.now });
  }

  get trust(): SiteTrust {
    return new SiteTrust({ dataDir: this.dir, catalog: this.app.catalog, now: this.now });
  }

  /** Publishes a file, in the place of what is there. */
  async put(repository: string, name: string, content: string | Uint8Array): Promise<void> {
    const file = path.join(this.dir, 'incoming');
    await writeFile(file, content);
    const options = { ...running(), requireChecksum: false, requireSignature: false };
    await importFile(await this.app.ingest(), file, { repository, path: name, replace: true }, options);
  }

  async export(to: string, options: Partial<ExportOptions> = {}): Promise<ExportReport> {
    const place = await openCarrier(to);
    return await exportBundle(this.#exporting(), {
      site: 'north',
      to: place,
      readback: true,
      ...running(),
      ...options,
    });
  }

  async plan(to: string, options: Partial<ExportOptions> = {}): Promise<ExportPlan> {
    const place = await openCarrier(to);
    return await planExport(this.#exporting(), { site: 'north', to: place, readback: true, ...running(), ...options });
  }

  async resume(to: string, options: Partial<ExportOptions> = {}): Promise<ExportReport> {
    const place = await openCarrier(to);
    return await resumeExport(this.#exporting(), {
      site: 'north',
      to: place,
      readback: true,
      ...running(),
      ...options,
    });
  }

  async import(
    dirs: string | readonly string[],
    options: Partial<ImportBundleOptions> = {},
  ): Promise<ImportBundleReport> {
    const context = { packages: await this.app.ingest(), trust: this.trust, now: this.now };
    const folders = typeof dirs === 'string' ? [dirs] : dirs;
    const { signal } = options;
    const places = await Promise.all(folders.map((dir) => openCarrier(dir, { signal })));
    return await importBundle(context, places, { ...running(), acceptExpired: false, ...options });
  }

  /** Paths that are published, with their content. */
  async published(): Promise<Record<string, string>> {
    const { catalog, blobs } = this.app;
    const found: Record<string, string> = {};
    for (const { name, published } of await catalog.repositories()) {
      for await (const { path: at, artifact } of catalog.entries(name, published)) {
        const blob = await blobs.open(artifact.digest);
        const bytes = Buffer.alloc(Math.min(blob.size, 64));
        await blob.readAt(bytes, 0);
        await blob.close();
        found[`${name}/${at}`] = bytes.toString('utf8');
      }
    }
    return found;
  }

  #exporting(): ExportContext {
    const { dataDir, catalog, blobs } = this.app;
    return {
      dataDir,
      catalog,
      blobs: new TrustedBlobs({ catalog, blobs, openBlobs: 1 }),
      publisher: this.publisher,
      revocations: () => publishedRevocations(dataDir),
      now: this.now,
    };
  }
}

export interface Scene {
  readonly dir: string;
  readonly station: Place;
  readonly site: Place;
  /** A folder for bundles. */
  readonly stick: string;
  /** Another one. */
  readonly folder: (name: string) => Promise<string>;
}

/** A station with keys and a file, and a site that trusts it. */
export async function scene(t: TestContext, options: { site?: string | null } = {}): Promise<Scene> {
  const dir = await tempDir(t);
  const folder = async (name: string) => {
    await mkdir(path.join(dir, name), { recursive: true });
    return path.join(dir, name);
  };
  const station = await openPlace(t, path.join(dir, 'station'));
  const site = await openPlace(t, path.join(dir, 'site'));
  await station.publisher.init();
  const { bytes } = await station.publisher.root();
  const name = options.site === undefined ? 'north' : options.site;
  await site.trust.add(bytes, name === null ? {} : { site: name });
  await station.put('tools', 'a.txt', 'first');
  return { dir, station, site, stick: await folder('stick'), folder };
}

export async function openPlace(t: TestContext, dir: string): Promise<Place> {
  const app = await openApp({ dataDir: dir });
  t.after(() => app.close());
  return new Place(app);
}

/** What a site holds becomes known to the station. */
export async function sendReceipt(site: Place, station: Place, to: string): Promise<void> {
  const { dir: dataDir, trust, now } = site;
  const { file } = await writeReceipt({ dataDir, catalog: site.app.catalog, trust, now }, to);
  await acceptReceipt(station.dir, file, await station.publisher.sites());
}

/** The import fails so, and the site is as it was. */
export async function refusedWith(
  site: Place,
  dir: string,
  exitCode: number,
  ...codes: readonly ErrorCode[]
): Promise<AirlockError> {
  const state = async () => [await site.published(), await site.trust.mark(), await site.app.catalog.totals()];
  const before = await state();
  const error = await site.import(dir).then(
    () => assert.fail('it was imported'),
    (failed: unknown) => failed,
  );
  assert.ok(isAirlockError(error), String(error));
  assert.ok(codes.length === 0 || codes.includes(error.code), `${error.code}: ${error.message}`);
  assert.equal(error.exitCode, exitCode, error.message);
  assert.deepEqual(await state(), before);
  return error;
}

/** For `assert.rejects`: an error with this code. */
export function coded(...codes: Parameters<typeof isAirlockError>[1][]): (error: unknown) => boolean {
  return (error) => {
    if (isAirlockError(error, ...codes)) return true;
    throw error;
  };
}

/** The folder of the only bundle in a folder. */
export async function bundleIn(stick: string): Promise<string> {
  const [name = ''] = (await readdir(stick)).sort().filter((each) => each.startsWith('airlock-'));
  return path.join(stick, name);
}

/** Changes a byte in the middle of a file. */
export async function flip(file: string, at?: number): Promise<void> {
  const bytes = await readFile(file);
  const position = at ?? Math.floor(bytes.length / 2);
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  await writeFile(file, bytes);
}

export async function copyOf(folder: string, to: string): Promise<string> {
  await cp(folder, to, { recursive: true });
  return to;
}

function running(): { signal: AbortSignal; progress: typeof silent } {
  return { signal: new AbortController().signal, progress: silent };
}

/** A site that holds one file, as the station knows by its receipt; the next one is to go to it. */
export async function sceneWithOld(t: TestContext, before: Buffer, next: Buffer): Promise<Scene> {
  const made = await scene(t);
  const { station, site, folder } = made;
  await station.put('tools', 'old.bin', before);
  await station.export(await folder('one'));
  await site.import(await folder('one'));
  await sendReceipt(site, station, await folder('back'));
  await station.put('tools', 'new.bin', next);
  return made;
}
