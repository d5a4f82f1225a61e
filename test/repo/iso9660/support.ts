import assert from 'node:assert/strict';
import { type ErrorCode, isAirlockError } from '../../../src/errors.ts';
import { type IsoEntry, type IsoImage, openIso } from '../../../src/repo/formats/iso9660/iso-image.ts';
import { type CountingSource, countingSource } from '../../media/byte-sources.ts';
import { type BuiltIso, buildIso, type IsoOptions, type IsoTree } from '../../media/iso-builder.ts';

export interface Opened extends BuiltIso {
  readonly source: CountingSource;
  readonly iso: IsoImage;
}

/** Builds an image, lets `patch` write into it, and opens it. */
export async function openBuilt(
  tree: IsoTree,
  options: IsoOptions & Parameters<typeof openIso>[1] = {},
  patch: (built: BuiltIso) => void = () => {},
): Promise<Opened> {
  const built = buildIso(tree, options);
  patch(built);
  const source = countingSource(built.image, { maxReads: 10_000 });
  return { ...built, source, iso: await openIso(source, options) };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function walkAll(iso: IsoImage): Promise<Map<string, IsoEntry>> {
  return new Map((await collect(iso.walk())).map((entry) => [entry.path, entry]));
}

/** The entry at a path that must be there. */
export async function entryAt(iso: IsoImage, path: string): Promise<IsoEntry> {
  const entry = await iso.stat(path);
  assert.ok(entry, `${path} is missing`);
  return entry;
}

export async function content(iso: IsoImage, path: string): Promise<string> {
  return Buffer.from(await iso.readFile(await entryAt(iso, path), 1 << 20)).toString('utf8');
}

/** Asserts that `work` fails with this code, and a message that says this. */
export async function refuses(work: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(isAirlockError(error, code), `expected ${code}, got ${String(error)}`);
    assert.match(error.message, message);
    return true;
  });
}
