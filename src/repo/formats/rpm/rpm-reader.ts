import type { ByteSource } from '../../blobs/blob-store.ts';
import { truncated } from './rpm-fault.ts';

/**
 * Reads exactly `length` bytes. The length is checked against the size of the file before memory is taken.
 * @param what names the bytes in the message
 * @throws rpm.truncated; what the source throws
 */
export async function readExactly(source: ByteSource, position: number, length: number, what: string): Promise<Buffer> {
  const end = position + length;
  if (end > source.size) throw truncated(what, end, source.size);
  const bytes = Buffer.alloc(length);
  const read = await source.readAt(bytes, position);
  if (read < length) throw truncated(what, end, position + read);
  return bytes;
}
