/**
 * What a path's name says of its content: whether it can ever change, and what it cannot be.
 */
import type { Digest } from '../repo/blobs/blob-store.ts';
import { digestOfHex } from '../repo/blobs/layout.ts';

export interface ContentClass {
  /**
   * `immutable`: the name carries digest or version, the bytes are the same for ever. `repomd`: names the files of a
   * repository, which must be had with it. `folder`: a listing. `metadata`: everything else.
   */
  readonly kind: 'immutable' | 'repomd' | 'folder' | 'metadata';
  /** An image, package or archive: never a web page. */
  readonly isBinary: boolean;
  /** A vendor may publish a checksum file beside it. */
  readonly hasSidecar: boolean;
  /** It vouches for others, so a vendor may publish a signature beside it. */
  readonly isVoucher: boolean;
}

const IMAGE = /\.(?:iso|tar|img|qcow2|ova|vmdk|vhdx?)$/i;
const PACKAGE = /\.(?:rpm|drpm|srpm)$/i;
const ARCHIVE = /\.(?:t?gz|xz|bz2|zst|zip|zck)$/i;
const BY_DIGEST = /(?:^|\/)repodata\/([0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})-[^/]+$/;

/** @param path as served: `upstreams/ssr/6.3/x.iso`; a folder ends with a slash */
export function classOf(path: string): ContentClass {
  const isImage = IMAGE.test(path);
  const isBinary = isImage || PACKAGE.test(path) || ARCHIVE.test(path);
  const isImmutable = isImage || PACKAGE.test(path) || BY_DIGEST.test(path);
  const kind = path.endsWith('/')
    ? 'folder'
    : isImmutable
      ? 'immutable'
      : /(?:^|\/)repodata\/repomd\.xml$/.test(path)
        ? 'repomd'
        : 'metadata';
  const isVoucher = kind === 'repomd' || /\.sha256sum$|\/sha256sum(?:\.txt)?$/.test(path);
  return { kind, isBinary, hasSidecar: isImage, isVoucher };
}

/** The digest that a metadata file of a repository has in its name; null for others, and for other algorithms. */
export function digestInName(path: string): Digest | null {
  return digestOfHex(BY_DIGEST.exec(path)?.[1] ?? '') ?? null;
}
