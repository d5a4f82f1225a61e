/**
 * A bundle that is being written, or was: what `--resume` needs to know. `DATA/keys/publisher/exports/<site>/`.
 */
import { existsSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { asSpaceError, makeDirectory, syncDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import { ProcessLock } from '../../repo/blobs/process-lock.ts';
import { type MediumFile, openIfThere, readSmallFile } from '../../repo/ingest/medium.ts';
import type { MetadataFiles } from '../trust/bundle-metadata.ts';
import { REVOCATIONS } from '../trust/revocations.ts';
import { type LocalBytes, localFile } from './local-bytes.ts';
import type { ManifestDraft } from './manifest.ts';
import { manifestLines } from './manifest-lines.ts';
import { MANIFEST } from './names.ts';

const schema = z.object({
  format: z.literal(1),
  sequence: z.number().int().positive(),
  /** As in the manifest; the parity volume, if there is one, comes last. */
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
  /** SHA-256 of the program that was signed with it, if one was. */
  program: z.string().optional(),
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
  readonly #targets = new Map<string, { name: string; size: number; sha256: string }>();

  constructor(dataDir: string, site: string) {
    this.#dir = path.join(dataDir, 'keys', 'publisher', 'exports', site);
  }

  /** Takes the place of the record of the bundle before. */
  async begin(manifest: ManifestDraft, revocations: Buffer): Promise<ExportState> {
    await rm(this.#dir, { recursive: true, force: true });
    await makeDirectory(path.join(this.#dir, 'metadata'));
    await writeLines(path.join(this.#dir, MANIFEST), manifestLines(manifest));
    await writeFileDurably(path.join(this.#dir, REVOCATIONS), revocations);
    const files = [...manifest.volumes, ...(manifest.parity === undefined ? [] : [manifest.parity])];
    const volumes = files.map(({ name }) => ({ name, sha256: null, medium: null }));
    const state: ExportState = { format: 1, sequence: manifest.sequence, volumes, metadata: null };
    await this.save(state);
    return state;
  }

  async save(state: ExportState): Promise<void> {
    await writeFileDurably(path.join(this.#dir, 'state.json'), JSON.stringify(state));
  }

  /** @throws bundle.not-found if nothing was begun; bundle.invalid if the record is damaged */
  async load(): Promise<ExportState> {
    if (!existsSync(path.join(this.#dir, 'state.json'))) {
      const site = path.basename(this.#dir);
      throw new AirlockError('bundle.not-found', `No bundle for ${site} was begun here. Export without --resume.`);
    }
    const bytes = await this.#read('state.json');
    try {
      return schema.parse(JSON.parse(bytes.toString('utf8')));
    } catch (cause) {
      const file = path.join(this.#dir, 'state.json');
      throw new AirlockError('bundle.invalid', `${file} is damaged. Export without --resume.`, { cause });
    }
  }

  /** A file of the record: the manifest, the revocations. @throws bundle.not-found */
  async open(name: string): Promise<MediumFile & AsyncDisposable> {
    const file = await openIfThere(path.join(this.#dir, name));
    if (file === undefined) throw this.#missing(name);
    return { ...file, [Symbol.asyncDispose]: () => file.close() };
  }

  /** For `readManifest`. @throws bundle.not-found */
  async openManifest(): Promise<LocalBytes & AsyncDisposable> {
    const file = path.join(this.#dir, MANIFEST);
    if (!existsSync(file)) throw this.#missing(MANIFEST);
    const handle = await open(file);
    const { size } = await handle.stat();
    return { ...localFile({ fd: handle.fd, start: 0 }, size), [Symbol.asyncDispose]: () => handle.close() };
  }

  /** How long a file is, and its SHA-256. It is read once. */
  async target(name: string): Promise<{ name: string; size: number; sha256: string }> {
    const known = this.#targets.get(name);
    if (known !== undefined) return known;
    await using file = await this.open(name);
    const digest = await digestOf(file);
    const target = { name, size: file.size, sha256: digest.slice('sha256:'.length) };
    this.#targets.set(name, target);
    return target;
  }

  async saveMetadata(files: MetadataFiles): Promise<void> {
    for (const [name, bytes] of files) await writeFileDurably(path.join(this.#dir, 'metadata', name), bytes);
  }

  async loadMetadata(names: readonly string[]): Promise<MetadataFiles> {
    const files = new Map<string, Buffer>();
    for (const name of names) files.set(name, await this.#read(path.join('metadata', name)));
    return files;
  }

  async #read(name: string): Promise<Buffer> {
    const bytes = await readSmallFile(path.join(this.#dir, name), limits.trust.targetsBytes);
    if (bytes !== undefined) return bytes;
    throw this.#missing(name);
  }

  #missing(name: string): AirlockError {
    return new AirlockError('bundle.not-found', `${path.join(this.#dir, name)} is missing. Export without --resume.`);
  }
}

const BATCH = 2 ** 20;

/** The folder is new: nobody reads there before all of it is written. */
async function writeLines(file: string, lines: AsyncIterable<string>): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    let batch = '';
    for await (const line of lines) {
      batch += `${line}\n`;
      if (batch.length < BATCH) continue;
      await handle.writeFile(batch);
      batch = '';
    }
    await handle.writeFile(batch);
    await handle.sync();
  } catch (error) {
    throw asSpaceError(error, file);
  } finally {
    await handle.close();
  }
  await syncDirectory(path.dirname(file));
}
