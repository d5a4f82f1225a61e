/**
 * A bundle that is being written, or was: what `--resume` needs to know. `DATA/keys/publisher/exports/<site>/`.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { ProcessLock } from '../../repo/blobs/process-lock.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';
import type { MetadataFiles } from '../trust/publisher.ts';
import { REVOCATIONS } from '../trust/revocations.ts';
import { type Manifest, manifestLines, parseManifest } from './manifest.ts';
import { MANIFEST } from './names.ts';

const schema = z.object({
  format: z.literal(1),
  sequence: z.number().int().positive(),
  volumes: z.array(
    z.object({
      name: z.string(),
      /** SHA-256; null: never made yet. */
      sha256: z.string().nullable(),
      /** Which of the finished media it is on, counted from 1; null: on none yet. */
      medium: z.number().int().positive().nullable(),
    }),
  ),
  /** Names of the signed metadata; null: not signed yet. */
  metadata: z.array(z.string()).nullable(),
});

export type ExportState = z.infer<typeof schema>;

/** Runs an export while no other process exports to the same site. @throws data.locked */
export async function exclusively<T>(dataDir: string, site: string, work: () => Promise<T>): Promise<T> {
  const dir = path.join(dataDir, 'keys', 'publisher', 'exports');
  await makeDirectory(dir);
  const lock = ProcessLock.tryAcquire(path.join(dir, `${site}.lock`));
  if (lock === undefined) {
    throw new AirlockError(
      'data.locked',
      `Another export to ${site} is running. Wait until that is done, and try again.`,
    );
  }
  try {
    return await work();
  } finally {
    lock.release();
  }
}

/** Everything about the newest bundle for a site. */
export class ExportRecord {
  readonly #dir: string;

  constructor(dataDir: string, site: string) {
    this.#dir = path.join(dataDir, 'keys', 'publisher', 'exports', site);
  }

  /** Takes the place of the record of the bundle before. */
  async begin(manifest: Manifest, revocations: Buffer): Promise<ExportState> {
    await rm(this.#dir, { recursive: true, force: true });
    await makeDirectory(path.join(this.#dir, 'metadata'));
    await writeFileDurably(path.join(this.#dir, MANIFEST), manifestLines(manifest));
    await writeFileDurably(path.join(this.#dir, REVOCATIONS), revocations);
    const volumes = manifest.volumes.map(({ name }) => ({ name, sha256: null, medium: null }));
    const state: ExportState = { format: 1, sequence: manifest.sequence, volumes, metadata: null };
    await this.save(state);
    return state;
  }

  async save(state: ExportState): Promise<void> {
    await writeFileDurably(path.join(this.#dir, 'state.json'), JSON.stringify(state));
  }

  /** @throws bundle.not-found if nothing was begun */
  async load(site: string): Promise<{ state: ExportState; manifest: Manifest }> {
    if (!existsSync(path.join(this.#dir, 'state.json'))) {
      throw new AirlockError('bundle.not-found', `No bundle for ${site} was begun here. Export without --resume.`);
    }
    const state = schema.parse(JSON.parse((await this.read('state.json')).toString('utf8')));
    return { state, manifest: parseManifest(await this.read(MANIFEST)) };
  }

  /** A file of the record: the manifest, the revocations. */
  async read(name: string): Promise<Buffer> {
    const bytes = await readSmallFile(path.join(this.#dir, name), limits.bundle.manifestBytes);
    if (bytes !== undefined) return bytes;
    throw new AirlockError('bundle.not-found', `${path.join(this.#dir, name)} is missing. Export without --resume.`);
  }

  async saveMetadata(files: MetadataFiles): Promise<void> {
    for (const [name, bytes] of files) await writeFileDurably(path.join(this.#dir, 'metadata', name), bytes);
  }

  async loadMetadata(names: readonly string[]): Promise<MetadataFiles> {
    const files = new Map<string, Buffer>();
    for (const name of names) files.set(name, await this.read(path.join('metadata', name)));
    return files;
  }
}
