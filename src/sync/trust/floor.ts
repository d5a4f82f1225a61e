/**
 * Time, as far as a site without a network can tell: the clock, but never before what signed metadata proved to have
 * passed. A clock that is wrong opens nothing that expired, and one bundle from a station whose clock is wrong does not
 * shut a site for ever.
 */
import { limits } from '../../limits.ts';

/** @param floor what is known to have passed; undefined: nothing */
export function timeNow(clock: Date, floor: Date | undefined): Date {
  return floor !== undefined && floor > clock ? floor : clock;
}

/** @param proven when something was signed that was just verified @returns the new floor, never an earlier one */
export function raisedFloor(floor: Date | undefined, proven: Date): Date {
  if (floor === undefined) return proven;
  const most = new Date(floor.getTime() + limits.trust.floorStep);
  const wanted = proven > most ? most : proven;
  return wanted > floor ? wanted : floor;
}
