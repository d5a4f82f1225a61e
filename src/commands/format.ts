import { quoteUnsafe } from '../repo/formats/quote.ts';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** `4346347520` → `4.35 GB`, as vendors' listings count (powers of 1000). */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 would be rounded to a fourth digit.
  for (; value >= 999.5 && unit < UNITS.length - 1; unit += 1) value /= 1000;
  return `${unit === 0 || value >= 999.5 ? Math.round(value) : value.toPrecision(3)} ${UNITS[unit]}`;
}

export type Row = readonly string[];

/** Rows under headings, in the vendor's style: a rule of `=` above and below the headings. */
export function formatTable(headings: Row, rows: readonly Row[]): string {
  const table = new Table(headings);
  for (const row of rows) table.measure(row);
  return [...table.head(), ...rows.map((row) => table.line(row))].join('\n');
}

/**
 * A table too long to be held at once: first every row is measured, then each is formatted. Names from outside may
 * stand in rows: what a terminal would act on is escaped.
 */
export class Table {
  readonly #headings: Row;
  readonly #widths: number[];

  constructor(headings: Row) {
    this.#headings = headings;
    this.#widths = headings.map((heading) => heading.length);
  }

  measure(row: Row): void {
    for (const [column, width] of this.#widths.entries()) {
      this.#widths[column] = Math.max(width, quoteUnsafe(row[column] ?? '').length);
    }
  }

  head(): string[] {
    const rule = this.#widths.map((width) => '='.repeat(width + 2)).join(' ');
    return [rule, this.line(this.#headings), rule];
  }

  line(row: Row): string {
    const cells = row.map((cell, column) => ` ${quoteUnsafe(cell).padEnd(this.#widths[column] ?? 0)} `);
    return cells.join(' ').trimEnd();
  }
}

/** `2025-12-10 00:12:48 UTC` */
export function formatTime(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
