/**
 * Time, as far as a site without a network can tell: the clock, but never before what signed metadata proved to have
 * passed. A clock that is wrong opens nothing that expired, and one bundle or root from a station whose clock is wrong does
 * not shut a site for ever.
 */
import { limits } from '../../limits.ts';

/** The first floor is measured from here where the site's clock has not got so far: this program is no older. */
const PROGRAM_MADE = new Date('2026-11-01T00:00:00Z');

/** @param floor what is known to have passed; undefined: nothing */
export function timeNow(clock: Date, floor: Date | undefined): Date {
  return floor !== undefined && floor > clock ? floor : clock;
}

/**
 * @param proven when something was signed that was just verified
 * @param clock what counts for the first floor, where nothing else is known
 * @returns the new floor, never an earlier one, and at most one step further
 */
export function raisedFloor(floor: Date | undefined, proven: Date, clock: Date): Date {
  const from = floor ?? (clock > PROGRAM_MADE ? clock : PROGRAM_MADE);
  const most = new Date(from.getTime() + limits.trust.floorStep);
  const wanted = proven > most ? most : proven;
  return floor !== undefined && floor > wanted ? floor : wanted;
}
