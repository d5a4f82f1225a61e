/**
 * What the HA twin reads: which repositories there are and which revision each is at (`/api/v1/replica`, one conditional
 * request where nothing changed), a repository's content (`/api/v1/replica/<repository>`, lines of JSON), and published
 * bytes by their digest (`/api/v1/blobs/<digest>`, with ranges).
 *
 * It tells nothing that `/repos/` and the rest of the API do not. Over plain HTTP it vouches for integrity only; that it
 * is the twin who speaks, `https` with `ca:` says.
 */
import { createHash } from 'node:crypto';
import { AirlockError } from '../../errors.ts';
import { type ArtifactSource, etagOf, type OpenArtifact } from '../artifact-source.ts';
import type { Digest } from '../blobs/blob-store.ts';
import { parseDigest } from '../blobs/layout.ts';
import type { RepositoryKind } from '../catalog/artifact.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { REPOMD_SIGNATURE } from '../packages/prepare-change.ts';
import type { TrustedBlobs } from '../trusted-blobs.ts';
import type { BufferPool } from './buffer-pool.ts';
import { evaluateConditions } from './conditionals.ts';
import { answerContent } from './content.ts';
import { type Exchange, sendText } from './exchange.ts';
import { listingOf } from './replica-listing.ts';
import { atOneMoment, nodeOf, type RevisionMark, revisionMark } from './replica-marks.ts';
import { parsePath } from './request-path.ts';
import { ResponseWriter } from './response-writer.ts';

export const REPLICA = '/api/v1/replica';
export const BLOBS = '/api/v1/blobs';

export interface ReplicaState {
  readonly format: 1;
  /** The data directory's name, and that of the process which serves it: whoever meets his own asks himself. */
  readonly node: string;
  readonly instance: string;
  readonly repositories: readonly ReplicatedRepository[];
}

/** A repository in which something was published. */
export interface ReplicatedRepository extends RevisionMark {
  readonly name: string;
  readonly kind: RepositoryKind;
  /** Fingerprint of the key that signed its metadata; null where there is none. */
  readonly key: string | null;
}

export interface ReplicaParts {
  readonly catalog: Catalog;
  readonly trusted: TrustedBlobs;
  readonly pool: BufferPool;
  /** A name of this process, for `ReplicaState`. */
  readonly instance: string;
}

/** Answers the twin. */
export class ReplicaApi {
  readonly #parts: ReplicaParts;
  readonly #blobs: ArtifactSource;
  #state: { readonly version: number; readonly text: string; readonly etag: string } | undefined;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
    this.#blobs = { open: (path) => openPublished(parts, path) };
  }

  /**
   * Answers GET and HEAD.
   * @returns false if the path is none of these, and nothing was done
   * @throws http.bad-request, path.not-found, and what content.ts throws
   */
  async answer(exchange: Exchange, path: string, query: string): Promise<boolean> {
    const isBlob = path.startsWith(`${BLOBS}/`);
    if (!isBlob && path !== REPLICA && !path.startsWith(`${REPLICA}/`)) return false;
    exchange.kind = isBlob ? 'content' : 'api';
    const [, , , name = '', ...more] = parsePath(path)?.segments ?? [];
    if (more.length > 0) throw nothingThere();
    if (isBlob) {
      if (!(await answerContent(this.#blobs, name, exchange, this.#parts.pool))) throw nothingThere();
    } else if (name === '') await this.#answerState(exchange);
    else await this.#answerListing(exchange, name, new URLSearchParams(query));
    return true;
  }

  async #answerState(exchange: Exchange): Promise<void> {
    const { text, etag } = await this.#currentState();
    const validators = { etag, modified: null, freshness: 'revalidate' } as const;
    const headers = ['ETag', etag, 'Cache-Control', 'no-cache'];
    if (evaluateConditions(exchange.request.headers, validators) === 'not-modified') {
      exchange.response.writeHead(304, headers).end();
    } else sendText(exchange, 200, text, ['Content-Type', 'application/json', ...headers]);
  }

  async #currentState() {
    const { catalog, instance } = this.#parts;
    const version = catalog.version();
    if (this.#state?.version === version) return this.#state;
    const state: ReplicaState = await atOneMoment(catalog, async () => ({
      format: 1,
      node: await nodeOf(catalog),
      instance,
      repositories: await repositoriesOf(catalog),
    }));
    const text = `${JSON.stringify(state)}\n`;
    this.#state = { version, text, etag: `"${createHash('sha256').update(text).digest('hex')}"` };
    return this.#state;
  }

  /** A page at a time, no faster than the twin takes it. */
  async #answerListing({ request, response }: Exchange, name: string, query: URLSearchParams): Promise<void> {
    const from = { revision: wholeNumber(query.get('from')), at: wholeNumber(query.get('at')) };
    const artifacts = Math.min(from.revision, wholeNumber(query.get('artifacts')));
    const node = query.get('node') ?? undefined;
    const listing = await listingOf(this.#parts.catalog, name, { from, artifacts, node });
    if (listing === undefined) throw nothingThere();
    response.writeHead(200, ['Content-Type', 'application/x-ndjson', 'Cache-Control', 'no-cache']);
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const writer = new ResponseWriter(response);
    let text = `${JSON.stringify(listing.head)}\n`;
    for await (const line of listing.lines) {
      text += `${JSON.stringify(line)}\n`;
      if (text.length < PIECE) continue;
      if (!(await writer.write(Buffer.from(text)))) return;
      text = '';
    }
    response.end(text);
  }
}

/** Characters that are sent at once. */
const PIECE = 64 * 1024;

async function repositoriesOf(catalog: Catalog): Promise<ReplicatedRepository[]> {
  const found: ReplicatedRepository[] = [];
  for (const { name, kind } of await catalog.repositories()) {
    const mark = await revisionMark(catalog, name);
    if (mark !== undefined) found.push({ name, kind, ...mark, key: await signingKeyOf(catalog, name) });
  }
  return found;
}

/** @returns the fingerprint of the key that signed a repository's metadata, null if nobody did */
export async function signingKeyOf(catalog: Catalog, repository: string): Promise<string | null> {
  const key = (await catalog.lookup(repository, REPOMD_SIGNATURE))?.artifact.facts.key;
  return typeof key === 'string' ? key : null;
}

/** Bytes that some published revision holds. */
async function openPublished({ catalog, trusted }: ReplicaParts, name: string): Promise<OpenArtifact | undefined> {
  const digest: Digest | undefined = parseDigest(name);
  const [entry] = digest === undefined ? [] : await catalog.entriesOf(digest);
  if (digest === undefined || entry === undefined) return undefined;
  const { size, verification } = entry.artifact;
  const reader = await trusted.open(digest);
  return {
    facts: {
      name: digest,
      mediaType: 'application/octet-stream',
      digest,
      size,
      modified: null,
      etag: etagOf(digest),
      freshness: 'immutable',
      verification: verification.status,
    },
    readAt: (into, position) => reader.readAt(into, position),
    close: () => reader.close(),
  };
}

/** @throws http.bad-request */
function wholeNumber(text: string | null): number {
  if (text === null) return 0;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new AirlockError('http.bad-request', 'from, at and artifacts take whole numbers.');
}

function nothingThere(): AirlockError {
  return new AirlockError('path.not-found', 'There is no such repository, or no published file has this digest.');
}
