/** A blob as pieces of others: planned, packed, applied. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { applyDelta } from '../../../src/sync/delta/apply-delta.ts';
import { packDelta } from '../../../src/sync/delta/pack-delta.ts';
import { planDelta } from '../../../src/sync/delta/plan-delta.ts';
import { type Recipe, recipeSchema } from '../../../src/sync/delta/recipe.ts';
import { MemoryBlobs, noise, sourceOf } from './memory-blobs.ts';

interface Made {
  readonly recipe: Recipe;
  readonly packs: Buffer;
}

/** @param stored blobs that can be read while planning; default: all that the site holds */
async function make(blob: Buffer, site: MemoryBlobs, stored = site): Promise<Made | undefined> {
  const open = async (digest: Digest) => (stored.blobs.has(digest) ? await stored.open(digest) : undefined);
  const plan = await planDelta(sourceOf(blob), await site.held(), { open });
  if (plan === undefined) return undefined;
  const written: Buffer[] = [];
  const packed = await packDelta(plan, sourceOf(blob), {
    open,
    write: async (bytes) => void written.push(Buffer.from(bytes)),
  });
  assert.equal(stored.openReaders, 0);
  if (packed === undefined) return undefined;
  const packs = Buffer.concat(written);
  assert.equal(packed.stored, packs.length);
  return { recipe: recipeSchema.parse(JSON.parse(JSON.stringify(packed.recipe))), packs };
}

async function apply({ recipe, packs }: Made, size: number, site: MemoryBlobs): Promise<Buffer> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of applyDelta(recipe, size, site.open, sourceOf(packs))) pieces.push(Buffer.from(piece));
  } finally {
    assert.equal(site.openReaders, 0, 'readers are closed');
  }
  return Buffer.concat(pieces);
}

async function assertRoundTrip(blob: Buffer, site: MemoryBlobs): Promise<Made | undefined> {
  const made = await make(blob, site);
  if (made !== undefined) assert.ok((await apply(made, blob.length, site)).equals(blob));
  return made;
}

const MIB = 2 ** 20;

test('what was put in, taken out and moved', async () => {
  const [a, b, c] = [noise(MIB, 1), noise(MIB, 2), noise(MIB, 3)];
  const site = new MemoryBlobs([Buffer.concat([a, b]), c]);
  const fresh = noise(70_000, 4);
  const blob = Buffer.concat([c.subarray(5), fresh, b, Buffer.from('x'), a.subarray(0, 500_000), a.subarray(500_001)]);
  const made = await assertRoundTrip(blob, site);
  assert.ok(made !== undefined);
  assert.ok(made.packs.length < fresh.length + 100, `${made.packs.length}`);
  assert.deepEqual(
    made.recipe.steps.map((step) => step.length),
    [3, 1, 3, 1, 3, 3],
    'copies are extended to the byte, and neighbours are one',
  );
});

test('the very same, or a part of it', async () => {
  const old = noise(3 * MIB, 1);
  const site = new MemoryBlobs([old]);
  assert.deepEqual((await assertRoundTrip(old, site))?.recipe.steps, [[0, 0, old.length]]);
  const part = old.subarray(MIB, 2 * MIB);
  assert.deepEqual((await assertRoundTrip(part, site))?.recipe.steps, [[0, MIB, MIB]]);
});

test('what the site has nothing of goes whole, and so does what a delta hardly makes smaller', async () => {
  const old = noise(4 * MIB, 1);
  const site = new MemoryBlobs([old]);
  assert.equal(await make(noise(MIB, 2), site), undefined);
  assert.equal(await make(Buffer.alloc(0), site), undefined);
  assert.equal(await make(Buffer.concat([old.subarray(0, 300_000), noise(4 * MIB, 3)]), site), undefined);
  assert.notEqual(await make(Buffer.concat([old.subarray(0, 900_000), noise(4 * MIB, 3)]), site), undefined);
});

