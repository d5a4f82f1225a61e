/** Which chunks of a stretch of bytes are held, and where. */
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { type ChunksOptions, chunksOf } from './chunker.ts';
import type { HeldChunks } from './held-chunks.ts';
import { Steps } from './steps.ts';

export interface MatchOptions extends ChunksOptions {
  /** Called with the number of bytes done since the last call; may throw to stop. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** Reads the range once. Where a chunk is held in several places, the one that goes on from the copy before is taken. */
export async function matchChunks(source: ByteSource, held: HeldChunks, options: MatchOptions): Promise<Steps> {
  const steps = new Steps();
  let last = -1;
  for await (const { hash, length } of chunksOf(source, options)) {
    const goesOn = last >= 0 && held.is(last + 1, hash) && held.place(last + 1).blob === held.place(last).blob;
    last = goesOn ? last + 1 : held.find(hash);
    if (last < 0) {
      steps.add({ base: null, length });
    } else {
      const { blob, offset } = held.place(last);
      steps.add({ base: blob, offset, length });
    }
    options.onBytes?.(length);
  }
  return steps;
}
