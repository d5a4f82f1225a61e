/** Why a path is not served, in words. */
import { AirlockError } from '../errors.ts';

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
