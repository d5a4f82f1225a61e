import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { bin, buildRpm, int32, type RpmOptions, strings } from '../../media/rpm-builder.ts';
import { isRpmError, readAll } from './support.ts';

const DEEP = process.env.AIRLOCK_DEEP === '1';

const RICH: RpmOptions = {
  files: [
    ['/opt/tiny', 0o40755],
    ['/opt/tiny/a', 0o100644, 1],
    ['/var/log/tiny', 0o100600, 64],
  ],
  tags: [
    ...[strings(TAG.requireName, 'a', 'rpmlib(b)', '(c if d)'), int32(TAG.requireFlags, 8, 10, 0)],
    strings(TAG.requireVersion, '1:2-3', '4', ''),
    ...[int32(TAG.changelogTime, 1, 2), strings(TAG.changelogName, 'a', 'b'), strings(TAG.changelogText, 'c', 'd')],
  ],
  signatureTags: [bin(268, Buffer.alloc(50, 0x88))],
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

/** Changes up to four bytes of `bytes`, in place. @returns what was done, for a message */
function damage(bytes: Buffer, random: () => number, from = 0): string {
  const pick = (limit: number) => Math.floor(random() * limit);
  const done: string[] = [];
  for (let count = 1 + pick(4); count > 0; count -= 1) {
    const at = from + pick(bytes.length - from);
    bytes[at] = [random() * 256, 0, 255, (bytes[at] ?? 0) ^ (1 << pick(8))][pick(4)] ?? 0;
    done.push(`${at}=${bytes[at]}`);
  }
  return done.join(' ');
}

for (const format of [3, 4, 6] as const) {
  const rounds = DEEP ? 50_000 : 1500;

  test(`${rounds} packages of format ${format} that were damaged on the way`, async () => {
    const { file, layout } = buildRpm({ ...RICH, format });
    await readAll(file);
    const random = randomNumbers(4711);
    let passed = 0;
    for (let round = 0; round < rounds; round += 1) {
      const damaged = Buffer.from(file);
      const done = damage(damaged, random);
      try {
        const { strongest } = await readAll(damaged);
        // Lead and signature header may change unseen, and with them digests may vanish. Nothing else.
        const same = (from: number, to?: number) => damaged.subarray(from, to).equals(file.subarray(from, to));
        const seen = `round ${round}, bytes ${done}: damage was not seen`;
        assert.ok(strongest.header === null || same(layout.header.start, layout.header.end), seen);
        assert.ok(strongest.payload === null || same(layout.payload), seen);
        passed += 1;
      } catch (error) {
        if (!isRpmError(error)) throw new Error(`round ${round}, bytes ${done}`, { cause: error });
      }
    }
    assert.ok(passed < rounds / 2, `${passed} passed`);
  });

  test(`${rounds} packages of format ${format} with headers made to do harm, digests and all`, async () => {
    const random = randomNumbers(815);
    let refused = 0;
    for (let round = 0; round < rounds; round += 1) {
      let done = '';
      const harm = (header: Buffer) => {
        // Mostly the index, where offsets and counts stand.
        const end = random() < 0.7 ? 16 + 16 * header.readUInt32BE(8) : header.length;
        done = damage(header.subarray(0, end), random, 8);
        return undefined;
      };
      const hook = random() < 0.7 ? { header: harm } : { signature: harm };
      try {
        await readAll(buildRpm({ ...RICH, format, ...hook }).file);
      } catch (error) {
        if (!isRpmError(error)) throw new Error(`round ${round}, bytes ${done}`, { cause: error });
        refused += 1;
      }
    }
    assert.ok(refused > rounds / 4, `${refused} refused`);
  });
}

test('packages of noise are refused', async () => {
  const random = randomNumbers(42);
  const { file, layout } = buildRpm(RICH);
  for (let round = 0; round < (DEEP ? 5000 : 200); round += 1) {
    const noise = Buffer.from(file);
    const from = [4, layout.signature.index, layout.header.start + 8, layout.header.data][round % 4] ?? 0;
    for (let at = from; at < noise.length; at += 1) noise[at] = Math.floor(random() * 256);
    await assert.rejects(readAll(noise), isRpmError);
  }
});
