/** What is made is undone at the end, however the end comes. */
import type { Scope } from '../support/scope.ts';

/** The last one made goes first: a process before the folder and the network it works in. */
export class Undoing implements Scope {
  readonly #undos: (() => unknown)[] = [];

  after(undo: () => unknown): void {
    this.#undos.push(undo);
  }

  /** Also what is added meanwhile. @returns what went wrong; the rest is undone nevertheless */
  async run(): Promise<unknown[]> {
    const failures: unknown[] = [];
    for (let undo = this.#undos.pop(); undo !== undefined; undo = this.#undos.pop()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }
}