test('small files in another order are found again', async () => {
  const files = Array.from({ length: 800 }, (_, at) => noise(1200 + (at % 700), 100 + at));
  const big = noise(MIB, 5);
  const site = new MemoryBlobs([
    Buffer.concat([big, ...files.map((file) => Buffer.concat([Buffer.alloc(512, 7), file]))]),
  ]);
  const blob = Buffer.concat([...files.toReversed(), big]);
  const made = await assertRoundTrip(blob, site);
  assert.ok(made !== undefined && made.packs.length < blob.length / 20, `${made?.packs.length} of ${blob.length}`);
});

test('new text is compressed, with what stood in its place as a dictionary', async () => {
  const lines = (from: number) => Array.from({ length: 4000 }, (_, at) => `${noise(30, from + at).toString('hex')}\n`);
  const [head, tail] = [noise(MIB, 1), noise(MIB, 2)];
  const old = lines(0);
  const site = new MemoryBlobs([Buffer.concat([head, Buffer.from(old.join('')), tail])]);
  // Every line differs at one place: no chunk is equal.
  const text = Buffer.from(old.map((line, at) => `${line.slice(0, 30)}${at}${line.slice(30)}`).join(''));
  const made = await assertRoundTrip(Buffer.concat([head, text, tail]), site);
  assert.ok(made !== undefined && made.packs.length < text.length / 4, `${made?.packs.length} of ${text.length}`);
});

test('what the site holds and is not stored here any more serves all the same', async () => {
  const old = noise(3 * MIB, 1);
  const site = new MemoryBlobs([old]);
  const blob = Buffer.concat([noise(1000, 2), old]);
  const made = await make(blob, site, new MemoryBlobs([]));
  assert.ok(made !== undefined);
  assert.ok(made.packs.length < 300_000);
  assert.ok((await apply(made, blob.length, site)).equals(blob));
});

test('long runs of zeros', async () => {
  const site = new MemoryBlobs([Buffer.concat([noise(MIB, 1), Buffer.alloc(5 * MIB)])]);
  const blob = Buffer.concat([Buffer.alloc(9 * MIB), noise(MIB, 1), Buffer.alloc(7 * MIB)]);
  const made = await assertRoundTrip(blob, site);
  assert.ok(made !== undefined && made.packs.length < 10_000);
});

test('property: whatever the pieces, what was planned gives the blob', async () => {
  const piece = fc.record({
    from: fc.nat(4),
    start: fc.nat(1_200_000),
    length: fc.nat(300_000),
    kind: fc.constantFrom('old', 'old', 'old', 'new', 'zero', 'tiny'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), fc.nat(1000), async (pieces, seed) => {
      const olds = Array.from({ length: 5 }, (_, at) => noise(300_000 * at, seed + at));
      const blob = Buffer.concat(
        pieces.map(({ from, start, length, kind }, at) => {
          if (kind === 'new') return noise(length, seed + 77 + at);
          if (kind === 'zero') return Buffer.alloc(length);
          const old = olds[from] ?? Buffer.alloc(0);
          return old.subarray(start, start + (kind === 'tiny' ? length % 3000 : length));
        }),
      );
      await assertRoundTrip(blob, new MemoryBlobs(olds));
    }),
    { numRuns: 40 },
  );
});

