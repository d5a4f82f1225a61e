import { AirlockError } from '../../../errors.ts';

const NEXT = 'Fetch or copy the image again and compare its checksum.';

/** What names look like in messages: quoted, control characters escaped, never longer than a line. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}

/**
 * The image says something that ECMA-119, Joliet, SUSP or Rock Ridge do not allow, or that cannot be true.
 * @param position byte of the image where it says so
 * @returns iso.invalid
 */
export function invalid(position: number, what: string, cause?: unknown): AirlockError {
  return new AirlockError('iso.invalid', `ISO image, byte ${position}: ${what}. ${NEXT}`, {
    details: { position },
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * The image refers to bytes that are not there.
 * @param end where the bytes that are meant end; @param size where the image ends
 * @returns iso.truncated
 */
export function truncated(what: string, end: number, size: number): AirlockError {
  const message = `The ISO image is cut short: ${what} reaches to byte ${end}, but the image ends at byte ${size}. ${NEXT}`;
  return new AirlockError('iso.truncated', message, { details: { end, size } });
}

/**
 * The image asks for more than Airlock is willing to read.
 * @returns iso.limit
 */
export function beyondLimit(position: number, what: string, limit: number): AirlockError {
  const message = `ISO image, byte ${position}: ${what}; the limit is ${limit}. No usual image needs that much: it is damaged or was made to do harm. ${NEXT}`;
  return new AirlockError('iso.limit', message, { details: { position, limit } });
}
