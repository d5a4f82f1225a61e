/** From a source into the spool: one stretch of a content, with a look at whether it still is that content. */
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { unexpectedContent } from '../repo/formats/unexpected-content.ts';
import type { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { FetchOptions, UpstreamBody, UpstreamFacts } from '../repo/upstream/upstream.ts';
import { ask, isSame } from './ask.ts';
import { brokeOff, changed, endless, tooLong } from './failures.ts';
import type { Candidate } from './sources.ts';
import type { Spool, Stretch } from './spool.ts';

/** An answer that is open already. */
export interface OpenedBody {
  readonly body: UpstreamBody;
  /** Position of its first byte. */
  readonly start: number;
}

export interface StretchParts {
  readonly candidate: Candidate;
  readonly facts: UpstreamFacts;
  readonly spool: Spool;
  readonly via: string | undefined;
  /** It is never a web page. */
  readonly isBinary: boolean;
  /** Of all that is fetched. */
  readonly bandwidth: Bandwidth;
  readonly signal: AbortSignal;
  readonly onBytes: (count: number) => void;
}

/** @throws upstream.*, space.insufficient, the signal's reason; what came before that is in the spool */
export async function fetchStretch(parts: StretchParts, stretch: Stretch, opened?: OpenedBody): Promise<void> {
  parts.spool.begin(stretch);
  try {
    await pump(parts, stretch, opened ?? (await openStretch(parts, stretch)));
  } finally {
    parts.spool.end(stretch);
  }
}

/** Asks the source, which may have another content by now. */
async function openStretch(
  { candidate, facts, spool, via, signal }: StretchParts,
  stretch: Stretch,
): Promise<OpenedBody> {
  const { size, strongValidator, digest } = facts;
  const { source, path } = candidate;
  const isPart = stretch.position > 0 || (size !== null && stretch.end < size);
  const options: FetchOptions = {
    start: stretch.position,
    ...(size !== null && stretch.end < size ? { end: stretch.end } : {}),
    // With a digest, whatever comes is checked in the end; entity tags of different sources cannot be compared.
    validator: isPart && digest === null ? strongValidator : null,
    onlyIfCached: source.kind === 'peer',
    ...(via === undefined ? {} : { via }),
    signal,
  };
  const answer = await ask(candidate, options);
  if (answer.type !== 'content') throw new AirlockError('upstream.failed', `${source.name} has no ${path} any more.`);
  if (!isSame(answer.facts, facts)) {
    answer.body.destroy();
    throw changed(source.name);
  }
  if (answer.range === null && isPart) spool.forbidSkipping();
  return { body: answer.body, start: answer.range?.start ?? 0 };
}

async function pump(parts: StretchParts, stretch: Stretch, { body, start }: OpenedBody): Promise<void> {
  const { candidate, facts, spool, bandwidth, isBinary, signal, onBytes } = parts;
  const { source } = candidate;
  const cut = () => body.destroy();
  signal.addEventListener('abort', cut, { once: true });
  try {
    let at = start;
    for await (const piece of body) {
      signal.throwIfAborted();
      if (at === 0 && isBinary) assertNoPage(piece);
      const bytes = within(piece, at, stretch);
      at += piece.byteLength;
      assertLength(at, facts.size);
      await spool.write(stretch, bytes);
      onBytes(bytes.byteLength);
      spool.bell.ring();
      await source.bandwidth?.take(bytes.byteLength);
      await bandwidth.take(bytes.byteLength);
      if (stretch.position >= stretch.end) break;
    }
    signal.throwIfAborted();
    if (facts.size === null) spool.markWhole();
    else if (stretch.position < stretch.end) throw brokeOff(stretch.position, stretch.end);
  } catch (error) {
    // A full disk of ours is no fault of the source.
    const isIts = error instanceof AirlockError && error.code.startsWith('upstream.');
    if (!signal.aborted && isIts) source.health.note(error);
    throw error;
  } finally {
    signal.removeEventListener('abort', cut);
    body.destroy();
  }
}

/** What of a piece that begins at `at` belongs to the stretch, which may have been cut short meanwhile. */
function within(piece: Uint8Array, at: number, { position, end }: Stretch): Uint8Array {
  const skipped = Math.min(piece.byteLength, Math.max(0, position - at));
  return piece.subarray(skipped, Math.min(piece.byteLength, skipped + end - position));
}

/** @throws upstream.unusable */
function assertLength(length: number, size: number | null): void {
  if (size === null && length > limits.proxy.unknownSize) throw endless();
  if (size !== null && length > size) throw tooLong(size);
}

/** @throws upstream.unusable */
function assertNoPage(head: Uint8Array): void {
  const what = unexpectedContent(head);
  if (what === undefined || head.byteLength === 0) return;
  throw new AirlockError('upstream.unusable', `What came in place of the file ${what}. Nothing of it was kept.`);
}
