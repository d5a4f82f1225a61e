/**
 * Folders below `/repos/` as peer and conductors show them. The listing of each of them is fetched and kept as all content
 * is, under a key of its own, so it is fresh, stale and asked for once by the same rules. What was fetched of a folder is
 * shown, too: it is here, whatever becomes of its source.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { OpenArtifact, OpenOptions } from '../repo/artifact-source.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import { pulledFolder } from '../repo/catalog/pulled-folder.ts';
import type { ListingBeyond } from '../repo/http/beyond.ts';
import type { ListedItem } from '../repo/http/listing.ts';
import { mergeItems } from '../repo/http/merged-listing.ts';
import { readKept } from './kept.ts';
import type { PullThrough } from './pull-through.ts';
import { listingKey, type Sources } from './sources.ts';

export interface ListingsParts {
  readonly sources: Sources;
  readonly pull: PullThrough;
  readonly catalog: Catalog;
}

type Options = Pick<OpenOptions, 'cacheControl' | 'via' | 'signal'>;

/** As Beyond.list. */
export async function listBeyond(
  { sources, pull, catalog }: ListingsParts,
  folder: string,
  options: Options,
): Promise<ListingBeyond | undefined> {
  const { neighbours } = sources;
  const asked = await Promise.allSettled(neighbours.map((each) => pull.open(listingKey(each, folder), options)));
  const lists: OpenArtifact[] = [];
  let trouble: AirlockError | undefined;
  for (const each of asked) {
    if (each.status === 'fulfilled' && each.value !== undefined) lists.push(each.value);
    if (each.status === 'rejected' && !isAirlockError(each.reason, 'proxy.not-cached'))
      trouble = troubleOf(each.reason);
  }
  const close = async () => {
    await Promise.all(lists.map((list) => list.close()));
  };
  const here = folder === 'repos/' ? [] : await firstOf(fetched(catalog, folder));
  if (lists.length === 0 && here.length === 0) {
    if (trouble !== undefined && asked.every(({ status }) => status === 'rejected')) throw trouble;
    return undefined;
  }
  const items = mergeItems([...lists.map(itemsOf), ...(here.length === 0 ? [] : [fetched(catalog, folder)])]);
  const digests = lists.map(({ facts }) => facts.digest);
  const state = createHash('sha256').update(JSON.stringify([digests, here.length === 0 ? 0 : catalog.version()]));
  return { state: state.digest('base64url'), headers: headersOf(lists, trouble), items, close };
}

/** The oldest of all decides, and that somebody could not be asked. */
function headersOf(lists: readonly OpenArtifact[], trouble: AirlockError | undefined): string[] {
  const all = lists.map(({ headers = [] }) => ({
    cache: headers[1],
    status: headers[3] ?? '',
    age: Number(headers[5] ?? 0),
  }));
  const worst = ['STALE', 'MISS', 'HIT'].flatMap((cache) => all.filter((each) => each.cache === cache))[0];
  const cache = trouble === undefined ? (worst?.cache ?? 'HIT') : 'STALE';
  const status =
    trouble === undefined || worst?.cache === 'STALE'
      ? (worst?.status ?? 'airlock; hit')
      : `airlock; hit; detail=${trouble.code}`;
  return ['X-Cache', cache, 'Cache-Status', status, 'Age', String(Math.max(0, ...all.map(({ age }) => age)))];
}

function troubleOf(error: unknown): AirlockError {
  if (error instanceof AirlockError && error.code.startsWith('upstream.')) return error;
  throw error;
}

async function firstOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  for await (const item of items) return [item];
  return [];
}

async function* fetched(catalog: Catalog, folder: string): AsyncGenerator<ListedItem> {
  for await (const item of pulledFolder(catalog, folder)) {
    if (item.type === 'folder') {
      yield item;
      continue;
    }
    const facts = readKept(item.pulled);
    if (facts === undefined) continue;
    const { digest, size } = item.pulled;
    const modified = new Date(facts.modified ?? facts.fetchedAt);
    yield { type: 'file', name: item.name, size, digest, modified, verification: facts.verification };
  }
}

const itemSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('repository'), name: z.string(), kind: z.string(), revision: z.number() }),
  z.object({ type: z.literal('folder'), name: z.string() }),
  z.object({
    type: z.literal('file'),
    name: z.string(),
    size: z.number(),
    digest: z.string(),
    modified: z.iso.datetime().transform((text) => new Date(text)),
    verification: z.string(),
  }),
]);

/** The items of a listing as our servers write it: JSON, each item on a line of its own. @throws upstream.unusable */
async function* itemsOf(artifact: OpenArtifact): AsyncGenerator<ListedItem> {
  let isHead = true;
  for await (const line of linesOf(artifact)) {
    if (isHead) {
      if (!line.endsWith('"items":[')) throw unusable();
      isHead = false;
    } else if (line !== ']}' && line !== '') {
      yield parseItem(line.replace(/,$/, ''));
    }
  }
}

function parseItem(line: string): ListedItem {
  try {
    const item = itemSchema.parse(JSON.parse(line));
    if (item.name === '' || /[/\\]|^\.{1,2}$/.test(item.name)) throw new Error('it has a name that leads elsewhere');
    return item;
  } catch (cause) {
    throw unusable(cause);
  }
}

async function* linesOf(artifact: OpenArtifact): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const buffer = Buffer.alloc(limits.http.smallBuffer);
  let rest = '';
  for (let at = 0; ; ) {
    const length = await artifact.readAt(buffer, at);
    at += length;
    rest += decoder.decode(buffer.subarray(0, length), { stream: length > 0 });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > limits.proxy.listingLine) throw unusable();
    yield* lines;
    if (length > 0) continue;
    yield rest;
    return;
  }
}

function unusable(cause?: unknown): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    'What a source answered is no list of a folder, as our servers give it.',
    {
      cause,
    },
  );
}
