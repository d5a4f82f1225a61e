/**
 * Fetching the files of a repository: counted, bounded, verified, gone on with where they were cut, and from another mirror
 * where one has not got them.
 */
import type { Hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { AirlockError, isAirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { BlobWriter } from '../../../repo/blobs/blob-store.ts';
import { hashFor } from '../../../repo/formats/repodata/checksum-types.ts';
import type { Checksum } from '../../../repo/formats/repodata/read-repomd.ts';
import { throwIfAborted } from '../../../repo/staging.ts';
import type { FetchOptions, UpstreamAnswer, UpstreamFacts } from '../../../repo/upstream/upstream.ts';
import type { MirrorSite } from '../rule.ts';
import type { Root } from './run.ts';

/** A file that metadata names. */
export interface WantedFile {
  /** Below the repository, as in a URL. */
  readonly url: string;
  readonly checksum: Checksum;
  /** Bytes; undefined where the metadata does not say. */
  readonly size: number | undefined;
  /** Bytes that are read at most. */
  readonly most: number;
}

export type SmallFile =
  | { readonly type: 'content'; readonly bytes: Buffer; readonly facts: UpstreamFacts }
  | { readonly type: 'not-modified' }
  | { readonly type: 'missing' };

/** What a file is written into: a writer of the store, or memory. */
type Sink = Pick<BlobWriter, 'writeAt' | 'cancel'>;

type Content = Extract<UpstreamAnswer, { type: 'content' }>;

export class Fetcher {
  requests = 0;
  /** Of bodies that were read. */
  bytes = 0;
  readonly #site: MirrorSite;

  constructor(site: MirrorSite) {
    this.#site = site;
  }

  /** @throws upstream.*, interrupted */
  async readSmall(root: Root, url: string, most: number, unless?: FetchOptions['unless']): Promise<SmallFile> {
    const answer = await this.#ask(root, url, unless === undefined ? {} : { unless });
    if (answer.type !== 'content') return { type: answer.type };
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of this.#body(answer)) {
      length += piece.byteLength;
      if (length > most) throw tooLong(root, url, most);
      pieces.push(piece);
    }
    if (answer.facts.size !== null && length < answer.facts.size) throw cut(root, url, length);
    return { type: 'content', bytes: Buffer.concat(pieces), facts: answer.facts };
  }

  /**
   * Fetches a file from the first of the places that has it as it should be.
   * @param open makes what it is written into, for each place anew
   * @returns what was written into, which the caller ends
   * @throws checksum.mismatch, repodata.invalid for a kind of checksum that is not known, path.not-found where no place has
   *   it, upstream.*, space.insufficient, interrupted
   */
  async fetch<S extends Sink>(roots: readonly Root[], wanted: WantedFile, open: () => Promise<S>): Promise<S> {
    let failure: unknown;
    for (let round = 0; round < limits.mirror.rounds; round += 1) {
      if (round > 0) await waitFor(round, this.#site.signal);
      const failures: unknown[] = [];
      for (const root of roots) {
        try {
          return await this.#fetchFrom(root, wanted, await open());
        } catch (error) {
          throwIfAborted(this.#site.signal);
          if (!isAirlockError(error, ...OF_THE_PLACE)) throw error;
          failures.push(error);
        }
      }
      failure ??= failures[0];
      if (!failures.some(mayPass)) break;
    }
    throw failure;
  }

  async #fetchFrom<S extends Sink>(root: Root, wanted: WantedFile, sink: S): Promise<S> {
    try {
      const file = new Arriving(root, wanted, sink);
      for (let resumes = 0; !file.isWhole; resumes += 1) {
        const before = file.position;
        try {
          await this.#continue(file);
        } catch (error) {
          const isWorthIt = mayPass(error) && file.position > before && file.validator !== null;
          if (!isWorthIt || resumes >= limits.mirror.resumes) throw error;
          throwIfAborted(this.#site.signal);
        }
      }
      file.verify();
      return sink;
    } catch (error) {
      await sink.cancel();
      throw error;
    }
  }

  async #continue(file: Arriving): Promise<void> {
    const { root, wanted, position, validator } = file;
    const answer = await this.#ask(root, wanted.url, position === 0 ? {} : { start: position, validator });
    if (answer.type !== 'content') throw missing(root, wanted.url);
    file.begin(answer);
    for await (const piece of this.#body(answer)) {
      await file.add(piece);
      this.#site.progress.advance(piece.byteLength);
    }
    file.end();
  }

  async #ask(root: Root, url: string, options: FetchOptions): Promise<UpstreamAnswer> {
    throwIfAborted(this.#site.signal);
    this.requests += 1;
    return await root.upstream.fetch(`${root.prefix}${url}`, { ...options, signal: this.#site.signal });
  }

  async *#body({ body }: Content): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const piece of body) {
        this.bytes += piece.byteLength;
        yield piece;
        await this.#site.bandwidth.take(piece.byteLength);
      }
    } finally {
      body.destroy();
    }
  }
}

/** A file on its way. */
class Arriving {
  readonly root: Root;
  readonly wanted: WantedFile;
  position = 0;
  validator: string | null = null;
  isWhole = false;
  readonly #sink: Sink;
  #hash: Hash;

  constructor(root: Root, wanted: WantedFile, sink: Sink) {
    this.root = root;
    this.wanted = wanted;
    this.#sink = sink;
    this.#hash = this.#newHash();
  }

  begin({ facts, range }: Content): void {
    const { size } = this.wanted;
    if (facts.size !== null && size !== undefined && facts.size !== size) throw this.#wrongSize(facts.size);
    if (range === null && this.position > 0) {
      this.position = 0;
      this.#hash = this.#newHash();
    }
    this.validator = facts.strongValidator;
  }

  async add(piece: Uint8Array): Promise<void> {
    const { size, most, url } = this.wanted;
    const next = this.position + piece.byteLength;
    if (size !== undefined && next > size) throw this.#wrongSize(next);
    if (next > most) throw tooLong(this.root, url, most);
    await this.#sink.writeAt(this.position, piece);
    this.#hash.update(piece);
    this.position = next;
  }

  end(): void {
    const { size, url } = this.wanted;
    if (size !== undefined && this.position < size) throw cut(this.root, url, this.position);
    this.isWhole = true;
  }

  verify(): void {
    const found = this.#hash.digest('hex');
    const { checksum, url } = this.wanted;
    if (found === checksum.value) return;
    throw new AirlockError(
      'checksum.mismatch',
      `${address(this.root, url)} is not what the metadata says: its ${checksum.type} is ${found}, it should be ${checksum.value}. Nothing of it was kept. If it stays so, tell whoever runs the site.`,
      { details: { path: url, expected: checksum.value, found } },
    );
  }

  #newHash(): Hash {
    const hash = hashFor(this.wanted.checksum);
    if (hash !== undefined) return hash;
    throw new AirlockError(
      'repodata.invalid',
      `The metadata gives a checksum of the kind ${JSON.stringify(this.wanted.checksum.type.slice(0, 40))}, which is not known. Tell whoever made the repository.`,
    );
  }

  #wrongSize(found: number): AirlockError {
    const { size, url, checksum } = this.wanted;
    return new AirlockError(
      'checksum.mismatch',
      `${address(this.root, url)} is not what the metadata says: it has ${found} bytes or more, it should have ${size}. Nothing of it was kept. If it stays so, tell whoever runs the site.`,
      { details: { path: url, expected: checksum.value } },
    );
  }
}

