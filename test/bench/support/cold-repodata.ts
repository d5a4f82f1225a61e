/**
 * Repodata of a folder of package files, made by what makes it in Airlock: `node cold-repodata.ts FOLDER TO THREADS`
 * writes `primary.xml.gz` and so on. Each file is hashed and read once, by one of the threads, as `createrepo_c --workers`
 * has it.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { Digest } from '../../../src/repo/blobs/blob-store.ts';
import { METADATA_KINDS, type MetadataKind } from '../../../src/repo/formats/repodata/metadata-kinds.ts';
import { packageSortKey } from '../../../src/repo/formats/repodata/package-order.ts';
import { writeMetadata } from '../../../src/repo/formats/repodata/write-metadata.ts';
import { openRpm } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { readPackage } from '../../../src/repo/packages/read-package.ts';

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
else await describeNext(workerData as Work);

async function main([folder = '', to = '', threads = '2']: readonly string[]): Promise<void> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.rpm'));
  const work: Work = {
    files: files.map((name) => path.join(folder, name)),
    next: new Int32Array(new SharedArrayBuffer(4)),
  };
  const all = (await Promise.all(Array.from({ length: Number(threads) }, () => inThread(work)))).flat();
  all.sort((a, b) => (a.sortKey < b.sortKey ? -1 : 1));
  const texts = new Map(all.map((each) => [each.digest, each.texts]));
  await Promise.all(METADATA_KINDS.map((kind) => write(kind, texts, path.join(to, `${kind}.xml.gz`))));
}

function inThread(work: Work): Promise<Described[]> {
  return new Promise((resolve, reject) => {
    const described: Described[] = [];
    const worker = new Worker(new URL(import.meta.url), { workerData: work });
    worker.on('message', (batch: Described[]) => described.push(...batch));
    worker.on('error', reject).on('exit', () => resolve(described));
  });
}

async function describeNext({ files, next }: Work): Promise<void> {
  let batch: Described[] = [];
  const send = () => {
    parentPort?.postMessage(batch);
    batch = [];
  };
  for (let at = Atomics.add(next, 0, 1); at < files.length; at = Atomics.add(next, 0, 1)) {
    batch.push(await describe(files[at] ?? ''));
    if (batch.length === 100) send();
  }
  send();
}

async function describe(file: string): Promise<Described> {
  const fd = openSync(file, 'r');
  try {
    const bytes = Buffer.allocUnsafe(fstatSync(fd).size);
    readSync(fd, bytes);
    const digest: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const source = {
      size: bytes.length,
      readAt: async (into: Uint8Array, position: number) => bytes.copy(into, 0, position, position + into.length),
    };
    const { facts, record } = readPackage(await openRpm(source), { digest, size: bytes.length });
    return { digest, sortKey: packageSortKey(facts, digest), texts: record.texts };
  } finally {
    closeSync(fd);
  }
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
