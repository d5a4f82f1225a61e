import { limits } from '../../../limits.ts';
import { beyondLimit } from './iso-fault.ts';

/** What is left of the limits that hold for a whole walk, or one listing: they make an end of it. */
export interface Allowance {
  entries: number;
  continuationBytes: number;
  contentBytes: number;
}

/** @param imageSize bytes of the image: files may share its bytes, within reason */
export function newAllowance(imageSize: number): Allowance {
  const { entries, continuationBytes, contentTimes } = limits.iso;
  return { entries, continuationBytes, contentBytes: contentTimes * imageSize };
}

/** Counts one directory record. @throws iso.limit */
export function spendEntry(allowance: Allowance, position: number): void {
  allowance.entries -= 1;
  if (allowance.entries < 0) throw beyondLimit(position, 'too many files', limits.iso.entries);
}

/** Counts one continuation area of `length` bytes. @throws iso.limit */
export function spendContinuation(allowance: Allowance, length: number, position: number): void {
  allowance.continuationBytes -= Math.max(length, limits.iso.continuationFloor);
  if (allowance.continuationBytes >= 0) return;
  throw beyondLimit(position, 'too many bytes in continuation areas', limits.iso.continuationBytes);
}

/** Counts one section of a file. @throws iso.limit for files that lie on top of each other over and over */
export function spendContent(allowance: Allowance, length: number, position: number): void {
  allowance.contentBytes -= length;
  if (allowance.contentBytes >= 0) return;
  throw beyondLimit(position, 'files that overlap, many times the size of the image', limits.iso.contentTimes);
}
