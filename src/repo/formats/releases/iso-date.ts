/**
 * `2016-07-22` from the digits of a vendor's date, whose layout is told by the positions of Y, M and D:
 * `isoDate('072216', 'MMDDYY')`. Two-digit years are of this century.
 * @returns undefined where the calendar has no such day.
 */
export function isoDate(digits: string, layout: 'MMDDYY' | 'MMDDYYYY' | 'YYYYMMDD'): string | undefined {
  const part = (letter: string) => digits.slice(layout.indexOf(letter), layout.lastIndexOf(letter) + 1);
  const date = `${part('Y').padStart(4, '20')}-${part('M')}-${part('D')}`;
  const time = Date.parse(`${date}T00:00:00Z`);
  // Date.parse takes 31 February for a day of March.
  return Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== date ? undefined : date;
}
