const TEXT = 'text/plain; charset=utf-8';

/** Nothing here is shown by a browser as a page: a stored file is never part of our own pages. */
const TYPES: Readonly<Record<string, string>> = {
  iso: 'application/x-iso9660-image',
  rpm: 'application/x-rpm',
  tar: 'application/x-tar',
  gz: 'application/gzip',
  tgz: 'application/gzip',
  xz: 'application/x-xz',
  bz2: 'application/x-bzip2',
  zst: 'application/zstd',
  zip: 'application/zip',
  qcow2: 'application/x-qemu-disk',
  json: 'application/json',
  xml: 'application/xml',
  asc: TEXT,
  md5: TEXT,
  md5sum: TEXT,
  sha1: TEXT,
  sha1sum: TEXT,
  sha256: TEXT,
  sha256sum: TEXT,
  sha512: TEXT,
  sha512sum: TEXT,
  txt: TEXT,
  md: TEXT,
  log: TEXT,
  repo: TEXT,
};

/** The media type that a file's name promises. */
export function mediaTypeOf(name: string): string {
  const extension = name.slice(name.lastIndexOf('.') + 1).toLowerCase();
  return (Object.hasOwn(TYPES, extension) ? TYPES[extension] : undefined) ?? 'application/octet-stream';
}
