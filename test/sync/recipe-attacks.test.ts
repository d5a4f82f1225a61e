/** Deltas that a station signed and that are wrong all the same: refused by their codes, and nothing has landed. */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { EXIT } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import type { Digest } from '../../src/repo/blobs/blob-store.ts';
import { digestOfBytes } from '../../src/repo/blobs/digest-of.ts';
import { layOut } from '../../src/sync/bundle/layout.ts';
import { localMemory } from '../../src/sync/bundle/local-bytes.ts';
import { isCarried, type Manifest, type ManifestBlob } from '../../src/sync/bundle/manifest.ts';
import { manifestLines } from '../../src/sync/bundle/manifest-lines.ts';
import { readManifest } from '../../src/sync/bundle/read-manifest.ts';
import { parseRecipe, type Recipe } from '../../src/sync/delta/recipe.ts';
import { noise } from './delta/memory-blobs.ts';
import { openPlace, refusedWith, type Scene, sceneWithOld } from './scene.ts';

const MIB = 2 ** 20;
const OLD = noise(2 * MIB, 1);
const TEXT = Buffer.alloc(100_000, 'a text that is new and can be compressed, ');
const NEW = Buffer.concat([OLD.subarray(0, MIB), TEXT, OLD.subarray(MIB)]);
const OTHER = digestOfBytes(Buffer.from('first'));

/** What a delta consists of. */
interface Parts {
  recipe: Recipe;
  packs: Buffer;
  /** In the place of the recipe's text. */
  text?: Buffer;
  /** What the manifest says, beyond what follows. */
  told?: Partial<Extract<ManifestBlob, { in: 'delta' }>>;
}

/** A bundle for a site that holds the old one, with a delta for the new one. */
const sceneWithDelta = (t: TestContext) => sceneWithOld(t, OLD, NEW);

/** The station's next bundle, signed with its keys, with another delta in it. */
async function forged({ station, folder }: Scene, name: string, change: (parts: Parts) => void): Promise<string> {
  await station.export(await folder(`${name}-good`));
  const exports = path.join(station.dir, 'keys', 'publisher', 'exports', 'north');
  const manifest = await readManifest(localMemory(await readFile(path.join(exports, 'manifest.json'))));
  const blob = [...manifest.blobs.values()].find((each) => each.in === 'delta');
  assert.ok(blob?.in === 'delta');
  const deltas = path.join(station.dir, 'deltas', 'north', String(manifest.base?.receipt));
  const file = (await readdir(deltas)).find((each) => each.includes(hex(blob.delta.digest))) ?? '';
  const bytes = await readFile(path.join(deltas, file));
  const packs = bytes.subarray(0, bytes.length - blob.delta.recipe);
  const parts: Parts = { recipe: parseRecipe(bytes.subarray(packs.length)), packs };
  change(parts);
  const text = parts.text ?? Buffer.from(JSON.stringify(parts.recipe));
  const delta = Buffer.concat([parts.packs, text]);
  const digest = digestOfBytes(delta);
  await writeFile(path.join(deltas, `${hex(blob.digest)}.${hex(digest)}.${text.length}`), delta);
  const told = { digest, size: delta.length, recipe: text.length };
  await replaceDelta(manifest, { ...blob, delta: told, ...parts.told }, exports);
  await station.resume(await folder(name));
  return await folder(name);
}

/** Writes the station's record anew, as if it had planned this; nothing of it is signed yet. */
async function replaceDelta(
  manifest: Manifest,
  blob: Extract<ManifestBlob, { in: 'delta' }>,
  exports: string,
): Promise<void> {
  const { digest, size } = blob.delta;
  assert.ok([...manifest.blobs.values()].every((each) => each.in === 'delta' || !isCarried(each)));
  const [volume] = layOut([{ digest, size, kind: 'delta' }], 2 ** 32);
  assert.ok(volume !== undefined);
  const pieces = volume.entries.map(({ volume: number, entry, offset, length }) => {
    return { volume: number, entry, offset, length };
  });
  const blobs = new Map<Digest, ManifestBlob>(manifest.blobs).set(blob.digest, { ...blob, pieces });
  const volumes = [{ name: volume.name, size: volume.size }];
  const { entriesOf, ...rest } = manifest;
  let lines = '';
  for await (const line of manifestLines({ ...rest, entriesOf, blobs, volumes })) lines += `${line}\n`;
  await writeFile(path.join(exports, 'manifest.json'), lines);
  const state = { format: 1, sequence: manifest.sequence, metadata: null };
  const unwritten = volumes.map(({ name }) => ({ name, sha256: null, medium: null }));
  await writeFile(path.join(exports, 'state.json'), JSON.stringify({ ...state, volumes: unwritten }));
}

