/**
 * One large file of a site, staged. What has come is kept when the connection breaks, the sync is interrupted or its process
 * is killed, and the next attempt goes on from there, if the site says that the file is still the same.
 */
import { z } from 'zod';
import { AirlockError, isAirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { BlobWriter, Digest } from '../../repo/blobs/blob-store.ts';
import { parseDigest } from '../../repo/blobs/layout.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { unexpectedContent } from '../../repo/formats/unexpected-content.ts';
import type { FetchOptions, UpstreamAnswer, UpstreamFacts } from '../../repo/upstream/upstream.ts';
import { batches } from './batches.ts';
import type { MirrorSite } from './rule.ts';

export interface Wanted {
  /** Of the site, as in its URLs. */
  readonly path: string;
  /** Bytes, as a listing or HEAD says; null: nobody does. */
  readonly size: number | null;
  /** What the bytes must be, as far as somebody says so; whoever takes them checks it. */
  readonly digest: Digest | null;
}

export interface Downloaded {
  /** All of the bytes; the caller ends it. */
  readonly writer: BlobWriter;
  readonly facts: UpstreamFacts;
}

/** Of a spool that can be gone on with, as it stands in the catalog. */
const pending = z.object({
  writer: z.string(),
  /** For If-Range. */
  validator: z.string().nullable(),
  size: z.number().nullable(),
  digest: z
    .string()
    .transform((text) => parseDigest(text) ?? null)
    .nullable(),
});

type Pending = z.output<typeof pending>;

/**
 * Fetches a file, or what is missing of it.
 * @throws path.not-found if the site has it no more, upstream.*, space.insufficient, interrupted
 */
export async function download(site: MirrorSite, wanted: Wanted): Promise<Downloaded> {
  const spool = await Spool.open(site, wanted);
  try {
    return { facts: await spool.fill(), writer: spool.writer };
  } catch (error) {
    await spool.leave(error);
    throw error;
  }
}

/** Bytes of the file that are here already, from an attempt before. */
export async function downloaded(site: MirrorSite, { path }: Pick<Wanted, 'path'>): Promise<number> {
  const known = await readPending(site, path);
  if (known === undefined) return 0;
  try {
    const writer = await site.ingest.blobs.resume(known.writer);
    const bytes = front(writer);
    await writer.suspend();
    return bytes;
  } catch (error) {
    if (isAirlockError(error, 'blob.missing', 'blob.busy')) return 0;
    throw error;
  }
}

/** Takes the note of a spool away, once its bytes are stored, or turned out to be of no use. */
export async function forgetDownload({ ingest, name }: MirrorSite, path: string): Promise<void> {
  await ingest.catalog.setMeta(keyOf(name, path), undefined);
}

class Spool {
  writer: BlobWriter;
  readonly #site: MirrorSite;
  readonly #wanted: Wanted;
  /** What is there is of a content with these. */
  #validator: string | null;
  #size: number | null;

  private constructor(site: MirrorSite, wanted: Wanted, writer: BlobWriter, known?: Pending) {
    this.#site = site;
    this.#wanted = wanted;
    this.writer = writer;
    this.#validator = known?.validator ?? null;
    this.#size = known?.size ?? wanted.size;
  }

  static async open(site: MirrorSite, wanted: Wanted): Promise<Spool> {
    const { blobs } = site.ingest;
    const known = await readPending(site, wanted.path);
    if (known !== undefined && isOfUse(known, wanted)) {
      try {
        return new Spool(site, wanted, await blobs.resume(known.writer), known);
      } catch (error) {
        if (!isAirlockError(error, 'blob.missing', 'blob.busy')) throw error;
      }
    }
    return new Spool(site, wanted, await blobs.create({ resumable: true }));
  }

  /** As long as each attempt brings something new, what broke off is gone on with at once. */
  async fill(): Promise<UpstreamFacts> {
    for (let resumes = 0; ; resumes += 1) {
      const before = front(this.writer);
      try {
        return await this.#attempt();
      } catch (error) {
        this.#site.signal.throwIfAborted();
        const isChanged = isAirlockError(error, 'upstream.changed');
        if (isChanged) await this.#restart();
        const isNew = isChanged || front(this.writer) > before;
        const mayPass = isAirlockError(error, 'upstream.failed', 'upstream.unreachable', 'upstream.changed');
        if (!mayPass || !isNew || resumes >= limits.mirror.resumes) throw error;
      }
    }
  }

  /** Keeps what can be gone on with. A full disk is not kept full. */
  async leave(error: unknown): Promise<void> {
    const isWorthless = isAirlockError(error, 'upstream.unusable', 'path.not-found', 'space.insufficient');
    if (!isWorthless) await this.writer.suspend().catch(() => undefined);
    else await forgetDownload(this.#site, this.#wanted.path).catch(() => undefined);
    await this.writer.cancel();
  }

  async #attempt(): Promise<UpstreamFacts> {
    const { path, digest } = this.#wanted;
    const { upstream, signal } = this.#site;
    if (front(this.writer) > 0 && this.#validator === null && digest === null) await this.#restart();
    const start = front(this.writer);
    const isPart = start > 0;
    const options: FetchOptions = { start, signal, ...(isPart ? { validator: this.#validator } : {}) };
    if (isPart && start === this.#size) return await this.#confirm();
    const answer = await upstream.fetch(path, options);
    if (answer.type !== 'content') throw gone(path);
    try {
      const { facts, range } = answer;
      const isOther = this.#size !== null && facts.size !== null && this.#size !== facts.size;
      if (isPart && range !== null && isOther) throw changed(path);
      if (isPart && range === null) await this.#restart(); // the whole came: it changed, or the site knows no ranges
      await this.#note(facts);
      await this.#pump(answer, range?.start ?? 0);
      return facts;
    } finally {
      answer.body.destroy();
    }
  }

  /** All is here already: whether it still is the same, its head tells. */
  async #confirm(): Promise<UpstreamFacts> {
    const facts = await this.#site.upstream.head(this.#wanted.path, { signal: this.#site.signal });
    if (facts === undefined) throw gone(this.#wanted.path);
    const isSame = this.#wanted.digest !== null || facts.strongValidator === this.#validator;
    if (isSame && (facts.size === null || facts.size === this.#size)) return facts;
    throw changed(this.#wanted.path);
  }

  /** While one batch is being written and hashed, the next one comes. */
  async #pump({ body }: Extract<UpstreamAnswer, { type: 'content' }>, start: number): Promise<void> {
    const { signal } = this.#site;
    const most = this.#size ?? limits.proxy.unknownSize;
    let position = start;
    let writing: Promise<void> = Promise.resolve();
    try {
      for await (const batch of batches(body, this.#site)) {
        if (position === 0) assertNoPage(this.#wanted.path, batch);
        if (position + batch.byteLength > most) throw tooLong(this.#wanted.path, most);
        await writing;
        writing = this.writer.writeAt(position, batch);
        writing.catch(() => undefined); // whoever comes next hears of it
        position += batch.byteLength;
      }
    } finally {
      await writing; // also what came before something failed
    }
    signal.throwIfAborted();
    if (this.#size !== null && position < this.#size) throw brokeOff(this.#wanted.path, position, this.#size);
  }

  /** Writes down, before the first byte, what is about to come: whoever is killed can go on. */
  async #note({ strongValidator, size }: UpstreamFacts): Promise<void> {
    this.#validator = strongValidator;
    this.#size = size ?? this.#wanted.size;
    const { ingest, name } = this.#site;
    const { path, digest } = this.#wanted;
    const note: Pending = { writer: this.writer.id, validator: this.#validator, size: this.#size, digest };
    await ingest.catalog.setMeta(keyOf(name, path), JSON.stringify(note));
  }

  async #restart(): Promise<void> {
    await this.writer.cancel();
    this.#validator = null;
    this.#size = this.#wanted.size;
    this.writer = await this.#site.ingest.blobs.create({ resumable: true });
  }
}

/** Another digest or size than before is another file. */
function isOfUse(known: Pending, wanted: Wanted): boolean {
  const isOther = known.digest !== null && wanted.digest !== null && known.digest !== wanted.digest;
  return !isOther && (known.size === null || wanted.size === null || known.size === wanted.size);
}

async function readPending({ ingest, name }: MirrorSite, path: string): Promise<Pending | undefined> {
  const text = await ingest.catalog.meta(keyOf(name, path));
  if (text === undefined) return undefined;
  try {
    return pending.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function keyOf(site: string, path: string): string {
  return `mirror:${site}:${path}`;
}

/** How far it is whole from its beginning on. */
function front(writer: BlobWriter): number {
  const [first] = writer.have();
  return first?.start === 0 ? first.end : 0;
}

function assertNoPage(path: string, head: Uint8Array): void {
  const what = head.byteLength === 0 ? undefined : unexpectedContent(head);
  if (what === undefined) return;
  throw new AirlockError('upstream.unusable', `What came in place of ${quoteUnsafe(path)} ${what}.`);
}

function changed(path: string): AirlockError {
  return new AirlockError('upstream.changed', `${quoteUnsafe(path)} changed at the site while it was being fetched.`);
}

function gone(path: string): AirlockError {
  return new AirlockError('path.not-found', `The site lists ${quoteUnsafe(path)}, but does not have it.`);
}

function tooLong(path: string, most: number): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `More came of ${quoteUnsafe(path)} than the ${most} bytes that it may have. Nothing of it was kept.`,
  );
}

function brokeOff(path: string, position: number, size: number): AirlockError {
  return new AirlockError(
    'upstream.failed',
    `The answer for ${quoteUnsafe(path)} ended at byte ${position} of ${size}. What came is kept, and gone on with.`,
  );
}