describe('a recipe that cannot be right is refused', () => {
  const old = noise(10_000, 1);
  const site = new MemoryBlobs([old]);
  const bases = [...site.blobs.keys()];
  const packs = noise(100, 2);
  const pack = { raw: 100, stored: 100, dictionary: [] };
  const good: Recipe = { bases, steps: [[0, 0, 900], [100]], packs: [pack] };
  const cases: [name: string, change: Partial<Recipe>, size?: number][] = [
    ['more than the blob', {}, 999],
    ['less than the blob', {}, 1001],
    ['a copy beyond the end', { steps: [[0, 9_500, 900], [100]] }],
    ['a copy that ends beyond all numbers', { steps: [[0, Number.MAX_SAFE_INTEGER, 900], [100]] }],
    ['a copy from before the beginning', { steps: [[0, -1, 900], [100]] }],
    ['a copy from half a byte', { steps: [[0, 0.5, 900], [100]] }],
    ['a copy of nothing', { steps: [[0, 0, 900], [0, 0, 0], [100]] }],
    ['a copy from nowhere', { steps: [[1, 0, 900], [100]] }],
    ['lengths that cancel each other', { steps: [[0, 0, 1900], [-900]] }],
    ['more new bytes than came', { steps: [[0, 0, 800], [200]] }],
    ['fewer new bytes than came', { steps: [[0, 0, 999], [1]] }],
    ['packs that overlap what came', { packs: [{ ...pack, stored: 99 }] }],
    [
      'packs that grow when compressed',
      {
        packs: [
          { ...pack, raw: 50, stored: 100 },
          { ...pack, raw: 50, stored: 0 },
        ],
      },
    ],
    ['a dictionary from nowhere', { packs: [{ ...pack, dictionary: [[0, 9_999, 2]] }] }],
    ['too many steps', { steps: Array.from({ length: limits.delta.steps + 1 }, () => [1] as [number]) }],
    ['a pack that is too large', { steps: [[2 ** 40]], packs: [{ ...pack, raw: 2 ** 40 }] }, 2 ** 40],
    [
      'a dictionary that is too large',
      {
        packs: [
          { ...pack, dictionary: Array.from({ length: 2000 }, () => [0, 0, 10_000] as [number, number, number]) },
        ],
      },
    ],
  ];
  for (const [name, change, size = 1000] of cases) {
    test(name, async () => {
      const made = { recipe: { ...good, ...change }, packs };
      await assert.rejects(apply(made, size, site), (error) => isAirlockError(error, 'delta.invalid'));
    });
  }
  test('the same without a fault is not', async () => {
    const blob = await apply({ recipe: good, packs }, 1000, site);
    assert.ok(blob.equals(Buffer.concat([old.subarray(0, 900), packs])));
  });
  test('copies may overlap each other', async () => {
    const recipe: Recipe = {
      bases,
      steps: [
        [0, 0, 600],
        [0, 300, 600],
      ],
      packs: [],
    };
    const blob = await apply({ recipe, packs: Buffer.alloc(0) }, 1200, site);
    assert.ok(blob.equals(Buffer.concat([old.subarray(0, 600), old.subarray(300, 900)])));
  });
});

test('damaged packs, and packs that would become larger than they say, are refused', async () => {
  const old = noise(MIB, 1);
  const site = new MemoryBlobs([old]);
  const blob = Buffer.concat([old, Buffer.alloc(200_000, 'new text, '), Buffer.from('end')]);
  const made = await make(blob, site);
  assert.ok(made !== undefined);
  const isInvalid = (error: unknown) => isAirlockError(error, 'delta.invalid');
  for (const at of [0, 5, 10, made.packs.length - 1]) {
    const packs = Buffer.from(made.packs);
    packs[at] = (packs[at] ?? 0) ^ 0xff;
    const result = await apply({ ...made, packs }, blob.length, site).catch((error: unknown) => error);
    // Zstandard finds most damage, the digest of the whole all of it.
    assert.ok(isInvalid(result) || (Buffer.isBuffer(result) && !result.equals(blob)), `${result}`);
  }
  const [pack] = made.recipe.packs;
  assert.ok(pack !== undefined && pack.stored < pack.raw);
  const less = { ...made.recipe, steps: made.recipe.steps.map((step) => (step.length === 1 ? [step[0] - 1] : step)) };
  const bomb = { ...less, packs: [{ ...pack, raw: pack.raw - 1 }] } as Recipe;
  await assert.rejects(apply({ recipe: bomb, packs: made.packs }, blob.length - 1, site), isInvalid);
});

test('what stands in the place of new text begins like a dictionary of Zstandard: it is not taken for one', async () => {
  const [head, tail] = [noise(MIB, 1), noise(MIB, 2)];
  const old = Buffer.concat([Buffer.from([0x37, 0xa4, 0x30, 0xec]), noise(60_000, 3)]);
  const site = new MemoryBlobs([Buffer.concat([head, old, tail])]);
  assert.ok(await assertRoundTrip(Buffer.concat([head, Buffer.alloc(50_000, 'new text, '), tail]), site));
});