function hex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** A pack that is small, and says that it gives what is asked for, and gives a gigabyte. */
function bomb({ recipe }: Parts): Buffer {
  const packed = zstdCompressSync(Buffer.alloc(256 * MIB));
  const [pack] = recipe.packs;
  assert.ok(pack !== undefined && packed.length < pack.raw);
  recipe.packs = [{ ...pack, stored: packed.length, dictionary: [] }];
  return packed;
}

const WRONG: Readonly<Record<string, (parts: Parts) => void>> = {
  'a copy beyond the end of its base': ({ recipe }) => {
    recipe.steps[0] = [0, OLD.length - 10, MIB];
  },
  'a copy from a base that there is none of': ({ recipe }) => {
    recipe.steps[0] = [7, 0, MIB];
  },
  'a copy from a base that was not promised': ({ recipe }) => {
    recipe.bases = [...recipe.bases, OTHER];
    recipe.steps[0] = [0, 0, MIB - 5];
    recipe.steps.unshift([1, 0, 5]);
  },
  'packs that overlap': ({ recipe }) => {
    const [pack] = recipe.packs;
    if (pack !== undefined) recipe.packs = [pack, { ...pack, raw: 1, stored: 1 }];
  },
  'steps that give too much': ({ recipe }) => {
    recipe.steps.push([0, 0, 1]);
  },
  'steps that repeat a copy': ({ recipe }) => {
    recipe.steps = recipe.steps.flatMap((step) => [step, step]);
  },
  'a pack that is a bomb': (parts) => {
    parts.packs = bomb(parts);
  },
  'a pack with more than a pack holds': ({ recipe }) => {
    const [pack] = recipe.packs;
    if (pack !== undefined) recipe.packs = [{ ...pack, raw: limits.delta.pack + 1 }];
  },
  'a damaged pack': (parts) => {
    parts.packs = Buffer.from(parts.packs.map((byte) => byte ^ 0x55));
  },
  'more steps than there may be': ({ recipe }) => {
    recipe.steps = Array.from({ length: limits.delta.steps + 1 }, () => [1]);
  },
  'no recipe at all': (parts) => {
    parts.text = Buffer.from('{"bases":[]');
  },
  'something else than a recipe': (parts) => {
    parts.text = Buffer.from('{"bases":["../../etc/passwd"],"steps":[],"packs":[]}');
  },
  'other bytes than were signed': ({ recipe }) => {
    recipe.steps[0] = [0, 5, MIB];
  },
};

test('attack: recipes that are wrong', async (t) => {
  const made = await sceneWithDelta(t);
  for (const [name, change] of Object.entries(WRONG)) {
    await t.test(name, async () => {
      const dir = await forged(made, name.replaceAll(' ', '-'), change);
      await refusedWith(made.site, dir, EXIT.unverified, 'delta.invalid');
    });
  }
});

test('attack: a recipe longer than there may be, and one that rests on what the site has not', async (t) => {
  const made = await sceneWithDelta(t);
  const long = await forged(made, 'long', (parts) => {
    parts.text = Buffer.from(JSON.stringify(parts.recipe).padEnd(limits.delta.recipeBytes + 1));
  }).catch((error: unknown) => error);
  // Not even the station that was made to write it reads its manifest again.
  assert.match(String(long), /manifest\.json cannot be used/);
  await made.station.put('tools', 'unknown.bin', noise(300_000, 3));
  const strange = digestOfBytes(noise(300_000, 3));
  const { station, folder } = made;
  await station.export(await folder('next'));
  const manifest = path.join(station.dir, 'keys', 'publisher', 'exports', 'north', 'manifest.json');
  const text = await readFile(manifest, 'utf8');
  assert.ok(text.includes(strange));
  await writeFile(manifest, text.replaceAll(`"bases":["${digestOfBytes(OLD)}"]`, `"bases":["${strange}"]`));
  await assert.rejects(station.resume(await folder('next-two')), /not said to be at the site/);
});

test('attack: a delta rests on what the station says that the site has, and it has not', async (t) => {
  const made = await sceneWithDelta(t);
  const { station, site, folder, dir } = made;
  const receipt = path.join(dir, 'station', 'keys', 'publisher', 'receipts', 'north.json');
  assert.ok((await readFile(receipt, 'utf8')).includes(digestOfBytes(OLD)));
  await station.export(await folder('two'));
  const other = await openPlace(t, path.join(dir, 'other'));
  await other.trust.add((await station.publisher.root()).bytes, { site: 'north' });
  const error = await refusedWith(other, await folder('two'), EXIT.incomplete, 'bundle.base-missing');
  assert.match(error.message, /--full/);
  await site.import(await folder('two'));
  assert.deepEqual(await site.published(), await station.published());
});
