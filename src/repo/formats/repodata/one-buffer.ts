/** Options for zlib that decompress into one buffer of the right size, and no more than that. */
export function oneBuffer(length: number): { chunkSize: number; maxOutputLength: number } {
  return { chunkSize: Math.max(64, length + 1), maxOutputLength: Math.max(1, length) };
}
