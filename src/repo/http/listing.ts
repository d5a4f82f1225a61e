/**
 * Folders of repositories as HTML, in the form of Artifactory's listings that people script with `curl | egrep`
 * (vendor.md A5), or as JSON.
 *
 * A listing shows one revision or the other, never a mix. Each page is read between two looks at the catalog's
 * version. As long as nothing was sent, a change begins the listing anew; later, when pages of the old revision are
 * with the client already, the connection is cut before the end, which every client takes for the error that it is.
 * A folder of up to limits.http.pageSize items is one page, so only larger ones can meet this.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Catalog, FolderItem, Repository } from '../catalog/catalog.ts';
import { evaluateConditions } from './conditionals.ts';
import { escapeHtml } from './escape-html.ts';
import { type Exchange, sendText } from './exchange.ts';
import { negotiate } from './negotiate.ts';
import { encodeSegment } from './request-path.ts';
import { ResponseWriter } from './response-writer.ts';

/** Items of one folder of one revision. */
interface Page {
  readonly repository: Repository;
  readonly items: readonly FolderItem[];
}

export interface Format {
  readonly mediaType: string;
  readonly head: (title: string, repository: Repository | undefined) => string;
  readonly item: (item: ListedItem, isFirst: boolean) => string;
  readonly tail: string;
}

/** An item of a listing, as JSON shows it. */
export type ListedItem =
  | { readonly type: 'repository'; readonly name: string; readonly kind: string; readonly revision: number }
  | { readonly type: 'folder'; readonly name: string }
  | {
      readonly type: 'file';
      readonly name: string;
      readonly size: number;
      readonly digest: string;
      readonly modified: Date;
      readonly verification: string;
    };

/** Whether a repository has this folder. @param folder `''` for the top, else `6.3/` */
export async function hasFolder(catalog: Catalog, repository: string, folder: string): Promise<boolean> {
  if (folder === '') return (await catalog.repository(repository)) !== undefined;
  return (await catalog.folder(repository, folder, { limit: 1 })).length > 0;
}

/** Answers with the list of all repositories. */
export async function answerRepositories(catalog: Catalog, exchange: Exchange, query: string): Promise<void> {
  const repositories = await catalog.repositories();
  const format = chooseFormat(exchange.request, query);
  const state = repositories.map(({ name, published }) => `${name} ${published}`).join();
  const etag = `W/"repos-${createHash('sha256').update(state).digest('base64url')}"`;
  if (answerUnchanged(exchange, etag, format)) return;
  const items = repositories.map((repository, index) => format.item(listedRepository(repository), index === 0));
  sendText(exchange, 200, format.head('repos', undefined) + items.join('') + format.tail, headersOf(etag, format));
}

/**
 * Answers with the items of a folder.
 * @param folder `''` for the top, else `6.3/`
 * @returns false if there is no such folder, and nothing was done
 * @throws interrupted when the catalog changes again and again, or in mid-listing; then the response must be destroyed
 */
export async function answerFolder(
  catalog: Catalog,
  name: string,
  folder: string,
  exchange: Exchange,
  query: string,
): Promise<boolean> {
  const first = await readFirstPage(catalog, name, folder);
  if (first === undefined) return false;
  const { repository } = first;
  const format = chooseFormat(exchange.request, query);
  const etag = `W/"${name}-${repository.createdAt.getTime().toString(36)}-${repository.published}"`;
  if (answerUnchanged(exchange, etag, format)) return true;
  const head = format.head(`${name}/${folder}`.replace(/\/$/, ''), repository);
  const start = head + renderItems(first.items, format, true);
  if (first.items.length < limits.http.pageSize) {
    sendText(exchange, 200, start + format.tail, headersOf(etag, format));
    return true;
  }
  const { request, response } = exchange;
  response.writeHead(200, headersOf(etag, format));
  if (request.method === 'HEAD') response.end();
  else await streamPages(exchange, start, format, furtherPages(catalog, first, folder));
  return true;
}

async function streamPages(
  exchange: Exchange,
  start: string,
  format: Format,
  pages: AsyncIterable<Page>,
): Promise<void> {
  const writer = new ResponseWriter(exchange.response);
  const write = (text: string) => {
    const bytes = Buffer.from(text);
    exchange.bytes += bytes.length;
    return writer.write(bytes);
  };
  if (!(await write(start))) return;
  for await (const { items } of pages) {
    if (!(await write(renderItems(items, format, false)))) return;
  }
  exchange.bytes += format.tail.length;
  exchange.response.end(format.tail);
}

const ATTEMPTS = 10;

/** @returns undefined if there is no such folder */
async function readFirstPage(catalog: Catalog, name: string, folder: string): Promise<Page | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const version = catalog.version();
    const repository = await catalog.repository(name);
    if (repository === undefined) return undefined;
    const items = await catalog.folder(name, folder, { limit: limits.http.pageSize });
    if (catalog.version() !== version) continue;
    return items.length === 0 && folder !== '' ? undefined : { repository, items };
  }
  throw changing(name);
}

/**
 * A folder of the published revision, its items as they come.
 * @returns undefined if there is no such folder; the iteration throws interrupted if another revision was published meanwhile
 */
