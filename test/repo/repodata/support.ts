import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { ByteSource, Digest } from '../../../src/repo/blobs/blob-store.ts';
import { COMPRESSION, type Compression } from '../../../src/repo/formats/repodata/compression.ts';
import { METADATA_KINDS, type MetadataKind } from '../../../src/repo/formats/repodata/metadata-kinds.ts';
import { type PackageFragments, packageFragments } from '../../../src/repo/formats/repodata/package-fragments.ts';
import { packageSortKey } from '../../../src/repo/formats/repodata/package-order.ts';
import { packagePath } from '../../../src/repo/formats/repodata/package-path.ts';
import { metadataPath, type RepomdRecord, repomd } from '../../../src/repo/formats/repodata/repomd.ts';
import {
  type PackageList,
  type WrittenMetadata,
  writeMetadata,
} from '../../../src/repo/formats/repodata/write-metadata.ts';
import { type RpmFacts, rpmFacts } from '../../../src/repo/formats/rpm/facts.ts';
import { openRpm } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { countingSource } from '../../media/byte-sources.ts';

/** A package as the writer wants it. */
export interface Listed {
  readonly digest: Digest;
  readonly sortKey: string;
  readonly fragments: PackageFragments;
}

export interface Described extends Listed {
  readonly facts: RpmFacts;
  readonly path: string;
}

export async function describePackage(file: Uint8Array): Promise<Described> {
  const digest: Digest = `sha256:${createHash('sha256').update(file).digest('hex')}`;
  const rpm = await openRpm(countingSource(file));
  const facts = rpmFacts(rpm);
  const fragments = packageFragments(rpm, { digest, size: file.length });
  return { digest, facts, fragments, path: packagePath(facts), sortKey: packageSortKey(facts, digest) };
}

/** Counts what is asked of it. */
export interface CountingList extends PackageList {
  asked: number;
}

export function listOf(packages: readonly Listed[]): CountingList {
  const sorted = [...packages].sort((a, b) => (a.sortKey < b.sortKey ? -1 : 1));
  const byDigest = new Map(sorted.map((each) => [each.digest, each]));
  return {
    asked: 0,
    count: sorted.length,
    digests: () => sorted.map(({ digest }) => digest),
    *fragments(kind: MetadataKind, digests: readonly Digest[]) {
      for (const digest of digests) {
        this.asked += 1;
        yield byDigest.get(digest)?.fragments[kind] ?? Buffer.alloc(0);
      }
    },
  };
}

export interface Written extends WrittenMetadata {
  readonly bytes: Buffer;
}

export async function written(
  kind: MetadataKind,
  list: PackageList,
  compression: Compression,
  previous?: ByteSource,
): Promise<Written> {
  const chunks: Buffer[] = [];
  const sink = async (bytes: Uint8Array) => {
    chunks.push(Buffer.from(bytes));
  };
  const result = await writeMetadata(kind, list, { compression, previous, sink });
  return { ...result, bytes: Buffer.concat(chunks) };
}

/** Writes `repodata/` of these packages into `dir`. @returns the text of repomd.xml */
export async function writeRepodata(
  dir: string,
  packages: readonly Listed[],
  compression: Compression,
): Promise<string> {
  mkdirSync(path.join(dir, 'repodata'), { recursive: true });
  const records: RepomdRecord[] = [];
  for (const type of METADATA_KINDS) {
    const { bytes, size, digest, openSize, openDigest } = await written(type, listOf(packages), compression);
    const record = { type, extension: COMPRESSION[compression].extension, size, digest, openSize, openDigest };
    writeFileSync(path.join(dir, metadataPath(record)), bytes);
    records.push(record);
  }
  const text = repomd(records);
  writeFileSync(path.join(dir, 'repodata', 'repomd.xml'), text);
  return text;
}

/** Puts packages into `dir` where they belong. */
export async function writePackages(dir: string, files: readonly string[]): Promise<Described[]> {
  const described: Described[] = [];
  for (const file of files) {
    const bytes = await readFile(file);
    const each = await describePackage(bytes);
    mkdirSync(path.dirname(path.join(dir, each.path)), { recursive: true });
    writeFileSync(path.join(dir, each.path), bytes);
    described.push(each);
  }
  return described;
}
