/**
 * What the metadata of an RPM repository says of its files: `repomd.xml` names the metadata files with their digests,
 * the primary one names the packages with theirs. So packages of a plain web server can be proven, too.
 */

import { LRUCache } from 'lru-cache';
import { AirlockError, isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ByteSource, Digest } from '../repo/blobs/blob-store.ts';
import { parseDigest } from '../repo/blobs/layout.ts';
import { decompressed } from '../repo/formats/repodata/decompress.ts';
import { foreignPath } from '../repo/formats/repodata/foreign-path.ts';
import { readForeignXml } from '../repo/formats/repodata/foreign-xml.ts';
import { type ForeignRecord, readRepomd } from '../repo/formats/repodata/read-repomd.ts';
import type { Stated } from './sidecar.ts';

export const REPOMD = 'repodata/repomd.xml';

/** A file that a repomd.xml names. */
export interface ListedFile {
  readonly type: string;
  /** As we serve it. */
  readonly path: string;
  /** null where it is named with another algorithm. */
  readonly digest: Digest | null;
}

/** Opens what is kept, proven, or where it is to be had; undefined where nothing is. */
export type OpenKept = (path: string, how?: 'fetch') => Promise<KeptSource | undefined>;

interface KeptSource extends ByteSource {
  readonly digest: Digest;
  readonly isSigned: boolean;
  close(): Promise<void>;
}

/** The metadata files of a repository. */
interface Listed {
  readonly files: readonly ListedFile[];
  /** So is the repomd.xml, and with it all that it names. */
  readonly isSigned: boolean;
}

export class RepoDigests {
  readonly #open: OpenKept;
  /** Of metadata files of a repomd.xml that is only about to be kept. */
  readonly #announced = new LRUCache<string, Stated>({ max: 1000 });
  /** By the digest of a repomd.xml and where it lies. */
  readonly #lists = new LRUCache<string, readonly ListedFile[]>({ max: 100 });
  /** By the digest of the primary file: paths below the repository → digests. */
  readonly #packages = new LRUCache<Digest, ReadonlyMap<string, Digest>>({
    maxSize: limits.proxy.packageDigests,
    sizeCalculation: (packages) => packages.size + 1,
  });

  constructor(open: OpenKept) {
    this.#open = open;
  }

  announce({ files, isSigned }: Listed): void {
    for (const { path, digest } of files) if (digest !== null) this.#announced.set(path, { digest, isSigned });
  }

  /** The digest that a kept repository states for one of its files; null where none does. */
  async of(path: string): Promise<Stated | null> {
    const announced = this.#announced.get(path);
    if (announced !== undefined) return announced;
    for (let cut = path.lastIndexOf('/'); cut > 0; cut = path.lastIndexOf('/', cut - 1)) {
      const base = path.slice(0, cut + 1);
      const { files, isSigned } = await this.#listed(base);
      const stated = (digest: Digest | null | undefined) => (digest == null ? null : { digest, isSigned });
      const named = files.find((file) => file.path === path);
      if (named !== undefined) return stated(named.digest);
      const primary = files.find(({ type }) => type === 'primary');
      if (primary === undefined) continue;
      return stated((await this.#packagesOf(primary.path))?.get(path.slice(base.length)));
    }
    return null;
  }

  async #listed(base: string): Promise<Listed> {
    const repomd = await this.#open(`${base}${REPOMD}`);
    const nothing = { files: [], isSigned: false };
    if (repomd === undefined) return nothing;
    const { digest, size, isSigned } = repomd;
    const key = `${digest} ${base}`;
    try {
      if (size > limits.repodata.repomd) return nothing;
      const files = this.#lists.get(key) ?? listedFiles(`${base}${REPOMD}`, await wholeOf(repomd));
      this.#lists.set(key, files);
      return { files, isSigned };
    } catch (error) {
      if (isAirlockError(error)) return nothing;
      throw error;
    } finally {
      await repomd.close();
    }
  }

  async #packagesOf(path: string): Promise<ReadonlyMap<string, Digest> | undefined> {
    const primary = await this.#open(path, 'fetch');
    if (primary === undefined) return undefined;
    try {
      const known = this.#packages.get(primary.digest) ?? (await readDigests(primary));
      this.#packages.set(primary.digest, known);
      return known;
    } catch (error) {
      if (isAirlockError(error)) return undefined;
      throw error;
    } finally {
      await primary.close();
    }
  }
}

/**
 * The files that a repomd.xml names, by the paths under which we serve them.
 * @param path of the repomd.xml
 * @throws repodata.invalid, also for places outside of the repository
 */
export function listedFiles(path: string, bytes: Uint8Array): ListedFile[] {
  const base = path.slice(0, -REPOMD.length);
  return readRepomd(bytes).map(({ type, href, checksum }: ForeignRecord) => {
    const isOutside =
      /^[a-z][a-z0-9+.-]*:|^\/|\\|\/\//i.test(href) || href.split('/').some((part) => /^\.{0,2}$/.test(part));
    if (isOutside) {
      throw new AirlockError(
        'repodata.invalid',
        'The repomd.xml names a file outside of its repository. Tell whoever made it.',
      );
    }
    const digest = checksum.type === 'sha256' ? (parseDigest(`sha256:${checksum.value}`) ?? null) : null;
    return { type, path: `${base}${href}`, digest };
  });
}

/**
 * The digests of packages, by their paths. Packages of which it says no digest are left out.
 * @throws repodata.invalid for what `readForeignXml` refuses
 */
async function readDigests(source: ByteSource): Promise<Map<string, Digest>> {
  const packages = new Map<string, Digest>();
  const what = 'primary';
  const opened = decompressed(pieces(source), { what, most: limits.proxy.primaryBytes });
  let [digest, type]: [Digest | undefined, string] = [undefined, ''];
  await readForeignXml(
    opened,
    { what, root: 'metadata' },
    {
      open(name, attributes, depth) {
        if (depth === 2) digest = undefined;
        if (depth !== 3) return;
        if (name === 'checksum') type = attributes.type ?? '';
        if (name === 'location' && digest !== undefined && packages.size < limits.proxy.packageDigests)
          packages.set(pathOf(attributes.href ?? ''), digest);
      },
      close(name, text, depth) {
        if (depth === 3 && name === 'checksum') digest = type === 'sha256' ? parseDigest(`sha256:${text}`) : undefined;
      },
    },
  );
  return packages;
}

async function wholeOf(source: ByteSource): Promise<Buffer> {
  const read: Uint8Array[] = [];
  for await (const piece of pieces(source)) read.push(piece);
  return Buffer.concat(read);
}

/** As clients come to ask for it. What lies elsewhere is asked for by nobody. */
function pathOf(href: string): string {
  try {
    return foreignPath(href, undefined).path;
  } catch (error) {
    if (isAirlockError(error, 'repodata.invalid')) return href;
    throw error;
  }
}

async function* pieces(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < source.size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(64 * 1024, source.size - at));
    const length = await source.readAt(buffer, at);
    if (length === 0) return;
    yield buffer.subarray(0, length);
    at += length;
  }
}
