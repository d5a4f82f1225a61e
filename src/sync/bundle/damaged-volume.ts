import { AirlockError } from '../../errors.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import type { ManifestCarried } from './manifest.ts';
import type { VolumeSet } from './volume-set.ts';

/** What to throw where the bytes of a blob are not those that were signed. */
export function damagedVolume(
  { digest, pieces }: ManifestCarried,
  volumes: VolumeSet,
  cause: AirlockError,
): AirlockError {
  const places = [...new Set(pieces.map(({ volume }) => volume))].map((number) => volumes.volume(number));
  const names = places.map(({ name, where }) => `${name} at ${quoteUnsafe(where)}`).join(' or ');
  return new AirlockError(
    'blob.digest-mismatch',
    `${names} is damaged: ${digest} is not what was signed. Nothing was published. Copy or write that medium again ("airlock export --resume" writes what is damaged), and run the same command: it goes on.`,
    { cause, details: { digest, volumes: places.map(({ name }) => name) } },
  );
}
