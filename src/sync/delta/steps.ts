/** A blob on its way to become a recipe: what is copied, and what is new, in the order of the blob. */

/** Bytes from a held blob. */
export interface CopyStep {
  /** In the list of held blobs. */
  readonly base: number;
  readonly offset: number;
  readonly length: number;
}

/** Bytes that no held blob has, as far as is known. */
export interface FreshStep {
  readonly base: null;
  readonly length: number;
}

export type Step = CopyStep | FreshStep;

/** Neighbours become one where they are. */
export class Steps {
  readonly list: Step[] = [];

  add(step: Step): void {
    if (step.length === 0) return;
    const last = this.list.at(-1);
    const isNext =
      last !== undefined &&
      last.base === step.base &&
      (last.base === null || step.base === null || last.offset + last.length === step.offset);
    if (isNext) this.list[this.list.length - 1] = { ...last, length: last.length + step.length };
    else this.list.push(step);
  }

  addAll(steps: Iterable<Step>): void {
    for (const step of steps) this.add(step);
  }
}

export function freshBytes(steps: readonly Step[]): number {
  return steps.reduce((sum, { base, length }) => sum + (base === null ? length : 0), 0);
}
