import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { ByteSource, Digest } from '../../blobs/blob-store.ts';
import { COMPRESSION, type Compression, type CompressionFormat } from './compression.ts';
import { crc32Joined } from './crc32-joined.ts';
import { encodeIndex, type GroupKey, KEY_BYTES, type Member, type PlacedMember, readIndex } from './member-index.ts';
import { type MetadataKind, metadataFrame } from './metadata-kinds.ts';

/** Part of every key: change it with every change to what `packageFragments` or this file writes. */
const FORMAT = 'airlock metadata 2';

/** The packages of a repository, without holding them in memory. */
export interface PackageList {
  readonly count: number;
  /** In the order of `packageSortKey`, each once. */
  digests(): Iterable<Digest>;
  /** What `packageFragments` gave for these packages, in this order. Asked for only where no earlier file has them. */
  fragments(kind: MetadataKind, digests: readonly Digest[]): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

export interface MetadataTarget {
  readonly compression: Compression;
  /**
   * The same file of another state of this repository, which this function has written and which is undamaged. What has
   * not changed is copied from there. Another file is of no use, and does no harm. It stays the caller's.
   */
  readonly previous?: ByteSource | undefined;
  /** Takes the file in order. The buffer is free again when the promise is settled. */
  readonly sink: (bytes: Uint8Array) => Promise<void>;
}

/** What repomd.xml says of a file. */
export interface WrittenMetadata {
  readonly size: number;
  readonly digest: Digest;
  /** Of the XML. */
  readonly openSize: number;
  readonly openDigest: Digest;
  /** Packages whose fragments were not asked for. */
  readonly copied: number;
}

/**
 * Writes primary.xml, filelists.xml or other.xml, compressed. The bytes depend on the packages alone (and on the version
 * of the compressor), not on `previous`. Memory is bounded by `limits.repodata` and by the largest fragment.
 *
 * The file is made of many pieces, each compressed by itself. Where one ends and the next begins depends on the digests of
 * the packages there and nothing else, so a package more or less changes one of them. An index at the end, which readers
 * skip, tells by key what is in each.
 * @throws blob.damaged if a copied part of `previous` is not what its index says: what was written is of no use, and
 *   `previous` must be left out; internal if there are not as many packages as `count` says; what list, source and sink throw
 */
export async function writeMetadata(
  kind: MetadataKind,
  packages: PackageList,
  { compression, previous, sink }: MetadataTarget,
): Promise<WrittenMetadata> {
  const format = COMPRESSION[compression];
  const known = previous === undefined ? new Map<GroupKey, PlacedMember[]>() : await readIndex(previous, format);
  const output = new Output(format, sink);
  try {
    const copied = await writeMembers(output, kind, packages, { format, previous, known });
    return { ...(await output.end()), copied };
  } finally {
    await output.settled();
  }
}

interface Origin {
  readonly format: CompressionFormat;
  readonly previous: ByteSource | undefined;
  readonly known: ReadonlyMap<GroupKey, readonly PlacedMember[]>;
}

/** @returns how many packages were copied */
async function writeMembers(
  output: Output,
  kind: MetadataKind,
  packages: PackageList,
  { format, previous, known }: Origin,
): Promise<number> {
  const { head, foot } = metadataFrame(kind, packages.count);
  let [count, copied] = [0, 0];
  const run = new Run(async (members) => {
    if (previous !== undefined) await output.add(copiedFrom(previous, members, format));
  });
  await output.add(compressed(head, null, format));
  for (const group of groupsOf(packages.digests())) {
    const key = groupKey(kind, format, group);
    const members = known.get(key);
    if (members !== undefined) {
      for (const member of members) await run.add(member);
      copied += group.length;
    } else {
      await run.end();
      for await (const bytes of batches(packages.fragments(kind, group), group.length)) {
        await output.add(compressed(bytes, key, format));
      }
    }
    count += group.length;
  }
  await run.end();
  if (count !== packages.count) throw new AirlockError('internal', wrongCount(count, packages.count));
  await output.add(compressed(foot, null, format));
  return copied;
}

/** Members that lie one behind the other in the file before are copied together: a read, a decompression and a write for all. */
class Run {
  readonly #copy: (members: readonly PlacedMember[]) => Promise<void>;
  #members: PlacedMember[] = [];
  #openLength = 0;

  constructor(copy: (members: readonly PlacedMember[]) => Promise<void>) {
    this.#copy = copy;
  }

