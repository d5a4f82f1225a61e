export interface Stages {
  /** How many are worked on at a time, */
  readonly working: number;
  /** and how many more, at most, are being finished meanwhile. */
  readonly finishing: number;
}

/**
 * Does `work` for each, so many at a time, and then `finish` for what came of it, while others are worked on. The first that
 * fails ends it, when those under way have ended.
 */
export async function inStages<T, U>(
  items: readonly T[],
  { working, finishing: most }: Stages,
  work: (item: T) => Promise<U>,
  finish: (done: U) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const finishing = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  const attempt = async (step: () => Promise<void>): Promise<void> => {
    try {
      await step();
    } catch (error) {
      failure ??= { error };
    }
  };
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (failure !== undefined) return;
      await attempt(async () => {
        const done = await work(item);
        while (finishing.size >= most) await Promise.race(finishing);
        const end = attempt(() => finish(done)).finally(() => finishing.delete(end));
        finishing.add(end);
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(working, items.length) }, worker));
  await Promise.all(finishing);
  if (failure !== undefined) throw failure.error;
}
