/**
 * Which source has which versions: all are asked, as before a download (vendor.md A6).
 */
import { z } from 'zod';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { asError } from './ask.ts';
import type { Source, Sources } from './sources.ts';

const releasesSchema = z.array(
  z.object({ release: z.string(), version: z.string(), file: z.string(), repository: z.string(), path: z.string() }),
);

export type Version = z.output<typeof releasesSchema>[number];

export interface SourceVersions {
  readonly name: string;
  readonly kind: Source['kind'];
  /** null: it could not be asked, or it is a site on the internet, which has no such list. */
  readonly versions: readonly Version[] | null;
  readonly error: AirlockError | undefined;
}

/** Asks all at once. A source that fails is told of, and keeps nobody from the others' answers. @throws interrupted */
export async function askVersions(sources: Sources, signal: AbortSignal): Promise<SourceVersions[]> {
  const answers = await Promise.all(sources.all.map((source) => askOne(source, signal)));
  signal.throwIfAborted();
  return answers;
}

async function askOne(source: Source, signal: AbortSignal): Promise<SourceVersions> {
  const { name, kind, upstream } = source;
  if (kind === 'internet') return { name, kind, versions: null, error: undefined };
  try {
    const answer = await upstream.fetch('api/v1/releases', { signal });
    source.health.note();
    if (answer.type !== 'content') throw strange(name);
    return { name, kind, versions: await readReleases(answer.body, name), error: undefined };
  } catch (error) {
    if (!(error instanceof AirlockError)) throw error;
    if (error.code !== 'interrupted' && error.code !== 'upstream.unusable') source.health.note(asError(error));
    return { name, kind, versions: null, error };
  }
}

/** @throws upstream.unusable */
async function readReleases(body: AsyncIterable<Uint8Array>, name: string): Promise<Version[]> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.byteLength;
    if (length > limits.proxy.releases) break;
    pieces.push(piece);
  }
  try {
    return releasesSchema.parse(JSON.parse(Buffer.concat(pieces).toString()));
  } catch (cause) {
    throw strange(name, cause);
  }
}

function strange(name: string, cause?: unknown): AirlockError {
  return new AirlockError('upstream.unusable', `${name} does not answer as a conductor does.`, { cause });
}

/** Remembers the answers for a moment, and asks once for all who want to know at the same time. */
export class KnownVersions {
  readonly #sources: Sources;
  readonly #stop = new AbortController();
  #asked: Promise<SourceVersions[]> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  get(): Promise<SourceVersions[]> {
    const now = performance.now();
    if (this.#asked === undefined || now - this.#askedAt > limits.proxy.versionsAge) {
      this.#askedAt = now;
      this.#asked = askVersions(this.#sources, this.#stop.signal);
      this.#asked.catch(() => {
        this.#asked = undefined;
      });
    }
    return this.#asked;
  }

  close(): void {
    this.#stop.abort(new AirlockError('http.draining', 'This server is about to stop.'));
  }
}
