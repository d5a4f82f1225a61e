/**
 * The HA twin, as it is read: nothing that it says is believed before it was looked at.
 */
import { z } from 'zod';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { isRepositoryName, repositoryPath } from '../../repo/catalog/names.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { BLOBS, REPLICA } from '../../repo/http/replica.ts';
import { comparePaths, type ListingQuestion } from '../../repo/http/replica-listing.ts';
import type { Upstream, UpstreamAnswer, UpstreamBody } from '../../repo/upstream/upstream.ts';
import { manifestParts } from '../bundle/manifest.ts';
import { digestSchema } from '../trust/revocations.ts';

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const name = z.string().min(1).max(64);
const kind = z.enum(['file', 'rpm', 'policy']);
const path = z.string().refine(isPath, { error: 'no path of a repository' });

const stateSchema = z.object({
  format: z.literal(1),
  node: name,
  instance: name,
  repositories: z
    .array(
      z.object({
        name: z.string().refine(isRepositoryName, { error: 'no name of a repository' }),
        kind,
        revision: count,
        at: count,
        key: z.string().max(128).nullable(),
      }),
    )
    .max(limits.replica.repositories),
});

const headSchema = z.object({
  format: z.literal(1),
  node: name,
  kind,
  isVerbatim: z.boolean(),
  revision: count,
  at: count,
  isCommon: z.boolean(),
  seen: z.object({ peer: name, revision: count, at: count }).nullable(),
  refused: z.array(z.object({ path, since: count })).max(limits.replica.refused),
});

const entrySchema = z.object({
  path,
  digest: digestSchema,
  since: count,
  isOwn: z.boolean(),
  artifact: manifestParts.entry.shape.artifact.optional(),
  within: z.object({ container: digestSchema, start: count }).nullable().optional(),
});
const goneSchema = z.object({ gone: path, isWithdrawn: z.boolean() });
const endSchema = z.object({ end: count });

export type PeerState = z.infer<typeof stateSchema>;
export type PeerHead = z.infer<typeof headSchema>;
export type PeerEntry = z.infer<typeof entrySchema>;
/** What the twin has at a path, or that it let go of it. */
export type PeerLine = { readonly path: string } & (PeerEntry | { readonly isWithdrawn: boolean });

export interface PeerListing {
  readonly head: PeerHead;
  /** Ascending; to be read once, to its end or not. @throws peer.invalid, upstream.* */
  readonly lines: AsyncIterable<PeerLine>;
  /** Whoever does not read to the end says so. */
  close(): void;
}

export class Peer {
  readonly #upstream: Upstream;

  /** @param upstream whose paths begin at the twin's root. It stays the caller's. */
  constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  /** For people. */
  get origin(): string {
    return this.#upstream.origin;
  }

  /**
   * @param etag of what was told before
   * @returns undefined if nothing changed since
   * @throws peer.invalid, upstream.*
   */
  async state(
    signal: AbortSignal,
    etag: string | null,
  ): Promise<{ readonly state: PeerState; readonly etag: string | null } | undefined> {
    const unless = etag === null ? {} : { unless: { etag, modified: null } };
    const answer = await this.#upstream.fetch(REPLICA.slice(1), { signal, ...unless });
    if (answer.type === 'not-modified') return undefined;
    const { body, facts } = this.#content(answer, 'its repositories. Does it run this version of Airlock?');
    for await (const line of this.#lines(body, limits.replica.stateBytes)) {
      return { state: this.#parse(stateSchema, line), etag: facts.etag };
    }
    throw this.#invalid('its state is empty');
  }

  /** @throws peer.invalid, upstream.* */
  async listing(repository: string, question: ListingQuestion, signal: AbortSignal): Promise<PeerListing> {
    const { from, artifacts, node = '' } = question;
    const query = `from=${from.revision}&at=${from.at}&artifacts=${artifacts}&node=${node}`;
    const answer = await this.#upstream.fetch(`${REPLICA.slice(1)}/${repository}?${query}`, { signal });
    const { body } = this.#content(answer, `the repository ${repository} any more`);
    const lines = this.#lines(body, limits.replica.line);
    try {
      const first = await lines.next();
      if (first.done === true) throw this.#invalid(`of ${repository} it tells nothing`);
      const head = this.#parse(headSchema, first.value);
      return { head, lines: this.#entries(repository, lines), close: () => body.destroy() };
    } catch (error) {
      body.destroy();
      throw error;
    }
  }

  /**
   * Begins to fetch published bytes.
   * @param start of the first byte that is wanted; more may come, from byte 0 on (`start` of the answer)
   * @throws blob.missing if the twin cannot give it, upstream.unusable if it is another file by what the answer's head says,
   *   upstream.*
   */
  async blob(
    { digest, size }: { readonly digest: Digest; readonly size: number },
    { start, signal }: { readonly start: number; readonly signal: AbortSignal },
  ): Promise<{ readonly start: number; readonly body: UpstreamBody }> {
    const validator = `"${digest}"`;
    const path = `${BLOBS.slice(1)}/${digest}`;
    const answer = await this.#upstream.fetch(path, { start, validator, signal }).catch((error: unknown) => {
      if (isAirlockError(error, 'upstream.failed') && error.details.status === 500) return undefined; // it is damaged there
      throw error;
    });
    if (answer?.type !== 'content') throw this.#lost(digest);
    const { body, facts, range } = answer;
    if ((facts.size ?? size) === size && (facts.digest ?? digest) === digest) return { start: range?.start ?? 0, body };
    body.destroy();
    throw this.notThat(digest, 'it is another file');
  }

