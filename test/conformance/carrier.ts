import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, isAirlockError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { readAhead } from '../../src/repo/blobs/read-ahead.ts';
import type { Carrier } from '../../src/sync/carriers/carrier.ts';

/** A driver under test, over an empty place of its own. */
export interface CarrierUnderTest {
  readonly carrier: Carrier;
  /** Bytes between two settlings, as the driver was told. */
  readonly settleEvery: number;
  /** The same place, as the next run would open it; the suite closes it. */
  another(): Promise<Carrier>;
  /** What lies at a path in the place, seen without the driver; undefined if there is nothing. */
  peek(path: string): Promise<Uint8Array | undefined>;
  /** Puts a file there without the driver, under any name. */
  plant(path: string, bytes: Uint8Array): Promise<void>;
  /** Puts a symbolic link there, where the place knows links. */
  plantLink?: (path: string, target: string) => Promise<void>;
  remove(): Promise<void>;
}

const NEVER_NAMES = ['', '.', '..', '../x', '/x', 'x/', 'a/../b', 'a/b/c', 'x.partial', '.x', 'x.', 'a b', 'ä', 'a\\b'];

/**
 * Everything that the seam promises (src/sync/carriers/carrier.ts), for one driver.
 * @param resumes why going on with files cannot be tested there
 */
