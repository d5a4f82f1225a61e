/**
 * Dates are hints: a date that makes no sense is no date (undefined), never an error.
 * The offset from Greenwich counts quarters of an hour, -48 to 52, and is already contained in the hours.
 */

/** The 7-byte form of directory records and of Rock Ridge's short TF (ECMA-119 9.1.5). */
export function recordDate(bytes: Buffer): Date | undefined {
  const [year, month, day, hour, minute, second] = bytes;
  if (bytes.length < 7 || year === undefined || month === undefined) return undefined;
  return date(1900 + year, month, day ?? 0, hour ?? 0, minute ?? 0, second ?? 0, bytes.readInt8(6));
}

/** The 17-byte form of volume descriptors and of Rock Ridge's long TF (ECMA-119 8.4.26.1). All zeros: not given. */
export function descriptorDate(bytes: Buffer): Date | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)\d\d$/.exec(bytes.toString('latin1', 0, 16));
  if (parts === null || bytes.length < 17) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number);
  return date(year, month, day, hour, minute, second, bytes.readInt8(16));
}

function date(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
  quarters: number,
): Date | undefined {
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31) return undefined;
  if (hour > 23 || minute > 59 || second > 59 || quarters < -48 || quarters > 52) return undefined;
  const local = new Date(0);
  local.setUTCFullYear(year, month - 1, day);
  local.setUTCHours(hour, minute, second);
  if (local.getUTCDate() !== day) return undefined;
  return new Date(local.getTime() - quarters * 15 * 60_000);
}