  #lost(digest: Digest): AirlockError {
    return new AirlockError(
      'blob.missing',
      `The peer ${this.origin} publishes ${digest} and does not have its bytes. Run "airlock verify" there, and import again what is missing.`,
      { details: { origin: this.origin, digest } },
    );
  }

  /** @returns what to throw for bytes that cannot be the ones that were asked for */
  notThat(digest: Digest, why: string): AirlockError {
    return new AirlockError(
      'upstream.unusable',
      `What the peer ${this.origin} gives as ${digest} is not that: ${why}. Nothing of it was kept. See that "peer" names the right server, and that nobody sits in between; "https" with "ca" makes sure of that.`,
      { details: { origin: this.origin, digest } },
    );
  }

  #content(answer: UpstreamAnswer, what: string) {
    if (answer.type === 'content') return answer;
    throw new AirlockError(
      'upstream.failed',
      `The peer ${this.origin} does not have ${what} It is asked again in a moment.`,
      {
        details: { origin: this.origin },
      },
    );
  }

  /** In order, and all of them. */
  async *#entries(repository: string, lines: AsyncIterable<string>): AsyncGenerator<PeerLine> {
    let before: string | undefined;
    let told = 0;
    for await (const text of lines) {
      const line = this.#parse(z.union([entrySchema, goneSchema, endSchema]), text);
      if ('end' in line) {
        if (line.end === told) return;
        throw this.#invalid(`of ${repository} it told ${told} paths in place of ${line.end}`);
      }
      const each = 'gone' in line ? { path: line.gone, isWithdrawn: line.isWithdrawn } : line;
      if (before !== undefined && comparePaths(before, each.path) >= 0) {
        throw this.#invalid(`${quoteUnsafe(each.path)} does not stand in its place`);
      }
      if ('artifact' in each && each.artifact !== undefined && each.artifact.digest !== each.digest) {
        throw this.#invalid(`${quoteUnsafe(each.path)} has two digests`);
      }
      before = each.path;
      told += 1;
      if (told > limits.replica.lines) throw this.#invalid(`${repository} has no end`);
      yield each;
    }
    throw new AirlockError(
      'upstream.failed',
      `The peer ${this.origin} broke off in the midst of ${repository}. It is asked again in a moment.`,
    );
  }

  /** @throws peer.invalid for a line that is longer than `most` bytes */
  async *#lines(body: UpstreamBody, most: number): AsyncGenerator<string> {
    let rest: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const chunk of body) {
        let from = 0;
        for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
          yield Buffer.concat([...rest, chunk.subarray(from, end)]).toString();
          rest = [];
          length = 0;
          from = end + 1;
        }
        rest.push(chunk.subarray(from));
        length += chunk.length - from;
        if (length > most) throw this.#invalid('it tells too much at once');
      }
    } finally {
      body.destroy();
    }
  }

  #parse<T>(schema: z.ZodType<T>, text: string): T {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw this.#invalid('it is no JSON', cause);
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw this.#invalid(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it cannot be read'}`, parsed.error);
  }

  #invalid(why: string, cause?: unknown): AirlockError {
    return new AirlockError(
      'peer.invalid',
      `What the peer ${this.origin} says cannot be used (${why.slice(0, 300)}). Nothing of it was taken. See that "peer" names the right server, and that both run the same version of Airlock.`,
      { cause, details: { origin: this.origin } },
    );
  }
}

function isPath(text: string): boolean {
  try {
    repositoryPath(text);
    return true;
  } catch (error) {
    if (isAirlockError(error, 'path.invalid')) return false;
    throw error;
  }
}