export function carrierConformance(
  name: string,
  make: () => Promise<CarrierUnderTest>,
  { resumes = {}, ...options }: { skip?: string; resumes?: { skip?: string } } = {},
): void {
  function check(title: string, run: (under: CarrierUnderTest, t: TestContext) => Promise<void>): void {
    test(title, async (t) => {
      const under = await make();
      try {
        await run(under, t);
      } finally {
        await under.carrier.close();
        await under.remove();
      }
    });
  }

  describe(`carrier: ${name}`, options, () => {
    check('a file is written, listed and read', async ({ carrier, settleEvery, peek }) => {
      const bytes = pattern(3 * settleEvery + 17, 1);
      await put(carrier, 'volume-0001.tar', bytes);
      await put(carrier, 'metadata/1.root.json', pattern(10, 2));
      await carrier.sync();
      same(await peek('volume-0001.tar'), bytes);
      same(await read(carrier, 'volume-0001.tar'), bytes);
      assert.deepEqual(await read(carrier, 'metadata/1.root.json'), pattern(10, 2));
      const listing = await carrier.list();
      assert.deepEqual(listing.files, [{ name: 'volume-0001.tar', size: bytes.length }]);
      assert.deepEqual([listing.folders, listing.unfinished, listing.ignoredCount], [['metadata'], [], 0]);
      assert.deepEqual((await carrier.list('metadata')).files, [{ name: '1.root.json', size: 10 }]);
    });

    check('a file may be empty', async ({ carrier, peek }) => {
      await put(carrier, 'COMMIT', new Uint8Array());
      assert.deepEqual(await peek('COMMIT'), new Uint8Array());
      assert.deepEqual(await read(carrier, 'COMMIT'), new Uint8Array());
    });

    check('a name is not there before the commit', async ({ carrier, peek }) => {
      const writer = await carrier.create('volume-0001.tar');
      await writer.write(pattern(100, 1));
      assert.equal(await peek('volume-0001.tar'), undefined);
      assert.equal(await carrier.open('volume-0001.tar'), undefined);
      const { files, unfinished, ignoredCount } = await carrier.list();
      assert.deepEqual([files, unfinished, ignoredCount], [[], ['volume-0001.tar'], 0]);
      await writer.commit();
      assert.deepEqual(await peek('volume-0001.tar'), pattern(100, 1));
      assert.equal(await peek('volume-0001.tar.partial'), undefined);
    });

    check('what has the name stays until the commit, and is replaced then', async ({ carrier, peek }) => {
      await put(carrier, 'README.txt', pattern(50, 1));
      const writer = await carrier.create('README.txt');
      await writer.write(pattern(20, 2));
      assert.deepEqual(await peek('README.txt'), pattern(50, 1));
      await writer.commit();
      assert.deepEqual(await peek('README.txt'), pattern(20, 2));
    });

    check('cancel leaves nothing, and is a no-op after the end', async ({ carrier, peek }) => {
      const writer = await carrier.create('a');
      await writer.write(pattern(100, 1));
      await writer.cancel();
      await writer.cancel();
      assert.equal(await peek('a.partial'), undefined);
      const other = await carrier.create('a');
      await other.write(pattern(10, 1));
      await other.commit();
      await other.cancel();
      assert.deepEqual(await peek('a'), pattern(10, 1));
    });

    check('the bytes are the caller’s again after a write', async ({ carrier, settleEvery, peek }) => {
      const expected = pattern(2 * settleEvery, 3);
      const writer = await carrier.create('a');
      const buffer = new Uint8Array(1000);
      for (let at = 0; at < expected.length; at += buffer.length) {
        const piece = expected.subarray(at, at + buffer.length);
        buffer.set(piece);
        await writer.write(buffer.subarray(0, piece.length));
        buffer.fill(0xff);
      }
      await writer.commit();
      same(await peek('a'), expected);
    });

    describe('going on', resumes, () => {
      check('keeps what was settled, and gives it back', async ({ carrier, settleEvery, another, peek }) => {
        const bytes = pattern(5 * settleEvery, 1);
        const first = await carrier.create('metadata/x.json');
        assert.equal(first.offset, 0);
        await first.write(bytes.subarray(0, 3 * settleEvery + 100));
        await first.suspend();
        await first.cancel(); // a no-op now
        await using(await another(), async (next) => {
          const writer = await next.create('metadata/x.json');
          assert.equal(writer.offset, 3 * settleEvery);
          const kept = new Uint8Array(writer.offset + 10);
          assert.equal(await writer.readAt(kept, 0), writer.offset);
          same(kept.subarray(0, writer.offset), bytes.subarray(0, writer.offset));
          assert.equal(await writer.readAt(kept, writer.offset), 0);
          await writer.write(bytes.subarray(writer.offset));
          await writer.commit();
        });
        same(await peek('metadata/x.json'), bytes);
      });

      check('throws away what was beyond', async ({ carrier, settleEvery, peek }) => {
        const first = await carrier.create('a');
        await first.write(pattern(2 * settleEvery - 1, 1));
        await first.suspend();
        const writer = await carrier.create('a');
        assert.equal(writer.offset, settleEvery);
        await writer.write(pattern(5, 2));
        await writer.commit();
        const expected = Buffer.concat([pattern(2 * settleEvery, 1).subarray(0, settleEvery), pattern(5, 2)]);
        same(await peek('a'), expected);
      });

      check('begins anew if told to', async ({ carrier, settleEvery, peek }) => {
        const first = await carrier.create('a');
        await first.write(pattern(2 * settleEvery, 1));
        await first.suspend();
        const writer = await carrier.create('a', { anew: true });
        assert.equal(writer.offset, 0);
        await writer.write(pattern(5, 2));
        await writer.commit();
        assert.deepEqual(await peek('a'), pattern(5, 2));
      });

      check('trusts no byte that was not settled', async ({ carrier, settleEvery, plant }) => {
        await plant('a.partial', new Uint8Array(settleEvery)); // a full window, which may not have been durable
        const writer = await carrier.create('a');
        assert.equal(writer.offset, 0);
        await writer.cancel();
      });

      check('gives the same file, however often it stops', async ({ another, settleEvery, peek }) => {
        const pieces = fc.array(fc.nat(2 * settleEvery), { minLength: 1, maxLength: 5 });
        await fc.assert(
          fc.asyncProperty(pieces, async (sizes) => {
            const bytes = pattern(
              sizes.reduce((sum, size) => sum + size, 0),
              7,
            );
            for (const [index, size] of sizes.entries()) {
              await using(await another(), async (carrier) => {
                const writer = await carrier.create('a', { anew: index === 0 });
                await writer.write(bytes.subarray(writer.offset, writer.offset + size));
                if (index < sizes.length - 1) return await writer.suspend();
                await writer.write(bytes.subarray(writer.offset + size));
                await writer.commit();
              });
            }
            same(await peek('a'), bytes);
          }),
          { numRuns: 8 },
        );
      });
    });

    describe('reading', () => {
      check('is at any position, at the same time, and ends at the end', async ({ carrier }) => {
        const bytes = pattern(200_000, 5);
        await put(carrier, 'a', bytes);
        const file = await carrier.open('a');
        assert.ok(file !== undefined);
        assert.equal(file.size, bytes.length);
        const at = async (position: number, length: number) => {
          const into = new Uint8Array(length);
          return into.subarray(0, await file.readAt(into, position));
        };
        const places = [0, 1, 65_535, 100_000, 199_990, 200_000, 300_000];
        const found = await Promise.all(places.map((position) => at(position, 70_000)));
        for (const [index, position] of places.entries()) {
          assert.deepEqual(found[index], bytes.subarray(position, position + 70_000), `${position}`);
        }
        await file.close();
        await file.close();
      });

      check('what is not there is undefined, or an empty list', async ({ carrier }) => {
        assert.equal(await carrier.open('a'), undefined);
        assert.equal(await carrier.open('metadata/a'), undefined);
        const nothing = { files: [], folders: [], unfinished: [], ignored: [], ignoredCount: 0 };
        assert.deepEqual(await carrier.list(), nothing);
        assert.deepEqual(await carrier.list('metadata'), nothing);
        assert.deepEqual(await carrier.folder('none').list(), nothing);
      });
    });

    check('a folder is a place of its own', async ({ carrier, peek }) => {
      const folder = carrier.folder('airlock-north-000001');
      assert.ok(folder.where.endsWith('airlock-north-000001'));
      await put(folder, 'metadata/1.root.json', pattern(3, 1));
      await put(folder, 'COMMIT', pattern(4, 1));
      await folder.sync();
      await folder.close(); // ends nothing
      assert.deepEqual(await peek('airlock-north-000001/metadata/1.root.json'), pattern(3, 1));
      assert.deepEqual((await carrier.list()).folders, ['airlock-north-000001']);
      assert.deepEqual((await folder.list()).folders, ['metadata']);
      assert.deepEqual((await carrier.list('airlock-north-000001')).files, [{ name: 'COMMIT', size: 4 }]);
      assert.deepEqual(await read(carrier, 'airlock-north-000001/COMMIT'), pattern(4, 1));
    });

    check('a file is taken away, once or twice', async ({ carrier, peek }) => {
      await put(carrier, 'metadata/a', pattern(3, 1));
      await carrier.remove('metadata/a');
      await carrier.remove('metadata/a');
      await carrier.remove('none/a');
      assert.equal(await peek('metadata/a'), undefined);
    });

    check('free space is a number, or nobody knows', async ({ carrier }) => {
      const free = await carrier.freeSpace();
      assert.ok(free === undefined || (Number.isFinite(free) && free >= 0), `${free}`);
    });

    describe('names', () => {
      check('that cannot be are refused', async ({ carrier }) => {
        for (const bad of [...NEVER_NAMES, 'x'.repeat(limits.carrier.name + 1), 'x\n', 'x\0']) {
          await failsWith('path.invalid', () => carrier.open(bad), bad);
          await failsWith('path.invalid', () => carrier.create(bad), bad);
          await failsWith('path.invalid', () => carrier.remove(bad), bad);
          await failsWith('path.invalid', () => carrier.list(bad), bad);
          await failsWith('path.invalid', async () => carrier.folder(bad), bad);
        }
        await failsWith('path.invalid', async () => carrier.folder('a/b'));
        await failsWith('path.invalid', () => carrier.list('a/b'));
      });

      check('that others left are told, not touched', async ({ carrier, plant }) => {
        const strange: string[] = [];
        for (const each of ['.hidden', 'with space', 'ümlaut', 'line\nfeed', '..evil.partial']) {
          const isTaken = await plant(each, pattern(3, 1)).then(
            () => true,
            () => false, // FAT takes no line feeds
          );
          if (isTaken) strange.push(each);
        }
        assert.ok(strange.length >= 3);
        await plant('good', pattern(3, 1));
        const listing = await carrier.list();
        assert.deepEqual(listing.files, [{ name: 'good', size: 3 }]);
        assert.deepEqual([...listing.ignored.map((each) => each.name)].sort(), strange.sort());
        assert.deepEqual(new Set(listing.ignored.map(({ why }) => why)), new Set(['name']));
        assert.equal(listing.ignoredCount, strange.length);
      });

      check('of strange things are told only so many', async ({ carrier, plant }) => {
        const count = limits.carrier.named + 3;
        for (let index = 0; index < count; index++) await plant(`.${index}`, new Uint8Array());
        const { ignored, ignoredCount } = await carrier.list();
        assert.deepEqual([ignored.length, ignoredCount], [limits.carrier.named, count]);
      });
    });

    check('links are not followed', async ({ carrier, plant, plantLink, peek }, t) => {
      if (plantLink === undefined) return t.skip('there are no links there');
      await plant('outside/secret', pattern(9, 1));
      await plantLink('link', 'outside/secret');
      await plantLink('metadata', 'outside');
      await plantLink('a.partial', 'outside/secret');
      const listing = await carrier.list();
      assert.deepEqual(listing.files, []);
      assert.deepEqual([listing.folders, listing.unfinished], [['outside'], []]);
      assert.deepEqual(
        [...listing.ignored].sort((a, b) => (a.name < b.name ? -1 : 1)),
        ['a.partial', 'link', 'metadata'].map((name) => ({ name, why: 'link' })),
      );
      await failsWith('bundle.invalid', () => carrier.open('link'));
      await failsWith('bundle.invalid', () => carrier.open('metadata/secret'));
      await failsWith('bundle.invalid', () => carrier.list('metadata'));
      await failsWith('bundle.invalid', () => carrier.create('metadata/x'));
      await failsWith('bundle.invalid', () => carrier.remove('metadata/secret'));
      await put(carrier, 'a', pattern(4, 2));
      await put(carrier, 'link', pattern(5, 2));
      assert.deepEqual(await peek('outside/secret'), pattern(9, 1));
      assert.deepEqual([await read(carrier, 'a'), await read(carrier, 'link')], [pattern(4, 2), pattern(5, 2)]);
    });

    check('a folder is no file', async ({ carrier, plant }) => {
      await plant('a/b', pattern(1, 1));
      await plant('c.partial/d', pattern(1, 1));
      await failsWith('bundle.invalid', () => carrier.open('a'));
      await failsWith('bundle.invalid', () => carrier.create('c'));
    });
  });
}