/** Another place may do better. */
const OF_THE_PLACE = [
  'upstream.unreachable',
  'upstream.failed',
  'upstream.unauthorized',
  'upstream.unusable',
  'upstream.changed',
  'upstream.address-refused',
  'path.not-found',
  'checksum.mismatch',
] as const;

/** The same place may do better later. */
function mayPass(error: unknown): boolean {
  return isAirlockError(error, 'upstream.unreachable', 'upstream.failed', 'upstream.changed');
}

/** Before another round: longer each time. @param round 1 for the second one @throws interrupted */
export async function waitFor(round: number, signal: AbortSignal): Promise<void> {
  await sleep(limits.mirror.retryDelay * 2 ** (round - 1), undefined, { signal }).catch(() => throwIfAborted(signal));
}

/** The URL of a file, for people. */
export function address({ upstream, prefix }: Root, url: string): string {
  return upstream.address(`${prefix}${url}`);
}

function missing(root: Root, url: string): AirlockError {
  return new AirlockError(
    'path.not-found',
    `${address(root, url)} is not there (404), though the metadata of the repository names it. Try again later; if it stays so, tell whoever runs the site, or leave it out with "exclude".`,
    { details: { path: url } },
  );
}

function cut(root: Root, url: string, length: number): AirlockError {
  return new AirlockError('upstream.failed', `${address(root, url)} ended early, after ${length} bytes. Try again.`);
}

function tooLong(root: Root, url: string, most: number): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `${address(root, url)} has more than ${most} bytes, which no such file has. Nothing of it was kept.`,
  );
}
