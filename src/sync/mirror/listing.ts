/**
 * What lies in a folder of a site, as the site itself lists it. A listing is a claim like everything else from outside:
 * only plain names directly in the folder count, and no link is ever followed as it stands there. Whatever else a page links
 * to is passed over and counted.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { encodeSegment } from '../../repo/http/request-path.ts';
import type { Upstream, UpstreamFacts } from '../../repo/upstream/upstream.ts';
import { HtmlIndex, type IndexLink } from './html-index.ts';
import { type JsonItem, readJsonIndex } from './json-index.ts';
import type { KeptListing, KeptListings } from './kept-listings.ts';

/** Where listings come from. */
export interface Listable {
  readonly upstream: Upstream;
  readonly signal: AbortSignal;
  /** Listings of the last time; absent: all are fetched. */
  readonly kept?: KeptListings;
}

export interface ListedItem {
  /** One segment, not encoded. Data, never a path of ours. */
  readonly name: string;
  /** Of the site, as in its URLs; a folder's without a slash at its end. */
  readonly path: string;
  readonly isFolder: boolean;
  /** Bytes, where the listing says them exactly. */
  readonly size: number | null;
  readonly digest: Digest | null;
  /** What tells one state of it from another: date and size as the site writes them. null: nothing does. */
  readonly said: string | null;
}

export interface Listing {
  readonly items: readonly ListedItem[];
  /** Links to elsewhere, and names that are none. */
  readonly passedOver: number;
  /** Who wrote it, where that tells of a better listing. */
  readonly by: 'artifactory' | 'conductor' | 'other';
  /** It says that it is a listing, so that it may be empty. */
  readonly isIndex: boolean;
}

/**
 * Reads the listing of one folder.
 * @param folder of the site, as in its URLs, without a slash at its end; `''` for the top
 * @returns undefined where the site has no such folder
 * @throws upstream.*; upstream.unusable for a page that has too many entries, too many bytes, or does not end
 */
export async function listFolder(site: Listable, folder: string): Promise<Listing | undefined> {
  return await fetchListing(site, folder === '' ? '' : `${folder}/`, { folder });
}

/**
 * Reads all files below a folder in one request, where an Artifactory offers that.
 * @returns undefined where it does not
 * @throws upstream.unreachable, upstream.unusable, interrupted
 */
export async function listAll(site: Listable, folder: string): Promise<Listing | undefined> {
  try {
    return await fetchListing(site, `api/storage/${folder}?list&deep=1&listFolders=0`, { folder, isJson: true });
  } catch (error) {
    // Some offer it to nobody, and say so with any status.
    if (error instanceof AirlockError && (error.code === 'upstream.failed' || error.code === 'upstream.unauthorized')) {
      return undefined;
    }
    throw error;
  }
}

/** As listFolder, in the JSON of our own servers. */
export async function listConductor(site: Listable, folder: string): Promise<Listing | undefined> {
  return await fetchListing(site, `${folder}/?format=json`, { folder, isJson: true });
}

/** @param isJson anything else is no answer to what was asked for */
async function fetchListing(
  { upstream, signal, kept }: Listable,
  url: string,
  { folder, isJson: mustBeJson = false }: { readonly folder: string; readonly isJson?: boolean },
): Promise<Listing | undefined> {
  const late = AbortSignal.timeout(limits.mirror.listingTime);
  const known = await kept?.get(upstream.address(url));
  const ask = { signal: AbortSignal.any([signal, late]), ...(known === undefined ? {} : { unless: known }) };
  const answer = await upstream.fetch(url, ask);
  if (answer.type === 'missing') return undefined;
  const read = async (body: AsyncIterable<Uint8Array>, facts: Said): Promise<Listing> => {
    const items = new Items(folder, upstream.origin);
    const isJson = /[/+]json$/.test(facts.mediaType ?? '');
    if (mustBeJson && !isJson) throw unusable(folder, 'is no JSON');
    return isJson ? await readJson(body, items, facts) : await readHtml(body, items, facts);
  };
  if (answer.type === 'not-modified') return known && (await read(bodyOf(known), known));
  const { facts, body } = answer;
  try {
    const text = new KeptText();
    const listing = await read(text.along(body), facts);
    if (listing.items.length > 0) await kept?.put(upstream.address(url), facts, text.text);
    return listing;
  } catch (error) {
    signal.throwIfAborted();
    if (late.aborted) throw unusable(folder, 'does not come to an end');
    throw error;
  } finally {
    body.destroy();
  }
}

/** What matters of the head of an answer. */
type Said = Pick<UpstreamFacts, 'etag' | 'mediaType'>;

async function* bodyOf({ text }: KeptListing): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

/** The text of a body that somebody else reads, as far as it could be kept. */
class KeptText {
  readonly #pieces: Uint8Array[] = [];
  #bytes = 0;

  async *along(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of body) {
      this.#bytes += piece.byteLength;
      if (this.#bytes <= limits.mirror.keptListing) this.#pieces.push(piece);
      yield piece;
    }
  }

  /** @returns undefined if it is too long for that */
  get text(): string | undefined {
    return this.#bytes <= limits.mirror.keptListing ? Buffer.concat(this.#pieces).toString('utf8') : undefined;
  }
}

/** Entity tags of our own listings (repo/http/listing.ts). */
const OWN_TAG = /^W\/"[a-z0-9][a-z0-9._-]*-[0-9a-z]+-\d+"$/;

