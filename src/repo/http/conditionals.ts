/**
 * Conditional requests (RFC 9110, section 13), evaluated in the order of section 13.2.2.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { ArtifactFacts } from '../artifact-source.ts';

export type Validators = Pick<ArtifactFacts, 'etag' | 'modified' | 'freshness'>;

/**
 * @returns what the preconditions of a GET or HEAD make of it: `proceed`, `not-modified` (304) or `failed` (412).
 *   Fields that cannot be read count as absent, but for If-Match, which then matches nothing.
 */
export function evaluateConditions(
  headers: IncomingHttpHeaders,
  validators: Validators,
): 'proceed' | 'not-modified' | 'failed' {
  const ifMatch = headers['if-match'];
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, validators.etag, 'strong')) return 'failed';
  } else if (isAfter(validators.modified, headers['if-unmodified-since']) === true) {
    return 'failed';
  }
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined) return matches(ifNoneMatch, validators.etag, 'weak') ? 'not-modified' : 'proceed';
  return isAfter(validators.modified, headers['if-modified-since']) === false ? 'not-modified' : 'proceed';
}

/**
 * If-Range (section 13.1.5): whether the client's part is of this content, so that its Range field counts.
 *
 * A date vouches for bytes only where a path never holds other bytes: two replacements within one second have
 * the same date, and a client would join the halves of two files (section 8.8.2.2).
 */
export function rangeApplies(ifRange: string | undefined, validators: Validators): boolean {
  if (ifRange === undefined) return true;
  if (/^(W\/)?"/.test(ifRange)) return matches(ifRange, validators.etag, 'strong');
  const date = parseHttpDate(ifRange);
  return (
    date !== undefined &&
    validators.freshness === 'immutable' &&
    validators.modified !== null &&
    wholeSeconds(validators.modified) === date
  );
}

/** Whether one of a list of entity tags is this one; `*` is any. */
function matches(list: string, etag: string | null, comparison: 'strong' | 'weak'): boolean {
  if (list.trim() === '*') return true;
  if (etag === null) return false;
  const opaque = etag.replace(/^W\//, '');
  if (comparison === 'strong' && opaque !== etag) return false;
  const one = /[ \t,]*(W\/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)/y;
  for (let match = one.exec(list); match !== null; match = one.exec(list)) {
    const [, weak, tag] = match;
    if (tag === opaque && (comparison === 'weak' || weak === undefined)) return true;
  }
  return false;
}

/** Undefined where there is nothing to compare. */
function isAfter(modified: Date | null, field: string | undefined): boolean | undefined {
  const date = field === undefined || modified === null ? undefined : parseHttpDate(field);
  return date === undefined || modified === null ? undefined : wholeSeconds(modified) > date;
}

/** Milliseconds, without the part that HTTP dates do not carry. */
function wholeSeconds(date: Date): number {
  return Math.floor(date.getTime() / 1000) * 1000;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const IMF_FIXDATE = /^\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/;
const RFC_850 = /^\w{6,9}, (\d\d)-(\w{3})-(\d\d) (\d\d):(\d\d):(\d\d) GMT$/;
const ASCTIME = /^\w{3} (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})$/;

/**
 * An HTTP date in any of its three forms (section 5.6.7).
 * @returns milliseconds since the epoch, undefined if it is none
 */
export function parseHttpDate(text: string): number | undefined {
  const imf = IMF_FIXDATE.exec(text);
  if (imf !== null) return fromParts(imf[3], imf[2], imf[1], imf[4], imf[5], imf[6]);
  const old = RFC_850.exec(text);
  if (old !== null) return fromParts(fullYear(Number(old[3])), old[2], old[1], old[4], old[5], old[6]);
  const asc = ASCTIME.exec(text);
  if (asc !== null) return fromParts(asc[6], asc[1], asc[2], asc[3], asc[4], asc[5]);
  return undefined;
}

type Part = string | undefined;

function fromParts(year: Part, monthName: Part, day: Part, hour: Part, minute: Part, second: Part): number | undefined {
  const month = MONTHS.indexOf(monthName ?? '');
  const time = Date.UTC(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  const isDate = month >= 0 && new Date(time).getUTCDate() === Number(day) && Number(hour) < 24;
  return isDate ? time : undefined;
}

/** Two digits mean the past where they would lie more than 50 years ahead (section 5.6.7). */
function fullYear(twoDigits: number): string {
  const thisYear = new Date().getUTCFullYear();
  const year = Math.floor(thisYear / 100) * 100 + twoDigits;
  return String(year > thisYear + 50 ? year - 100 : year);
}
