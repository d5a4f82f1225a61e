/** What every driver demands before staged bytes become a blob. */

import { AirlockError } from '../../errors.ts';
import type { Digest, Expected } from './blob-store.ts';
import type { ByteRanges } from './byte-ranges.ts';

/**
 * @returns the size of the blob that these ranges make up
 * @throws blob.incomplete where there is a gap before the last byte
 */
export function mustHaveNoGap(ranges: ByteRanges): number {
  const gap = ranges.firstGap();
  if (gap === ranges.end) return ranges.end;
  throw new AirlockError(
    'blob.incomplete',
    `Bytes are missing from byte ${gap} on (the last one written is ${ranges.end - 1}). Fetch them and try again.`,
    { details: { firstMissing: gap, end: ranges.end } },
  );
}

/** @returns blob.size-mismatch or blob.digest-mismatch if what is there is not what was expected, else undefined. */
export function mismatch(
  actual: { readonly size: number; readonly digest?: Digest },
  expected: Expected,
): AirlockError | undefined {
  const details = { expected, actual };
  if (expected.size !== undefined && expected.size !== actual.size) {
    return new AirlockError(
      'blob.size-mismatch',
      `Expected ${expected.size} bytes, got ${actual.size}. Nothing was kept; get the file again.`,
      { details },
    );
  }
  if (expected.digest !== undefined && actual.digest !== undefined && expected.digest !== actual.digest) {
    return new AirlockError(
      'blob.digest-mismatch',
      `Expected ${expected.digest}, got ${actual.digest}. Nothing was kept; get the file again.`,
      { details },
    );
  }
  return undefined;
}
