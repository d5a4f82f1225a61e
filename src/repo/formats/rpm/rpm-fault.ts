import { AirlockError } from '../../../errors.ts';

const NEXT = 'Fetch or copy the package again and compare its checksum.';

/**
 * The package says something that the RPM format does not allow, or that cannot be true.
 * @param position byte of the file where it says so
 * @returns rpm.invalid
 */
export function invalid(position: number, what: string): AirlockError {
  return new AirlockError('rpm.invalid', `RPM package, byte ${position}: ${what}. ${NEXT}`, { details: { position } });
}

/**
 * The package refers to bytes that are not there.
 * @param end where the bytes that are meant end; @param size where the file ends
 * @returns rpm.truncated
 */
export function truncated(what: string, end: number, size: number): AirlockError {
  const message = `The RPM package is cut short: ${what} reaches to byte ${end}, but the file ends at byte ${size}. ${NEXT}`;
  return new AirlockError('rpm.truncated', message, { details: { end, size } });
}

/**
 * The package asks for more than Airlock is willing to read.
 * @returns rpm.limit
 */
export function beyondLimit(position: number, what: string, limit: number): AirlockError {
  const message = `RPM package, byte ${position}: ${what}; the limit is ${limit}. No usual package needs that much: it is damaged or was made to do harm. ${NEXT}`;
  return new AirlockError('rpm.limit', message, { details: { position, limit } });
}

/**
 * The file is what it should be, but of a kind that Airlock does not read.
 * @param next what the user can do about it
 * @returns rpm.unsupported
 */
export function unsupported(what: string, next: string): AirlockError {
  return new AirlockError('rpm.unsupported', `${what}, which Airlock does not read. ${next}`);
}
