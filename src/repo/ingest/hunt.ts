import type { Dirent } from 'node:fs';
import { opendir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';

/** What the vendor's `import iso hunt` looks for (vendor.md A1). */
const PATTERN = /^(?:128T.*\.iso|SSR.*\.iso|SSR.*\.tar)$/;

/** Where media and uploads usually are, when no folder is named. */
export const USUAL_PLACES = ['/media', '/run/media', '/mnt', '/home', '/root', '/var/tmp'];

export interface HuntResult {
  /** Absolute, sorted. */
  readonly images: string[];
  /** Folders that could not be read, or lie too deep, with the reason. */
  readonly skipped: { readonly folder: string; readonly why: string }[];
}

/**
 * Finds images below the folders: regular files only, links are not followed.
 * @param except folders not to look into, such as the data directory
 */
export async function hunt(folders: readonly string[], except: readonly string[] = []): Promise<HuntResult> {
  const search = new Search(await Promise.all(except.map(resolved)));
  for (const folder of folders) await search.folder(await resolved(folder), 0);
  return { images: [...search.images].sort(), skipped: search.skipped };
}

class Search {
  readonly images = new Set<string>();
  readonly skipped: { folder: string; why: string }[] = [];
  readonly #seen: Set<string>;
  #entries = 0;

  constructor(except: readonly string[]) {
    this.#seen = new Set(except);
  }

  async folder(folder: string, depth: number): Promise<void> {
    if (this.#seen.has(folder)) return;
    this.#seen.add(folder);
    if (depth > limits.hunt.depth) {
      this.skipped.push({ folder, why: `deeper than ${limits.hunt.depth} folders` });
      return;
    }
    try {
      for await (const item of await opendir(folder)) await this.#item(folder, item, depth);
    } catch (error) {
      this.skipped.push({ folder, why: systemCode(error) ?? String(error) });
    }
  }

  async #item(folder: string, item: Dirent, depth: number): Promise<void> {
    this.#entries += 1;
    if (this.#entries > limits.hunt.entries)
      throw new Error(`more than ${limits.hunt.entries} files; name a smaller folder`);
    const full = path.join(folder, item.name);
    if (item.isDirectory()) await this.folder(full, depth + 1);
    else if (item.isFile() && PATTERN.test(item.name)) this.images.add(full);
  }
}

async function resolved(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch {
    return path.resolve(folder);
  }
}