export async function readFolder(
  catalog: Catalog,
  name: string,
  folder: string,
): Promise<{ repository: Repository; items: AsyncIterable<ListedItem> } | undefined> {
  const first = await readFirstPage(catalog, name, folder);
  if (first === undefined) return undefined;
  const items = async function* () {
    yield* first.items.map(listed);
    for await (const page of furtherPages(catalog, first, folder)) yield* page.items.map(listed);
  };
  return { repository: first.repository, items: items() };
}

/** The pages after the first, of the same revision. @throws interrupted if another one was published meanwhile */
async function* furtherPages(catalog: Catalog, first: Page, folder: string): AsyncGenerator<Page> {
  const { name, published } = first.repository;
  let page = first;
  while (page.items.length === limits.http.pageSize) {
    const after = page.items.at(-1);
    const items = await catalog.folder(name, folder, {
      limit: limits.http.pageSize,
      ...(after === undefined ? {} : { after }),
    });
    const now = await catalog.repository(name);
    if (now?.published !== published) throw changing(name);
    page = { repository: first.repository, items };
    yield page;
  }
}

function changing(name: string): AirlockError {
  return new AirlockError('interrupted', `${name} changed while its listing was being read. Ask again.`);
}

export function chooseFormat(request: IncomingMessage, query: string): Format {
  const wanted = new URLSearchParams(query).get('format');
  const type =
    wanted === 'json' ? 'application/json' : negotiate(request.headers.accept, ['text/html', 'application/json']);
  return type === 'application/json' ? JSON_FORMAT : HTML_FORMAT;
}

/** Names and values in turn. */
export function headersOf(etag: string, { mediaType }: Format): string[] {
  return [
    'Content-Type',
    `${mediaType}; charset=utf-8`,
    'ETag',
    etag,
    'Cache-Control',
    'no-cache',
    'Vary',
    'Accept',
    'X-Content-Type-Options',
    'nosniff',
  ];
}

/** Answers 304 where the client has this already. */
export function answerUnchanged({ request, response }: Exchange, etag: string, format: Format): boolean {
  const verdict = evaluateConditions(request.headers, { etag, modified: null, freshness: 'revalidate' });
  if (verdict !== 'not-modified') return false;
  response.writeHead(304, headersOf(etag, format).slice(2));
  response.end();
  return true;
}

function renderItems(items: readonly FolderItem[], format: Format, isStart: boolean): string {
  return items.map((item, index) => format.item(listed(item), isStart && index === 0)).join('');
}

const HTML_FORMAT: Format = {
  mediaType: 'text/html',
  head: (title) => {
    const heading = escapeHtml(`Index of ${title}`);
    return `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex"><title>${heading}</title></head>\n<body><h1>${heading}</h1>\n<pre>${columns('Name', 'Name', 'Last modified', 'Size')}</pre><hr>\n<pre><a href="../">../</a>\n`;
  },
  item: (item) => {
    if (item.type !== 'file') return htmlLine(`${item.name}/`, '-', '-');
    return htmlLine(item.name, listingDate(item.modified), listingSize(item.size));
  },
  tail: '</pre><hr></body></html>\n',
};

function htmlLine(name: string, date: string, size: string): string {
  const isFolder = name.endsWith('/');
  const href = isFolder ? `${encodeSegment(name.slice(0, -1))}/` : encodeSegment(name);
  return `${columns(name, `<a href="${escapeHtml(href)}">${escapeHtml(name)}</a>`, date, size)}\n`;
}

/** @param shown the name, as it stands in the page */
function columns(name: string, shown: string, date: string, size: string): string {
  return `${shown}${' '.repeat(Math.max(3, 72 - name.length))}${date.padEnd(17)}  ${size}`;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `18-Nov-2021 19:54`, UTC. */
export function listingDate(date: Date): string {
  const iso = date.toISOString();
  return `${iso.slice(8, 10)}-${MONTHS[date.getUTCMonth()]}-${iso.slice(0, 4)} ${iso.slice(11, 16)}`;
}

/** `1.54 GB`, `64 bytes`: powers of 1024, as Artifactory writes them. */
export function listingSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(2)} ${['', 'KB', 'MB', 'GB', 'TB'][power]}`;
}

const JSON_FORMAT: Format = {
  mediaType: 'application/json',
  head: (title, repository) => {
    const facts = repository === undefined ? {} : { repository: repository.name, revision: repository.published };
    return `${JSON.stringify({ path: `${title}/`, ...facts }).slice(0, -1)},"items":[`;
  },
  item: (item, isFirst) => `${isFirst ? '' : ','}\n${JSON.stringify(item)}`,
  tail: '\n]}\n',
};

export function listedRepository({ name, kind, published }: Repository): ListedItem {
  return { type: 'repository', name, kind, revision: published };
}

function listed(item: FolderItem): ListedItem {
  if (item.type === 'folder') return item;
  const { artifact, modified } = item.entry;
  const { digest, size, verification } = artifact;
  return { type: 'file', name: item.name, size, digest, modified, verification: verification.status };
}
