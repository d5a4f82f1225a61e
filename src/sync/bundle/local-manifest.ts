/**
 * A manifest is copied to this machine before it is read: what a medium gives a second time may be something else than
 * what was verified the first time.
 */
import { AirlockError } from '../../errors.ts';
import type { BlobStore, BlobWriter } from '../../repo/blobs/blob-store.ts';
import { readAhead } from '../../repo/blobs/read-ahead.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { Carrier } from '../carriers/carrier.ts';
import type { FoundBundle } from './find-bundles.ts';
import { type LocalBytes, localFile, localMemory } from './local-bytes.ts';
import { MANIFEST } from './names.ts';

/**
 * The very bytes that were found. Whoever disposes of it takes the copy away.
 * @throws bundle.invalid if no folder gives them any more; source.lost, space.insufficient
 */
export async function copyManifest(
  blobs: Pick<BlobStore, 'create'>,
  { id, size, folders }: Pick<FoundBundle, 'id' | 'size' | 'folders'>,
): Promise<LocalBytes & AsyncDisposable> {
  for (const { carrier } of folders) {
    const writer = await blobs.create();
    try {
      if (await isCopied(writer, carrier, { id, size })) {
        return { ...(await localBytes(writer, size)), [Symbol.asyncDispose]: () => writer.cancel() };
      }
    } catch (error) {
      await writer.cancel();
      throw error;
    }
    await writer.cancel();
  }
  const where = folders.map(({ carrier }) => quoteUnsafe(carrier.where)).join(', ');
  throw new AirlockError(
    'bundle.invalid',
    `${MANIFEST} at ${where} gives other bytes each time it is read. The medium is worn, or somebody writes to it: copy the bundle again.`,
  );
}

async function isCopied(
  writer: BlobWriter,
  carrier: Carrier,
  { id, size }: Pick<FoundBundle, 'id' | 'size'>,
): Promise<boolean> {
  const file = await carrier.open(MANIFEST);
  try {
    if (file?.size !== size) return false;
    let position = 0;
    for await (const piece of readAhead(file, { start: 0, end: size })) {
      await writer.writeAt(position, piece);
      position += piece.byteLength;
    }
    return (await writer.seal()).digest === `sha256:${id}`;
  } finally {
    await file?.close();
  }
}

/** A store whose partial files other code cannot read gives them to memory; limits.bundle.manifestBytes bounds that. */
async function localBytes(writer: BlobWriter, size: number): Promise<LocalBytes> {
  if (writer.inFile !== undefined) return localFile(writer.inFile, size);
  const bytes = Buffer.alloc(size);
  await writer.readAt(bytes, 0);
  return localMemory(bytes);
}
