/**
 * Repodata of a folder of package files, made by what makes it in Airlock: `node cold-repodata.ts FOLDER TO THREADS`
 * writes `primary.xml.gz` and so on. Each file is hashed and read once, by one of the threads, as `createrepo_c --workers`
 * has it; the main thread is one of them.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { METADATA_KINDS, type MetadataKind } from '../../../src/repo/formats/repodata/metadata-kinds.ts';
import { describePackage } from '../../../src/repo/formats/repodata/package-fragments.ts';
import { packageSortKey } from '../../../src/repo/formats/repodata/package-order.ts';
import { writeMetadata } from '../../../src/repo/formats/repodata/write-metadata.ts';
import { openRpm } from '../../../src/repo/formats/rpm/rpm-file.ts';

interface Described {
  readonly digest: Digest;
  readonly sortKey: string;
  readonly texts: Readonly<Record<MetadataKind, Uint8Array>>;
}

/** Files, and a counter that all threads share: the next one to be read. */
interface Work {
  readonly files: readonly string[];
  readonly next: Int32Array;
}

if (isMainThread) await main(process.argv.slice(2));
else await describeNext(workerData as Work, (batch) => parentPort?.postMessage(batch));

async function main([folder = '', to = '', threads = '2']: readonly string[]): Promise<void> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.rpm'));
  const work: Work = {
    files: files.map((name) => path.join(folder, name)),
    next: new Int32Array(new SharedArrayBuffer(4)),
  };
  const all: Described[] = [];
  const take = (batch: readonly Described[]) => void all.push(...batch);
  const others = Array.from({ length: Number(threads) - 1 }, () => inThread(work, take));
  await Promise.all([describeNext(work, take), ...others]);
  all.sort((a, b) => (a.sortKey < b.sortKey ? -1 : 1));
  const texts = new Map(all.map((each) => [each.digest, each.texts]));
  await Promise.all(METADATA_KINDS.map((kind) => write(kind, texts, path.join(to, `${kind}.xml.gz`))));
}

type Take = (batch: readonly Described[]) => void;

function inThread(work: Work, take: Take): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: work });
    worker.on('message', take).on('error', reject);
    worker.on('exit', () => resolve());
  });
}

async function describeNext({ files, next }: Work, take: Take): Promise<void> {
  let batch: Described[] = [];
  let room = Buffer.alloc(0);
  for (let at = Atomics.add(next, 0, 1); at < files.length; at = Atomics.add(next, 0, 1)) {
    const fd = openSync(files[at] ?? '', 'r');
    const { size } = fstatSync(fd);
    if (room.length < size) room = Buffer.allocUnsafe(2 * size);
    readSync(fd, room, 0, size, 0);
    closeSync(fd);
    batch.push(await describe(room.subarray(0, size)));
    if (batch.length < 100) continue;
    take(batch);
    batch = [];
  }
  take(batch);
}

async function describe(bytes: Buffer): Promise<Described> {
  const digest: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const source = {
    size: bytes.length,
    readAt: async (into: Uint8Array, position: number) => bytes.copy(into, 0, position, position + into.length),
  };
  const { facts, fragments } = describePackage(await openRpm(source), { digest, size: bytes.length });
  return { digest, sortKey: packageSortKey(facts, digest), texts: fragments };
}

async function write(kind: MetadataKind, texts: ReadonlyMap<Digest, Described['texts']>, file: string): Promise<void> {
  const handle = await open(file, 'w');
  const list = {
    count: texts.size,
    digests: () => texts.keys(),
    fragments: (of: MetadataKind, digests: readonly Digest[]) =>
      digests.flatMap((digest) => texts.get(digest)?.[of] ?? []),
  };
  try {
    await writeMetadata(kind, list, { compression: 'gzip', sink: (bytes) => handle.writeFile(bytes) });
  } finally {
    await handle.close();
  }
}
