import { readFile } from 'node:fs/promises';
import { systemCode } from '../../errors.ts';
import type { ByteRange } from './blob-store.ts';
import { ByteRanges } from './byte-ranges.ts';
import { writeFileDurably } from './durable.ts';

const VERSION = 1;

/**
 * Writes down, durably, which bytes of a partial file can be relied on: `{version, size, ranges: [[start, end], …]}`,
 * `size` being the end of the last range. The bytes must be durable already.
 */
export async function writeJournal(file: string, ranges: readonly ByteRange[]): Promise<void> {
  const journal = {
    version: VERSION,
    size: ranges.at(-1)?.end ?? 0,
    ranges: ranges.map(({ start, end }) => [start, end]),
  };
  await writeFileDurably(file, `${JSON.stringify(journal)}\n`, { mode: 0o600 });
}

/** @returns undefined if the file is not there or is not a journal that this version understands. */
export async function readJournal(file: string): Promise<ByteRanges | undefined> {
  try {
    const journal: unknown = JSON.parse(await readFile(file, 'utf8'));
    return isJournal(journal) ? new ByteRanges(journal.ranges.map(([start, end]) => ({ start, end }))) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

interface Journal {
  readonly ranges: readonly (readonly [number, number])[];
}

function isJournal(value: unknown): value is Journal {
  if (typeof value !== 'object' || value === null) return false;
  if (!('version' in value) || value.version !== VERSION) return false;
  return 'ranges' in value && Array.isArray(value.ranges) && value.ranges.every(isRange);
}

function isRange(value: unknown): value is readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2 || !value.every(Number.isSafeInteger)) return false;
  const [start, end] = value;
  return 0 <= start && start <= end;
}
