/** Tells the story while it happens, and sums it up. */
import { formatBytes, formatTable } from '../../src/commands/format.ts';

/** What came of a step. */
export interface Told<T> {
  readonly value: T;
  /** What happened, in one sentence without its full stop. */
  readonly said: string;
  /** What would have failed the drill. */
  readonly checked: readonly string[];
  /** That were moved, if any. */
  readonly bytes?: number;
}

/** A step that ended otherwise than it should. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
}

export class Telling {
  readonly #print: (line: string) => void;
  readonly #rows: string[][] = [];
  readonly #begin = performance.now();

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  /** Does a step, and prints its line. @throws StepFailed with the cause */
  readonly tell = async <T>(title: string, work: () => Promise<Told<T>>): Promise<T> => {
    const begin = performance.now();
    try {
      const { value, said, checked, bytes } = await work();
      const [time, size] = [seconds(performance.now() - begin), bytes === undefined ? '' : formatBytes(bytes)];
      this.#rows.push([title, time, size, String(checked.length)]);
      const list = checked.length === 0 ? '' : ` Checked: ${checked.join(', ')}.`;
      const at = String(this.#rows.length).padStart(2);
      this.#print(`✔ ${at} ${time.padStart(7)} ${size.padStart(8)}  ${title}: ${said}.${list}`);
      return value;
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      throw new StepFailed(`step ${this.#rows.length + 1}, ${title}: ${cause}`, { cause: error });
    }
  };

  /** All steps, in a table. */
  sumUp(): void {
    const checks = this.#rows.reduce((sum, row) => sum + Number(row[3]), 0);
    const total = ['All', seconds(performance.now() - this.#begin), '', String(checks)];
    this.#print(`\n${formatTable(['Step', 'Time', 'Size', 'Checks'], [...this.#rows, total])}`);
  }
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
