/**
 * All files below a folder of a site: a list of all where the site offers one, else folder after folder.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { type Listable, type ListedItem, type Listing, listAll, listConductor, listFolder } from './listing.ts';
import { failureOf, type MirrorFailure } from './rule.ts';

export interface Tree {
  readonly files: readonly ListedItem[];
  /** Folders that could not be listed. */
  readonly failures: readonly MirrorFailure[];
  readonly warnings: readonly string[];
  /** Folders that were not looked into, because nothing of interest can lie in them. */
  readonly passedBy: number;
}

export interface WalkOptions {
  /** Whether anything of interest can lie in a folder of this name. */
  readonly mayHold: (folder: string) => boolean;
}

/**
 * @param root of the site, as in its URLs, without slashes around it
 * @throws path.not-found if the site has no such folder, upstream.* if its top cannot be listed; what failed below is told
 */
export async function walk(site: Listable, root: string, options: WalkOptions): Promise<Tree> {
  const top = await listTop(site, root);
  const walker = new Walker(site, root, options);
  walker.take(top, 0);
  while (await walker.next());
  const { files, failures, passedBy } = walker;
  const warnings = walker.passedOver === 0 ? [] : [passedOver(root, walker.passedOver)];
  return { files, failures, warnings, passedBy };
}

/** Plain listings of Artifactory are read, too; where it lists all at once, that costs one request, and tells more. */
async function listTop(site: Listable, root: string): Promise<Listing> {
  const plain = await listFolder(site, root).catch((error: unknown) => {
    if (isAirlockError(error, 'upstream.unauthorized', 'upstream.failed', 'upstream.unusable')) return error;
    throw error;
  });
  const isListing = plain !== undefined && !(plain instanceof AirlockError) && plain.items.length > 0;
  if (!isListing || plain.by === 'artifactory') {
    const all = root === '' ? undefined : await listAll(site, root).catch(orNothing);
    if (all !== undefined && all.items.length > 0) return all;
  }
  if (plain instanceof AirlockError) throw plain;
  if (plain === undefined) throw noFolder(root);
  return plain.by === 'conductor' ? ((await listConductor(site, root).catch(orNothing)) ?? plain) : plain;
}

/** A better listing is nothing that anybody depends on. */
function orNothing(error: unknown): undefined {
  if (isAirlockError(error, 'upstream.unusable', 'upstream.failed')) return undefined;
  throw error;
}

class Walker {
  readonly files: ListedItem[] = [];
  readonly failures: MirrorFailure[] = [];
  passedOver = 0;
  passedBy = 0;
  readonly #site: Listable;
  readonly #root: string;
  readonly #options: WalkOptions;
  readonly #waiting: { path: string; depth: number; by: Listing['by'] }[] = [];
  #folders = 0;

  constructor(site: Listable, root: string, options: WalkOptions) {
    this.#site = site;
    this.#root = root;
    this.#options = options;
  }

  take({ items, passedOver: strange, by }: Listing, depth: number): void {
    this.passedOver += strange;
    for (const item of items) {
      if (!item.isFolder) this.files.push(item);
      else if (depth >= limits.mirror.depth || !this.#options.mayHold(item.name)) this.passedBy += 1;
      else {
        this.#waiting.push({ path: item.path, depth: depth + 1, by });
        this.#folders += 1;
      }
    }
    const isTooLarge = this.files.length > limits.mirror.files || this.#folders > limits.mirror.folders;
    if (isTooLarge) throw tooLarge(this.#root);
  }

  /** @returns false when all is done */
  async next(): Promise<boolean> {
    const folder = this.#waiting.shift();
    if (folder === undefined) return false;
    const { path, depth, by } = folder;
    try {
      const listing = await (by === 'conductor' ? listConductor(this.#site, path) : listFolder(this.#site, path));
      if (listing === undefined) throw noFolder(path);
      if (listing.items.length === 0 && !listing.isIndex) throw noListing(path);
      this.take(listing, depth);
    } catch (error) {
      if (!isAirlockError(error) || error.code === 'interrupted') throw error;
      this.failures.push(failureOf(path, error));
    }
    return true;
  }
}

function passedOver(root: string, count: number): string {
  return `the listing of ${quoteUnsafe(root)} links to ${count} places that do not lie in it, or have no names; these were passed over`;
}

function noFolder(path: string): AirlockError {
  return new AirlockError(
    'path.not-found',
    `The site has no folder ${quoteUnsafe(path)}. Check "path" of the rule, and what the site shows in a browser.`,
  );
}

function noListing(path: string): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `What the site answers for ${quoteUnsafe(path)}/ is no listing: a login or captive portal may have answered. Nothing was changed here.`,
  );
}

function tooLarge(root: string): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `There are more than ${limits.mirror.files} files or ${limits.mirror.folders} folders below ${quoteUnsafe(root)}. Name a folder further down in "path".`,
  );
}
