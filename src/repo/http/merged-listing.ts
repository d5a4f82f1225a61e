/**
 * Folders as a router shows them: what is published here, and what its sources show. As far as names are the same, what
 * is here comes first. Items are merged as they come, so a folder may be of any size.
 */
import { createHash } from 'node:crypto';
import { isAirlockError } from '../../errors.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { type Beyond, type ListingBeyond, noteFailure } from './beyond.ts';
import type { Exchange } from './exchange.ts';
import {
  answerUnchanged,
  chooseFormat,
  type Format,
  headersOf,
  type ListedItem,
  listedRepository,
  readFolder,
} from './listing.ts';
import { ResponseWriter } from './response-writer.ts';

interface Place {
  /** undefined: the list of repositories. */
  readonly repository: string | undefined;
  /** `''` for the top, else `6.3/` */
  readonly folder: string;
}

/** Characters that are written at once. */
const BATCH = 32 * 1024;

/**
 * Answers with a folder, as far as somebody beyond this server knows it.
 * @returns false if nobody does, and nothing was done
 * @throws upstream.* where nobody could be asked and nothing is here; interrupted in mid-listing; then the response must be
 *   destroyed
 */
export async function answerMerged(
  { catalog, beyond }: { readonly catalog: Catalog; readonly beyond: Beyond },
  exchange: Exchange,
  place: Place,
  query: string,
): Promise<boolean> {
  const own = await readOwn(catalog, place);
  const { 'cache-control': cacheControl, via } = exchange.request.headers;
  const { repository, folder } = place;
  const path = repository === undefined ? 'repos/' : `repos/${repository}/${folder}`;
  const options = {
    ...(cacheControl === undefined ? {} : { cacheControl }),
    ...(via === undefined ? {} : { via }),
  };
  const others = await beyond.list(path, options).catch((error: unknown) => {
    if (own !== undefined) return nothingBut(error);
    noteFailure(exchange, error);
    throw error;
  });
  if (others === undefined) return false;
  try {
    await send(exchange, path, { own, others }, chooseFormat(exchange.request, query));
  } finally {
    await others.close();
  }
  return true;
}

/** What is here is shown, and that the others could not be asked. */
function nothingBut(error: unknown): ListingBeyond {
  const detail = isAirlockError(error) ? error.code : 'internal';
  return {
    state: '',
    headers: ['X-Cache', 'STALE', 'Cache-Status', `airlock; hit; detail=${detail}`],
    items: (async function* () {})(),
    close: () => Promise.resolve(),
  };
}

interface Own {
  readonly state: string;
  readonly items: AsyncIterable<ListedItem>;
}

async function readOwn(catalog: Catalog, { repository, folder }: Place): Promise<Own | undefined> {
  if (repository !== undefined) {
    const read = await readFolder(catalog, repository, folder);
    if (read === undefined) return undefined;
    const { createdAt, published } = read.repository;
    return { state: `${createdAt.getTime()} ${published}`, items: read.items };
  }
  const repositories = (await catalog.repositories()).map(listedRepository).sort(inOrder);
  const items = async function* () {
    yield* repositories;
  };
  return { state: JSON.stringify(repositories), items: items() };
}

async function send(
  exchange: Exchange,
  path: string,
  { own, others }: { own: Own | undefined; others: ListingBeyond },
  format: Format,
): Promise<void> {
  const { request, response } = exchange;
  const state = createHash('sha256').update(JSON.stringify([own?.state, others.state]));
  const etag = `W/"merged-${state.digest('base64url')}"`;
  exchange.cache = others.headers[3]; // Cache-Status
  if (answerUnchanged(exchange, etag, format)) return;
  const merged = mergeItems([...(own === undefined ? [] : [own.items]), others.items]);
  const title = path.replace(/^repos\/(?=.)|\/$/g, '');
  const pieces = batches(rendered(merged, title, format));
  const first = await pieces.next();
  response.writeHead(200, [...headersOf(etag, format), ...others.headers]);
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  const writer = new ResponseWriter(response);
  for (let piece = first; piece.done !== true; piece = await pieces.next()) {
    const bytes = Buffer.from(piece.value);
    exchange.bytes += bytes.length;
    if (!(await writer.write(bytes))) return;
  }
  response.end();
}

async function* rendered(items: AsyncIterable<ListedItem>, title: string, format: Format): AsyncGenerator<string> {
  yield format.head(title, undefined);
  let isFirst = true;
  for await (const item of items) {
    yield format.item(item, isFirst);
    isFirst = false;
  }
  yield format.tail;
}

async function* batches(texts: AsyncIterable<string>): AsyncGenerator<string> {
  let batch = '';
  for await (const text of texts) {
    batch += text;
    if (batch.length < BATCH) continue;
    yield batch;
    batch = '';
  }
  yield batch;
}

/** Merges lists that are in order; of items with the same name and kind, that of the first list stays. */
export async function* mergeItems(lists: readonly AsyncIterable<ListedItem>[]): AsyncGenerator<ListedItem> {
  const iterators = lists.map((list) => list[Symbol.asyncIterator]());
  const heads = await Promise.all(iterators.map((each) => each.next()));
  for (;;) {
    let least: ListedItem | undefined;
    for (const { done, value } of heads) {
      if (done !== true && (least === undefined || inOrder(value, least) < 0)) least = value;
    }
    if (least === undefined) return;
    yield least;
    for (const [index, iterator] of iterators.entries()) {
      for (let head = heads[index]; head?.done !== true && head !== undefined; head = heads[index]) {
        if (inOrder(head.value, least) > 0) break;
        heads[index] = await iterator.next();
      }
    }
  }
}

/** As the catalog has them: folders before files, by the bytes of their paths, in which a slash follows a folder's name. */
function inOrder(a: ListedItem, b: ListedItem): number {
  const rank = Number(a.type === 'file') - Number(b.type === 'file');
  if (rank !== 0) return rank;
  return a.name === b.name ? 0 : Buffer.compare(keyOf(a), keyOf(b));
}

function keyOf({ type, name }: ListedItem): Buffer {
  return Buffer.from(type === 'folder' ? `${name}/` : name);
}
