/** Lines that two texts do not share, for texts without a grammar of ours. */
import { limits } from '../../limits.ts';

export interface LineChange {
  /** `same` lines stand only next to others. */
  readonly change: 'added' | 'removed' | 'same';
  readonly line: string;
}

/** Lines shown before and after a change. */
const CONTEXT = 2;

/**
 * The fewest lines to take out and put in (E. Myers, An O(ND) Difference Algorithm, 1986). Where there are more than
 * limits.policy.lineChanges of them, all between the first and the last that differ.
 * @returns at most limits.policy.lines of either text, and how many `more` differ
 */
export function lineDiff(older: string, newer: string): { lines: LineChange[]; more: number } {
  const [a, b] = [linesOf(older), linesOf(newer)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const { middle, more } = edits(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  if (middle.length === 0) return { lines: [], more: 0 };
  const same = (line: string): LineChange => ({ change: 'same', line });
  const before = a.slice(Math.max(0, head - CONTEXT), head).map(same);
  const after = a.slice(a.length - tail, a.length - tail + CONTEXT).map(same);
  return { lines: nearChanges([...before, ...middle, ...after]), more };
}

/** A last line without its line feed is another line. */
function linesOf(text: string): string[] {
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  if (last !== '') lines.push(`${last} (no line feed at the end)`);
  return lines;
}

function edits(a: readonly string[], b: readonly string[]): { middle: LineChange[]; more: number } {
  const rounds = search(a, b);
  if (rounds !== undefined) return { middle: trace(a, b, rounds), more: 0 };
  const middle = wholly(a, b);
  return { middle, more: a.length + b.length - middle.length };
}

function wholly(a: readonly string[], b: readonly string[]): LineChange[] {
  return [
    ...a.slice(0, limits.policy.lines).map((line): LineChange => ({ change: 'removed', line })),
    ...b.slice(0, limits.policy.lines).map((line): LineChange => ({ change: 'added', line })),
  ];
}

/** How far each diagonal was reached, after each round. @returns undefined after too many rounds */
function search(a: readonly string[], b: readonly string[]): Int32Array[] | undefined {
  const rounds: Int32Array[] = [];
  for (let round = 0; round <= limits.policy.lineChanges; round += 1) {
    const before = rounds.at(-1);
    const reached = new Int32Array(2 * round + 1);
    for (let diagonal = -round; diagonal <= round; diagonal += 2) {
      let x = before === undefined ? 0 : start(before, round, diagonal);
      while (x < a.length && x - diagonal < b.length && a[x] === b[x - diagonal]) x += 1;
      reached[diagonal + round] = x;
      if (x >= a.length && x - diagonal >= b.length) return [...rounds, reached];
    }
    rounds.push(reached);
  }
  return undefined;
}

/** Where a diagonal is entered: from the one above by putting a line in, or from the one below by taking one out. */
function start(before: Int32Array, round: number, diagonal: number): number {
  return isDown(before, round, diagonal)
    ? at(before, round - 1, diagonal + 1)
    : at(before, round - 1, diagonal - 1) + 1;
}

function isDown(before: Int32Array, round: number, diagonal: number): boolean {
  if (diagonal === -round) return true;
  return diagonal !== round && at(before, round - 1, diagonal - 1) < at(before, round - 1, diagonal + 1);
}

function at(reached: Int32Array, round: number, diagonal: number): number {
  return reached[diagonal + round] ?? 0;
}

function trace(a: readonly string[], b: readonly string[], rounds: readonly Int32Array[]): LineChange[] {
  const back: LineChange[] = [];
  let [x, y] = [a.length, b.length];
  for (let round = rounds.length - 1; round >= 0; round -= 1) {
    const diagonal = x - y;
    const before = rounds[round - 1];
    const entered = before === undefined ? 0 : start(before, round, diagonal);
    for (; x > entered; x -= 1, y -= 1) back.push({ change: 'same', line: a[x - 1] ?? '' });
    if (before === undefined) break;
    if (isDown(before, round, diagonal)) {
      y -= 1;
      back.push({ change: 'added', line: b[y] ?? '' });
    } else {
      x -= 1;
      back.push({ change: 'removed', line: a[x] ?? '' });
    }
  }
  return back.reverse();
}

function nearChanges(all: readonly LineChange[]): LineChange[] {
  const near = new Set<number>();
  for (const [index, { change }] of all.entries()) {
    if (change === 'same') continue;
    for (let each = index - CONTEXT; each <= index + CONTEXT; each += 1) near.add(each);
  }
  return all.filter((_, index) => near.has(index));
}