  async add(member: PlacedMember): Promise<void> {
    const last = this.#members.at(-1);
    const follows = last === undefined || last.position + last.length === member.position;
    if (!follows || this.#openLength + member.openLength > limits.repodata.run) await this.end();
    this.#members.push(member);
    this.#openLength += member.openLength;
  }

  async end(): Promise<void> {
    const members = this.#members;
    [this.#members, this.#openLength] = [[], 0];
    if (members.length > 0) await this.#copy(members);
  }
}

/** One member or several in a row, on their way: the thread pool works on them while others are written. */
interface Pending {
  /** Bytes of memory that it takes, about. */
  readonly weight: number;
  readonly piece: Promise<Piece>;
}

interface Piece {
  readonly packed: Uint8Array;
  readonly open: readonly Uint8Array[];
  readonly members: readonly Member[];
}

function compressed(open: Uint8Array, key: GroupKey | null, format: CompressionFormat): Pending {
  const compress = async (): Promise<Piece> => {
    const packed = await format.compress(open);
    const member = { key, length: packed.length, openLength: open.length, openCrc: crc32(open) };
    return { packed, open: [open], members: [member] };
  };
  return { weight: open.length, piece: compress() };
}

/** @param members which lie one behind the other there */
function copiedFrom(previous: ByteSource, members: readonly PlacedMember[], format: CompressionFormat): Pending {
  const length = members.reduce((sum, each) => sum + each.length, 0);
  const openLength = members.reduce((sum, each) => sum + each.openLength, 0);
  const position = members[0]?.position ?? 0;
  const read = async (): Promise<Piece> => {
    try {
      const packed = Buffer.allocUnsafe(length);
      if ((await previous.readAt(packed, position)) !== length) throw new Error('it is cut short');
      return { packed, open: await format.decompress(packed, members), members };
    } catch (cause) {
      const message = 'The repository metadata published before is damaged; write it again from its packages.';
      throw new AirlockError('blob.damaged', message, { cause, details: { position } });
    }
  };
  return { weight: length + openLength, piece: read() };
}

/** Writes members in order, a few of them under way. */
class Output {
  readonly #format: CompressionFormat;
  readonly #sink: MetadataTarget['sink'];
  readonly #pending: Pending[] = [];
  readonly #members: Member[] = [];
  readonly #hash = createHash('sha256');
  readonly #openHash = createHash('sha256');
  #weight = 0;
  #size = 0;
  #openSize = 0;
  #openCrc = 0;

  constructor(format: CompressionFormat, sink: MetadataTarget['sink']) {
    this.#format = format;
    this.#sink = sink;
  }

  async add(member: Pending): Promise<void> {
    // It may fail while an earlier one is being written; then it is that one's error that counts.
    member.piece.catch(() => undefined);
    this.#pending.push(member);
    this.#weight += member.weight;
    while (this.#pending.length > limits.repodata.pending || this.#weight > limits.repodata.pendingBytes) {
      await this.#writeFirst();
      if (this.#pending.length === 0) return;
    }
  }

  async end(): Promise<Omit<WrittenMetadata, 'copied'>> {
    while (this.#pending.length > 0) await this.#writeFirst();
    const content = { crc: this.#openCrc, size: this.#openSize };
    const closing = this.#format.closing(encodeIndex(this.#members), content);
    this.#openHash.update(closing.content);
    this.#openSize += closing.content.length;
    await this.#write(closing.bytes);
    return {
      size: this.#size,
      digest: `sha256:${this.#hash.digest('hex')}`,
      openSize: this.#openSize,
      openDigest: `sha256:${this.#openHash.digest('hex')}`,
    };
  }

  /** After a failure work may still be under way, and read from what the caller is about to close. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending.map(({ piece }) => piece));
  }

  async #writeFirst(): Promise<void> {
    const [first] = this.#pending;
    if (first === undefined) return;
    const { packed, open, members } = await first.piece;
    this.#pending.shift();
    this.#weight -= first.weight;
    for (const bytes of open) this.#openHash.update(bytes);
    if (this.#members.length === 0) await this.#write(this.#format.opening);
    for (const { key, length, openLength, openCrc } of members) {
      this.#openSize += openLength;
      this.#openCrc = crc32Joined(this.#openCrc, openCrc, openLength);
      this.#members.push({ key, length, openLength, openCrc });
    }
    await this.#write(packed);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    this.#size += bytes.length;
    await this.#sink(bytes);
  }
}

/** Cuts behind every package whose digest says so: on average every 64th. */
function* groupsOf(digests: Iterable<Digest>): Generator<Digest[], void, undefined> {
  let group: Digest[] = [];
  for (const digest of digests) {
    group.push(digest);
    const isBorder = Number.parseInt(digest.slice(-8), 16) % limits.repodata.groupPackages === 0;
    if (!isBorder && group.length < 4 * limits.repodata.groupPackages) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

function groupKey(kind: MetadataKind, format: CompressionFormat, group: readonly Digest[]): GroupKey {
  const content = `${FORMAT}\n${format.version}\n${kind}\n${group.join('\n')}`;
  return createHash('sha256')
    .update(content)
    .digest('hex')
    .slice(0, 2 * KEY_BYTES);
}

/** Large groups become several members. @throws internal if there are not as many fragments as packages */
async function* batches(
  fragments: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  expected: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let [batch, length, count]: [Uint8Array[], number, number] = [[], 0, 0];
  for await (const fragment of fragments) {
    count += 1;
    batch.push(fragment);
    length += fragment.length;
    if (length < limits.repodata.member) continue;
    yield Buffer.concat(batch);
    [batch, length] = [[], 0];
  }
  if (count !== expected) throw new AirlockError('internal', wrongCount(count, expected));
  if (length > 0) yield Buffer.concat(batch);
}

function wrongCount(found: number, expected: number): string {
  return `${found} packages were to be listed instead of ${expected}. Please report this with the command.`;
}
