/**
 * How far a site has come: which bundle landed last. It stands in the catalog, written with the transaction that publishes
 * a bundle, and after that in `DATA/keys/trusted/landed.json`. A file that is behind is healed; a catalog that is behind
 * was restored from a backup: nothing lands in it, and it is not served.
 */
import path from 'node:path';
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { makeDirectory, writeFileDurably } from '../../repo/blobs/durable.ts';
import type { Catalog, CatalogTransaction } from '../../repo/catalog/catalog.ts';
import { readSmallFile } from '../../repo/ingest/medium.ts';

const schema = z.object({
  format: z.literal(1),
  /** Of landings here; what tells an older mark from a newer one. */
  count: z.number().int().positive(),
  site: z.string(),
  sequence: z.number().int().positive(),
  /** SHA-256 of the manifest, hexadecimal. */
  manifest: z.string(),
  /** Ids of the keys that sign for the site: another set means that they were rotated. */
  keys: z.array(z.string()),
  /** Published revisions after it. */
  revisions: z.record(z.string(), z.number().int()),
  at: z.iso.datetime(),
});

/** The newest bundle that landed. */
export type Mark = z.infer<typeof schema>;

const KEY = 'bundles.landed';

/** Where a site keeps whom it trusts. */
export function trustDir(dataDir: string): string {
  return path.join(dataDir, 'keys', 'trusted');
}

export class HighWaterMark {
  readonly #file: string;
  readonly #catalog: Catalog;

  constructor({ dataDir, catalog }: { dataDir: string; catalog: Catalog }) {
    this.#file = path.join(trustDir(dataDir), 'landed.json');
    this.#catalog = catalog;
  }

  /**
   * Healed where a process died between its two places. A file and a row are read.
   * @throws trust.locked if the catalog is older than the mark in the file; trust.invalid
   */
  async read(): Promise<Mark | undefined> {
    // The file first: of a bundle that lands meanwhile, the catalog knows first.
    const inFile = await this.inFile();
    const inCatalog = await this.#inCatalog();
    if (inFile === undefined || (inCatalog !== undefined && inCatalog.count > inFile.count)) {
      if (inCatalog !== undefined) await this.write(inCatalog);
      return inCatalog;
    }
    if (inCatalog?.count === inFile.count) return inFile;
    // Only a catalog that was made anew from its revisions knows of no bundle; one that knows an older bundle is old.
    if (inCatalog !== undefined || !(await this.#hasAll(inFile))) throw locked(inFile, inCatalog);
    await this.#catalog.setMeta(KEY, JSON.stringify(inFile));
    return inFile;
  }

  /** What the file says, whatever the catalog does. @throws trust.invalid */
  async inFile(): Promise<Mark | undefined> {
    const bytes = await readSmallFile(this.#file, limits.trust.targetsBytes, { otherwise: 'trust.invalid' });
    return bytes === undefined ? undefined : parse(bytes.toString('utf8'), this.#file);
  }

  /** In the transaction that publishes a bundle. */
  async record(tx: CatalogTransaction, mark: Mark): Promise<void> {
    await tx.setMeta(KEY, JSON.stringify(mark));
  }

  /** After that transaction. */
  async write(mark: Mark): Promise<void> {
    await makeDirectory(path.dirname(this.#file));
    await writeFileDurably(this.#file, `${JSON.stringify(mark, undefined, 1)}\n`);
  }

  /** Lets a catalog that was restored from a backup go on from the mark in the file. */
  async acceptRestored(): Promise<void> {
    const mark = await this.inFile();
    if (mark !== undefined) await this.#catalog.setMeta(KEY, JSON.stringify(mark));
  }

  async #inCatalog(): Promise<Mark | undefined> {
    const text = await this.#catalog.meta(KEY);
    return text === undefined ? undefined : parse(text, 'the catalog');
  }

  /** True if the catalog has every revision that there was when the mark was made. */
  async #hasAll(mark: Mark): Promise<boolean> {
    for (const [name, revision] of Object.entries(mark.revisions)) {
      if (((await this.#catalog.repository(name))?.published ?? 0) < revision) return false;
    }
    return true;
  }
}

function parse(text: string, where: string): Mark {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new AirlockError(
      'trust.invalid',
      `The mark of the newest bundle in ${where} is damaged. Restore DATA/keys/trusted from a backup.`,
      { cause },
    );
  }
}

function locked(inFile: Mark, inCatalog: Mark | undefined): AirlockError {
  return new AirlockError(
    'trust.locked',
    `Bundle ${inFile.sequence} has landed here, and the catalog knows ${inCatalog === undefined ? 'of none' : `only of ${inCatalog.sequence}`}: it was restored from a backup. It is not served, and nothing is imported into it. Restore a newer backup; or, if there is none, run "airlock trust add ROOT.json --restored", import that bundle again or a newer one, and send a receipt.`,
    { details: { landed: inFile.sequence, catalog: inCatalog?.sequence ?? null } },
  );
}