/** Writes a file in odd pieces. */
export async function put(carrier: Carrier, name: string, bytes: Uint8Array): Promise<void> {
  const writer = await carrier.create(name);
  const odd = 70_001;
  for (let at = writer.offset; at < bytes.length; at += odd) await writer.write(bytes.subarray(at, at + odd));
  await writer.commit();
}

export async function read(carrier: Carrier, name: string): Promise<Uint8Array> {
  const file = await carrier.open(name);
  assert.ok(file !== undefined, `${name} is not there`);
  try {
    const pieces: Buffer[] = [];
    for await (const piece of readAhead(file, { start: 0, end: file.size })) pieces.push(Buffer.from(piece));
    return new Uint8Array(Buffer.concat(pieces));
  } finally {
    await file.close();
  }
}

/** Compares bytes, naming the first one that differs. */
function same(found: Uint8Array | undefined, expected: Uint8Array): void {
  assert.ok(found !== undefined, 'there is nothing');
  if (Buffer.compare(found, expected) === 0) return;
  const at = expected.findIndex((byte, index) => found[index] !== byte);
  assert.fail(`${found.length} bytes, ${expected.length} expected; the first difference is at ${at}`);
}

/** Bytes that tell where they are. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >> 8) * 17 + seed) & 0xff;
  return bytes;
}

/** @returns the error */
export async function failsWith(code: ErrorCode, run: () => Promise<unknown>, about = ''): Promise<Error> {
  try {
    await run();
  } catch (error) {
    if (isAirlockError(error, code)) return error;
    throw error;
  }
  assert.fail(`${code} was expected ${JSON.stringify(about)}`);
}

async function using(carrier: Carrier, run: (carrier: Carrier) => Promise<void>): Promise<void> {
  try {
    await run(carrier);
  } finally {
    await carrier.close();
  }
}