async function readHtml(body: AsyncIterable<Uint8Array>, items: Items, { etag }: Said): Promise<Listing> {
  const index = new HtmlIndex((link) => items.addLink(link));
  const decoder = new TextDecoder();
  for await (const piece of bounded(body, limits.mirror.listingBytes, items)) {
    index.write(decoder.decode(piece, { stream: true }));
  }
  index.end();
  const by = index.isArtifactory ? 'artifactory' : OWN_TAG.test(etag ?? '') ? 'conductor' : 'other';
  return items.listing(by, index.isIndex);
}

async function readJson(body: AsyncIterable<Uint8Array>, items: Items, { etag }: Said): Promise<Listing> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bounded(body, limits.mirror.jsonBytes, items)) pieces.push(piece);
  const listed = readJsonIndex(parsed(Buffer.concat(pieces).toString('utf8')));
  if (listed === undefined) throw unusable(items.folder, 'is no listing');
  for (const item of listed) items.addItem(item);
  return items.listing(OWN_TAG.test(etag ?? '') ? 'conductor' : 'other', true);
}

/** @returns undefined for what is no JSON */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function* bounded(body: AsyncIterable<Uint8Array>, most: number, { folder }: Items): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const piece of body) {
    bytes += piece.byteLength;
    if (bytes > most) throw unusable(folder, `is longer than ${most} bytes`);
    yield piece;
  }
}

/** The items of one folder, each once. */
class Items {
  readonly folder: string;
  readonly #origin: string;
  readonly #found = new Map<string, ListedItem>();
  #passedOver = 0;

  constructor(folder: string, origin: string) {
    this.folder = folder;
    this.#origin = origin;
  }

  addLink({ href, behind }: IndexLink): void {
    if (href === '' || /^[?#]/.test(href)) return; // sorting
    const segment = this.#segmentOf(href);
    if (segment === 'parent') return;
    const name = segment === undefined ? undefined : decoded(segment.replace(/\/$/, ''));
    if (segment === undefined || name === undefined) {
      this.#passedOver += 1;
      return;
    }
    const isFolder = segment.endsWith('/');
    const size = isFolder ? null : sizeOf(behind);
    this.#add({ name, path: this.#pathOf([name]), isFolder, size, digest: null, said: behind === '' ? null : behind });
  }

  /** Of a list of all files below, an item may lie deeper. */
  addItem({ path, ...item }: JsonItem): void {
    const segments = path.split('/');
    const name = segments.at(-1) ?? '';
    if (segments.length > limits.mirror.depth + 1 || !segments.every(isName)) this.#passedOver += 1;
    else this.#add({ ...item, name, path: this.#pathOf(segments) });
  }

  listing(by: Listing['by'], isIndex: boolean): Listing {
    return { items: [...this.#found.values()], passedOver: this.#passedOver, by, isIndex };
  }

  /** Icons link to the same file as names do; what says more of it counts. */
  #add(item: ListedItem): void {
    const before = this.#found.get(item.path);
    if (before?.said == null || item.said !== null) this.#found.set(item.path, item);
    if (this.#found.size > limits.mirror.entries) {
      throw unusable(this.folder, `has more than ${limits.mirror.entries} entries`);
    }
  }

  /** @returns `name` or `name/`, encoded; undefined for a link to anywhere else than directly into this folder */
  #segmentOf(href: string): string | 'parent' | undefined {
    let path = href;
    if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(href)) {
      const url = URL.canParse(href, this.#origin) ? new URL(href, this.#origin) : undefined;
      if (url?.origin !== this.#origin) return undefined;
      path = url.pathname;
    }
    path = path.replace(/[?#].*$/s, '').replace(/^\.\//, '');
    if (/^(?:\.\.?\/?)?$/.test(path)) return 'parent';
    if (!path.startsWith('/')) return /^[^/]+\/?$/.test(path) ? path : undefined;
    const here = `/${this.folder}/`.replace('//', '/');
    const [, before = '', segment] = /^(.*\/)([^/]+\/?)$/s.exec(path) ?? [];
    if (segment !== undefined && before.endsWith(here)) return segment;
    return here.startsWith(path) || path.endsWith('/') ? 'parent' : undefined;
  }

  #pathOf(segments: readonly string[]): string {
    return [...(this.folder === '' ? [] : [this.folder]), ...segments.map(encodeSegment)].join('/');
  }
}

/** nginx gives bytes, Artifactory those of small files; all others round. */
function sizeOf(behind: string): number | null {
  const digits = /(?:^|\s)(\d{1,15})(?: bytes)?$/.exec(behind)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** @returns undefined for what is no name */
function decoded(segment: string): string | undefined {
  try {
    const name = decodeURIComponent(segment);
    return isName(name) ? name : undefined;
  } catch {
    return undefined;
  }
}

function isName(name: string): boolean {
  return (
    name !== '' &&
    name !== '.' &&
    name !== '..' &&
    name.isWellFormed() &&
    name.length <= limits.mirror.name &&
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    !/[/\\\u0000-\u001f\u007f]/.test(name)
  );
}

function unusable(folder: string, why: string): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `The listing of ${quoteUnsafe(folder === '' ? 'the site' : folder)} ${why}. Nothing was taken from it, and what is here stays. See in a browser what the site answers there.`,
    { details: { folder } },
  );
}
