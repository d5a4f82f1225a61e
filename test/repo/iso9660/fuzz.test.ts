import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { describeImage } from '../../../src/repo/formats/iso9660/look-inside.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { buildIso, type IsoOptions, type IsoTree, symlink } from '../../media/iso-builder.ts';
import { CL, NM, PX, RE } from '../../media/system-use.ts';

const DEEP = process.env.AIRLOCK_DEEP === '1';

const TREE: IsoTree = {
  'manifest.yaml': 'version: 1\n',
  '.treeinfo': '[general]\nversion = 1\n',
  Packages: { 'a.rpm': 'a'.repeat(3000), [`${'long'.repeat(60)}.rpm`]: 'b' },
  d: { e: { f: { g: 'deep' } } },
  moved: 'placeholder',
  link: symlink(`../${'x'.repeat(300)}/y`),
  'x.squashfs': 'hsqs',
  empty: '',
};

const SETUPS: Record<string, IsoOptions> = {
  'Rock Ridge': {
    sectionLimit: 2048,
    systemUse(entries, at) {
      if (at.role !== 'child') return entries;
      if (at.path === 'moved') return [NM('moved'), PX(0o040755), CL(at.blockOf('d/e'))];
      return at.path === 'd/e' ? [...entries, RE()] : entries;
    },
  },
  Joliet: { joliet: true, rockRidge: false, sectionLimit: 2048 },
  'plain, small blocks': { rockRidge: false, blockSize: 512, sectionLimit: 2048 },
};

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Everything that a caller may do with an image. */
async function readAll(image: Buffer): Promise<void> {
  const iso = await openIso(countingSource(image, { maxReads: 2000 }));
  for await (const entry of iso.walk()) {
    assert.ok(!entry.name.includes('/') && entry.name !== '..' && entry.name !== '.' && entry.name !== '');
    if (entry.type === 'file') await iso.readFile(entry, image.length).catch(expected);
  }
  await iso.stat('Packages/a.rpm');
  await describeImage(iso);
}

function expected(error: unknown): void {
  if (!isAirlockError(error, 'iso.invalid', 'iso.truncated', 'iso.limit')) throw error;
}

for (const [name, options] of Object.entries(SETUPS)) {
  const rounds = DEEP ? 50_000 : 1500;
  test(`${rounds} damaged images (${name}) are read or refused, and nothing else happens`, async () => {
    const { image } = buildIso(TREE, options);
    await readAll(image);
    // Damage where it matters: everything but system area and file content.
    const interesting = [...image.entries()]
      .filter(([offset, byte]) => offset >= 32768 && byte !== 0)
      .map(([at]) => at);
    const random = randomNumbers(4711);
    const pick = (limit: number) => Math.floor(random() * limit);
    let refused = 0;
    for (let round = 0; round < rounds; round += 1) {
      const damaged = Buffer.from(image);
      const done: string[] = [];
      for (let count = 1 + pick(4); count > 0; count -= 1) {
        const near = interesting[pick(interesting.length)] ?? 0;
        const at = Math.min(image.length - 1, near + pick(4));
        const value = [random() * 256, 0, 255, (damaged[at] ?? 0) ^ (1 << pick(8))][pick(4)] ?? 0;
        damaged[at] = value;
        // Half of the time numbers in both byte orders are kept equal, so that damage gets past that check.
        if (random() < 0.5 && at + 7 < image.length) damaged[at + 7 - 2 * pick(4)] = value;
        done.push(`${at}=${damaged[at]}`);
      }
      try {
        await readAll(damaged);
      } catch (error) {
        if (!isAirlockError(error, 'iso.invalid', 'iso.truncated', 'iso.limit')) {
          throw new Error(`round ${round}, bytes ${done.join(' ')}`, { cause: error });
        }
        refused += 1;
      }
    }
    assert.ok(refused > rounds / 20, `${refused} refused`);
  });
}

test('images of noise are refused', async () => {
  const random = randomNumbers(42);
  const { image } = buildIso(TREE);
  for (let round = 0; round < (DEEP ? 5000 : 100); round += 1) {
    const noise = Buffer.from(image);
    for (let at = 17 * 2048; at < noise.length; at += 1) noise[at] = Math.floor(random() * 256);
    await assert.rejects(readAll(noise), (error) => isAirlockError(error, 'iso.invalid', 'iso.truncated', 'iso.limit'));
  }
});
