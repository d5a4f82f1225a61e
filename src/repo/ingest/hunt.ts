import type { Dir, Dirent } from 'node:fs';
import { opendir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, isAirlockError, systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { throwIfAborted } from '../staging.ts';
import { isGone } from './medium.ts';

/** What the vendor's `import iso hunt` looks for (vendor.md A1). */
const PATTERN = /^(?:128T.*\.iso|SSR.*\.iso|SSR.*\.tar)$/;

/** Where media and uploads usually are, when no folder is named. */
export const USUAL_PLACES = ['/media', '/run/media', '/mnt', '/home', '/root', '/var/tmp'];

/** Something that was passed over, and why. */
export interface Skipped {
  /** Absolute. Bytes that are no UTF-8 stand as U+FFFD. */
  readonly file: string;
  readonly why: string;
  /** There is no such folder. */
  readonly isMissing: boolean;
}

export interface HuntResult {
  /** Absolute, sorted. */
  readonly files: string[];
  readonly skipped: readonly Skipped[];
  /** Folders that the medium did not give out: more may lie there. Each with source.lost. */
  readonly lost: readonly { readonly file: string; readonly error: AirlockError }[];
}

export interface HuntOptions {
  readonly signal: AbortSignal;
  /** Names of files to find; the vendor's images by default. */
  readonly pattern?: RegExp;
  /** Folders not to look into, such as the data directory. */
  readonly except?: readonly string[];
  readonly bounds?: { readonly depth: number; readonly entries: number };
}

/**
 * Finds images, or what else is looked for, below the folders: regular files only, links are not followed. What could
 * not be searched is told.
 * @throws interrupted
 */
export async function hunt(folders: readonly string[], options: HuntOptions): Promise<HuntResult> {
  const except = await Promise.all((options.except ?? []).map(resolved));
  const search = new Search(options, except);
  for (const folder of folders) await search.folder(await resolved(folder), 0);
  return { files: [...search.files].sort(), skipped: search.skipped, lost: search.lost };
}

class Search {
  readonly files = new Set<string>();
  readonly skipped: Skipped[] = [];
  readonly lost: { file: string; error: AirlockError }[] = [];
  readonly #options: HuntOptions;
  readonly #bounds: { readonly depth: number; readonly entries: number };
  readonly #pattern: RegExp;
  readonly #seen: Set<string>;
  #entries = 0;

  constructor(options: HuntOptions, except: readonly string[]) {
    this.#options = options;
    this.#bounds = options.bounds ?? limits.hunt;
    this.#pattern = options.pattern ?? PATTERN;
    this.#seen = new Set(except);
  }

  async folder(folder: string, depth: number): Promise<void> {
    throwIfAborted(this.#options.signal);
    if (this.#isFull || this.#seen.has(folder)) return;
    this.#seen.add(folder);
    if (depth > this.#bounds.depth) {
      this.#skip(folder, `deeper than ${this.#bounds.depth} folders; name it itself to search it`);
      return;
    }
    try {
      for await (const item of await opened(folder)) {
        throwIfAborted(this.#options.signal);
        await this.#item(folder, item, depth);
        if (this.#isFull) return;
      }
    } catch (error) {
      if (isAirlockError(error, 'interrupted')) throw error;
      this.#failed(folder, error);
    }
  }

  get #isFull(): boolean {
    return this.#entries > this.#bounds.entries;
  }

  async #item(folder: string, item: Dirent<Buffer>, depth: number): Promise<void> {
    this.#entries += 1;
    if (this.#isFull) {
      this.#skip(folder, `more than ${this.#bounds.entries} files, the rest was not searched; name a smaller folder`);
      return;
    }
    const name = item.name.toString('utf8');
    const full = path.join(folder, name);
    const isMatch = this.#pattern.test(name);
    if (!item.isDirectory() && !isMatch) return;
    if (!Buffer.from(name).equals(item.name)) this.#skip(full, 'its name is not UTF-8; rename it');
    else if (item.isDirectory()) await this.folder(full, depth + 1);
    else if (item.isFile()) this.files.add(full);
    else this.#skip(full, 'not a file, and links are not followed');
  }

  #failed(folder: string, error: unknown): void {
    if (isGone(error)) {
      const why = error instanceof Error ? error.message : String(error);
      const message = `${quoteUnsafe(folder)} could not be searched to its end (${quoteUnsafe(why)}). Check the medium, plug it in again and run the same command.`;
      this.lost.push({ file: folder, error: new AirlockError('source.lost', message, { cause: error }) });
      return;
    }
    const code = systemCode(error);
    const isMissing = code === 'ENOENT';
    this.#skip(folder, isMissing ? 'there is no such folder' : (code && REASONS[code]) || String(error), isMissing);
  }

  #skip(file: string, why: string, isMissing = false): void {
    this.skipped.push({ file, why, isMissing });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not read it',
  EPERM: 'this user may not read it',
  ENOTDIR: 'not a folder; "filepath" takes a file',
  ENAMETOOLONG: 'its path is too long',
  ELOOP: 'a link that leads nowhere',
};

/** Names come as bytes: on old media they may be in any encoding. */
async function opened(folder: string): Promise<AsyncIterable<Dirent<Buffer>>> {
  // Node.js gives names as this option says; its types do not know that.
  const dir: Dir = await opendir(folder, { encoding: 'buffer' as BufferEncoding });
  return dir as unknown as AsyncIterable<Dirent<Buffer>>;
}

/** Two ways to one folder are one folder. */
async function resolved(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch {
    return path.resolve(folder); // reading it says what is wrong
  }
}
