/**
 * Deltas that were made for a site, kept until the next bundle for it rests on another receipt: so planning and then
 * exporting makes each once, and `export --resume` writes the same bytes again. All of it may be deleted; what is deleted
 * or damaged is made anew, but for a bundle that is half written.
 *
 * ```
 * DATA/deltas/chunks                                              chunk indexes (chunk-file.ts)
 * DATA/deltas/<site>/<receipt>/<blob>.<delta>.<recipe bytes>      a delta; hexadecimal digests
 * DATA/deltas/<site>/<receipt>/<blob>.none                        the blob had better go whole
 * ```
 */
import { randomBytes } from 'node:crypto';
import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobReader, Digest } from '../../repo/blobs/blob-store.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { makeDirectory, syncDirectory } from '../../repo/blobs/durable.ts';
import { type MediumFile, openIfThere } from '../../repo/ingest/medium.ts';
import type { MadeDelta } from './make-delta.ts';
import { parseRecipe } from './recipe.ts';

const DELTA = /^([0-9a-f]{64})\.([0-9a-f]{64})\.(\d{1,9})$/;
const NONE = /^([0-9a-f]{64})\.none$/;

const PARTIAL = '.partial';

interface Stored {
  readonly file: string;
  readonly recipe: number;
}

/** For one site, and what one of its receipts proves. */
export class DeltaFiles {
  readonly #dir: string;
  readonly #byBlob = new Map<Digest, { digest: Digest } & Stored>();
  readonly #byDelta = new Map<Digest, Stored>();
  readonly #none = new Set<Digest>();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Where chunk indexes are kept. */
  static async chunkFile(dataDir: string): Promise<string> {
    await makeDirectory(path.join(dataDir, 'deltas'));
    return path.join(dataDir, 'deltas', 'chunks');
  }

  static async open(dataDir: string, site: string, receipt: number): Promise<DeltaFiles> {
    const files = new DeltaFiles(path.join(dataDir, 'deltas', site, String(receipt)));
    await makeDirectory(files.#dir);
    for (const name of await readdir(files.#dir)) files.#learn(name);
    return files;
  }

  /** Takes away those of other receipts, and what an export that was killed left. */
  async forgetOthers(): Promise<void> {
    for (const name of await readdir(this.#dir)) {
      if (name.endsWith(PARTIAL)) await rm(path.join(this.#dir, name), { force: true });
    }
    const above = path.dirname(this.#dir);
    for (const name of await readdir(above)) {
      if (name !== path.basename(this.#dir)) await rm(path.join(above, name), { recursive: true, force: true });
    }
  }

  /** @returns undefined if nobody has tried yet, null if the blob had better go whole */
  async find(blob: Digest): Promise<MadeDelta | null | undefined> {
    if (this.#none.has(blob)) return null;
    const known = this.#byBlob.get(blob);
    if (known === undefined) return undefined;
    const { digest, file, recipe } = known;
    const opened = await openIfThere(file);
    try {
      if (opened === undefined || recipe > Math.min(opened.size, limits.delta.recipeBytes)) return undefined;
      if ((await digestOf(opened)) !== digest) return undefined;
      const text = Buffer.alloc(recipe);
      await opened.readAt(text, opened.size - recipe);
      return { digest, size: opened.size, recipe, bases: parseRecipe(text).bases };
    } finally {
      await opened?.close();
    }
  }

  /**
   * Makes one, and keeps what came of it.
   * @param make writes the file that it is given; undefined: the blob had better go whole
   */
  async keep(blob: Digest, make: (file: string) => Promise<MadeDelta | undefined>): Promise<MadeDelta | undefined> {
    const temporary = path.join(this.#dir, `${randomBytes(8).toString('hex')}${PARTIAL}`);
    try {
      const made = await make(temporary);
      const name = made === undefined ? `${hex(blob)}.none` : `${hex(blob)}.${hex(made.digest)}.${made.recipe}`;
      if (made === undefined) await writeFile(path.join(this.#dir, name), '');
      else await rename(temporary, path.join(this.#dir, name));
      await syncDirectory(this.#dir);
      this.#learn(name);
      return made;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Opens a delta. The caller closes it. @throws blob.damaged if it is not what it was */
  async read(delta: Digest): Promise<BlobReader> {
    const known = this.#byDelta.get(delta);
    const opened = known === undefined ? undefined : await openIfThere(known.file);
    if (opened !== undefined && (await digestOf(opened)) === delta) return readerOf(delta, opened);
    await opened?.close();
    throw new AirlockError(
      'blob.damaged',
      `A delta of this bundle (${delta}) is not in ${this.#dir} any more, or damaged. Export without --resume.`,
    );
  }

  #learn(name: string): void {
    const [, blob = '', delta = '', recipe = ''] = DELTA.exec(name) ?? [];
    const none = NONE.exec(name)?.[1];
    if (none !== undefined) this.#none.add(`sha256:${none}`);
    if (delta === '') return;
    const stored = { file: path.join(this.#dir, name), recipe: Number(recipe) };
    this.#byBlob.set(`sha256:${blob}`, { digest: `sha256:${delta}`, ...stored });
    this.#byDelta.set(`sha256:${delta}`, stored);
  }
}

function readerOf(digest: Digest, file: MediumFile): BlobReader {
  return { digest, size: file.size, stamp: '', readAt: file.readAt, close: () => file.close() };
}

function hex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
