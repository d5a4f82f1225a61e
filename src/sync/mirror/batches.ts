/** A body in batches that are worth a write each. */
import { limits } from '../../limits.ts';
import type { UpstreamBody } from '../../repo/upstream/upstream.ts';
import type { MirrorSite } from './rule.ts';

/**
 * @returns the bytes of a body in turn, limits.chunk at a time; what came before a failure comes before it. A batch stays as it
 *   is until the next but one is asked for: one may be written while another is being filled
 * @throws what the body throws; the signal's reason
 */
export async function* batches(
  body: UpstreamBody,
  { signal, progress, bandwidth }: Pick<MirrorSite, 'signal' | 'progress' | 'bandwidth'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const onBytes = async (bytes: number): Promise<void> => {
    signal.throwIfAborted();
    progress.advance(bytes);
    await bandwidth.take(bytes);
  };
  yield* body.read === undefined || bandwidth.isLimited
    ? gathered(body, onBytes)
    : filled(body.read.bind(body), onBytes);
}

type OnBytes = (bytes: number) => Promise<void>;

async function* filled(read: NonNullable<UpstreamBody['read']>, onBytes: OnBytes) {
  const buffers = [Buffer.allocUnsafeSlow(limits.chunk), Buffer.allocUnsafeSlow(limits.chunk)] as const;
  for (let [buffer, other] = buffers; ; [buffer, other] = [other, buffer]) {
    let length = 0;
    try {
      while (length < buffer.length) {
        const bytes = await read(buffer.subarray(length), limits.proxy.directPiece);
        if (bytes === 0) break;
        length += bytes;
        await onBytes(bytes);
      }
    } catch (error) {
      if (length > 0) yield buffer.subarray(0, length);
      throw error;
    }
    if (length > 0) yield buffer.subarray(0, length);
    if (length < buffer.length) return;
  }
}

async function* gathered(body: UpstreamBody, onBytes: OnBytes) {
  let pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of body) {
      pieces.push(piece);
      length += piece.byteLength;
      await onBytes(piece.byteLength);
      if (length < limits.chunk) continue;
      yield Buffer.concat(pieces);
      [pieces, length] = [[], 0];
    }
  } catch (error) {
    if (length > 0) yield Buffer.concat(pieces);
    throw error;
  }
  if (length > 0) yield Buffer.concat(pieces);
}
