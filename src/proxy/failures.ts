/** Why a path is not served, in words. */
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';

export function unusableList(path: string, cause?: Error): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `${path} is no list of repository metadata. ${cause?.message ?? ''}`.trim(),
    {
      cause,
    },
  );
}

export function nobody(path: string): AirlockError {
  return new AirlockError(
    'upstream.unreachable',
    `${path} is not kept here, and there is no source that may be asked for it. Name one, or see whether offline mode or the source type forbid it.`,
  );
}

export function notCached(path: string): AirlockError {
  return new AirlockError('proxy.not-cached', `${path} is not kept here, and the request forbids to ask anybody else.`);
}

export function notVerified(path: string): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `Nobody vouches for ${path}: neither its source nor a checksum file beside it names its digest, and this server serves nothing unverified.`,
  );
}

export function gone(): AirlockError {
  return new AirlockError('interrupted', 'Whoever asked is gone.');
}

export function abandoned(): AirlockError {
  return new AirlockError('interrupted', 'Nobody waits for this file any more. What is there is kept; ask to go on.');
}

export function contradiction(stated: Digest, claimed: Digest): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `The source gives the file the digest ${claimed}, its checksum file or repository ${stated}. Nothing of it was kept.`,
  );
}

export function endless(): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `The other side does not say how long the file is, and it is longer than ${limits.proxy.unknownSize} bytes. Nothing of it was kept.`,
  );
}

export function tooLong(size: number): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `More came than the ${size} bytes that were announced. Nothing was kept.`,
  );
}

export function brokeOff(position: number, end: number): AirlockError {
  return new AirlockError(
    'upstream.failed',
    `The answer ended at byte ${position}, before byte ${end}. It is gone on with.`,
  );
}

export function tooSlow(): AirlockError {
  return new AirlockError(
    'upstream.unreachable',
    'Fetching took longer than is allowed. What is there is kept; ask again.',
  );
}

export function changed(source: string): AirlockError {
  return new AirlockError(
    'upstream.changed',
    `The file changed at ${source} while it was being fetched. It is fetched anew; ask again.`,
  );
}
