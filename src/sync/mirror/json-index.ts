/**
 * Listings in JSON: our own conductor's, nginx's (`autoindex_format json`), and both of Artifactory (a folder's children; a
 * list of all files below it).
 */
import { z } from 'zod';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import { parseDigest } from '../../repo/blobs/layout.ts';

/** An item of a listing, as far as that says it. */
export interface JsonItem {
  /** Below the folder, segments joined by `/`, not encoded: as it stands there, not checked. */
  readonly path: string;
  readonly isFolder: boolean;
  readonly size: number | null;
  readonly digest: Digest | null;
  /** What tells one state of it from another. */
  readonly said: string | null;
}

const text = z.string();
const bytes = z.number().int().nonnegative();

const conductor = z.object({
  items: z.array(
    z.object({ type: z.enum(['file', 'folder']), name: text, size: bytes.optional(), digest: text.optional() }),
  ),
});
const nginx = z.array(z.object({ type: text, name: text, size: bytes.optional(), mtime: text.optional() }));
const artifactoryFolder = z.object({ children: z.array(z.object({ uri: text, folder: z.boolean() })) });
const artifactoryList = z.object({
  files: z.array(
    z.object({
      uri: text,
      size: bytes,
      folder: z.boolean().default(false),
      lastModified: text.optional(),
      sha1: text.optional(),
      sha2: text.optional(),
    }),
  ),
});

/** @returns undefined for what is none of these listings */
export function readJsonIndex(document: unknown): JsonItem[] | undefined {
  const own = conductor.safeParse(document).data;
  if (own !== undefined) {
    return own.items.map(({ type, name, size = null, digest = '' }) => {
      const known = parseDigest(digest) ?? null;
      return { path: name, isFolder: type === 'folder', size, digest: known, said: known };
    });
  }
  const list = artifactoryList.safeParse(document).data;
  if (list !== undefined) {
    return list.files.map(({ uri, size, folder, lastModified = '', sha1 = '', sha2 = '' }) => ({
      path: uri.replace(/^\//, ''),
      isFolder: folder,
      size,
      digest: parseDigest(`sha256:${sha2}`) ?? null,
      said: [size, lastModified, sha1, sha2].join(' ').trim(),
    }));
  }
  const folder = artifactoryFolder.safeParse(document).data;
  if (folder !== undefined) {
    return folder.children.map(({ uri, folder: isFolder }) => {
      return { path: uri.replace(/^\//, ''), isFolder, size: null, digest: null, said: null };
    });
  }
  return nginx.safeParse(document).data?.map(({ type, name, size = null, mtime }) => {
    const said = mtime === undefined ? null : `${size} ${mtime}`;
    return { path: name, isFolder: type === 'directory', size, digest: null, said };
  });
}
