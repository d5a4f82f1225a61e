import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isAirlockError } from '../../../src/errors.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import type { Artifact } from '../../../src/repo/catalog/artifact.ts';
import type { Put } from '../../../src/repo/catalog/catalog.ts';
import { testArtifact, testStat } from '../../support/artifacts.ts';
import { type CatalogUnderTest, type Check, collected } from './under-test.ts';

/** What a path held from one revision on. The same cell stands in each revision that holds it. */
interface Cell {
  readonly artifact: Artifact;
  isWithdrawn: boolean;
}

type State = ReadonlyMap<string, Cell>;

/** The catalog of one repository, as simple as can be: a map for each revision. */
class Model {
  readonly states: State[] = [];
  readonly stored = new Set<Digest>();

  publish(change: { put: readonly Put[]; remove: readonly string[]; withdraw: boolean }): string | number {
    const next = new Map(this.states.at(-1));
    const withdrawn: Cell[] = [];
    for (const path of change.remove) {
      const cell = next.get(path);
      next.delete(path);
      if (cell !== undefined && change.withdraw) withdrawn.push(...this.#ended(cell.artifact.digest, next));
    }
    let hasConflict = false;
    for (const { path, artifact, replace } of change.put) {
      const cell = next.get(path);
      if (isSame(cell?.artifact, artifact)) continue;
      if (cell !== undefined && cell.artifact.digest !== artifact.digest && replace !== true) hasConflict = true;
      else if (!this.stored.has(artifact.digest)) return 'blob.missing';
      next.set(path, { artifact, isWithdrawn: false });
    }
    if (hasConflict) return 'path.conflict';
    for (const cell of withdrawn) cell.isWithdrawn = true;
    return this.#add(next);
  }

  publishAgain(number: number): string | number {
    const wanted = this.states[number - 1];
    if (wanted === undefined) return 'revision.not-found';
    if ([...wanted.values()].some(({ artifact }) => !this.stored.has(artifact.digest))) return 'revision.incomplete';
    const next = new Map<string, Cell>();
    for (const [path, { artifact }] of wanted) {
      const live = this.states.at(-1)?.get(path);
      next.set(path, live !== undefined && isSame(live.artifact, artifact) ? live : { artifact, isWithdrawn: false });
    }
    return this.#add(next);
  }

  prune(): Digest[] {
    const cells = this.states.flatMap((state) => [...state.values()]);
    const held = new Set(cells.filter((cell) => !cell.isWithdrawn).map(({ artifact }) => artifact.digest));
    const gone = [...this.stored].filter((digest) => !held.has(digest)).sort();
    for (const digest of gone) this.stored.delete(digest);
    return gone;
  }

  /** Cells of older revisions with these bytes that are no longer there. */
  #ended(digest: Digest, next: State): Cell[] {
    const live = new Set(next.values());
    return this.states.flatMap((state) =>
      [...state.values()].filter((cell) => cell.artifact.digest === digest && !live.has(cell)),
    );
  }

  #add(next: State): number {
    const last = this.states.at(-1);
    const isEqual =
      last !== undefined && last.size === next.size && [...next].every(([path, cell]) => last.get(path) === cell);
    if (!isEqual) this.states.push(next);
    return this.states.length;
  }
}

function isSame(a: Artifact | undefined, b: Artifact): boolean {
  return a !== undefined && JSON.stringify(a) === JSON.stringify(b);
}

type Step =
  | {
      readonly do: 'publish';
      readonly put: readonly SomePut[];
      readonly remove: readonly string[];
      readonly withdraw: boolean;
      readonly record: boolean;
    }
  | { readonly do: 'again'; readonly number: number }
  | { readonly do: 'prune' };

interface SomePut {
  readonly path: string;
  readonly content: number;
  readonly facts: number;
  readonly replace: boolean;
}

const somePath = fc.constantFrom('x', 'y', 'd/x', 'd/y', 'd-/x', 'd/e/x');
const somePut = fc.record({
  path: somePath,
  content: fc.nat(2),
  facts: fc.nat(1),
  replace: fc.boolean(),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      put: fc.uniqueArray(somePut, { selector: ({ path }) => path, maxLength: 4 }),
      remove: fc.array(somePath, { maxLength: 2 }),
      withdraw: fc.boolean(),
      record: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('again' as const), number: fc.nat(8) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('prune' as const) }) },
);

export function historyChecks(check: Check): void {
  check('any history of changes, prunes and returns to older revisions is as a naive model has it', async (under) => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 16 }), async (steps) => {
        run += 1;
        await replay(under, `r${run}`, run * 10, steps);
      }),
      { numRuns: 30 },
    );
  });
}

/** @param base of the digests, so that each history has its own */
async function replay(
  under: CatalogUnderTest,
  repository: string,
  base: number,
  steps: readonly Step[],
): Promise<void> {
  const model = new Model();
  const { catalog } = under;
  await catalog.transaction((tx) => tx.ensureRepository(repository, 'file'));
  for (const each of steps) {
    if (each.do === 'prune') {
      const removed: Digest[] = [];
      const remove = async (digest: Digest) => void removed.push(digest);
      await collected(catalog.prune({ before: under.later(), remove }));
      // Each history leaves some blobs of its own behind, which later prunes take.
      const mine = removed.filter((digest) => Math.trunc(Number.parseInt(digest.slice(7), 16) / 10) === base / 10);
      assert.deepEqual(mine.sort(), model.prune());
      continue;
    }
    if (each.do === 'again') {
      const done = catalog.transaction((tx) => tx.publishAgain(repository, each.number));
      assert.equal(await outcome(done), model.publishAgain(each.number));
    } else {
      const put = each.put.map(({ path, content, facts, replace }) => ({
        path,
        replace,
        artifact: testArtifact(base + content, { facts: { facts } }),
      }));
      if (each.record) {
        await catalog.transaction(async (tx) => {
          for (const { artifact } of put) await tx.recordBlob(testStat(artifact.size));
        });
        for (const { artifact } of put) model.stored.add(artifact.digest);
      }
      const change = { put, remove: each.remove, withdraw: each.withdraw };
      const taken = each.withdraw ? { withdraw: each.remove } : { remove: each.remove };
      const done = catalog.transaction((tx) => tx.publish(repository, { reason: 'test', put, ...taken }));
      assert.equal(await outcome(done), model.publish(change));
    }
    await compare(under, repository, model);
  }
}

async function outcome(done: Promise<number>): Promise<string | number> {
  try {
    return await done;
  } catch (error) {
    if (isAirlockError(error)) return error.code;
    throw error;
  }
}

/** Every revision is a set of paths and what they hold; nothing that happened later changed it. */
async function compare({ catalog }: CatalogUnderTest, repository: string, model: Model): Promise<void> {
  assert.equal((await catalog.repository(repository))?.published, model.states.length);
  const revisions = await catalog.revisions(repository);
  assert.deepEqual(
    revisions.map(({ number }) => number),
    model.states.map((_, index) => model.states.length - index),
  );
  for (const [index, state] of model.states.entries()) {
    const entries = await collected(catalog.entries(repository, index + 1));
    const held = new Map(entries.map(({ path, artifact }) => [path, artifact]));
    assert.equal(held.size, entries.length, 'a path stands twice in a revision');
    assert.deepEqual(
      held,
      new Map([...state].map(([path, { artifact }]) => [path, artifact])),
      `revision ${index + 1}`,
    );
  }
}
