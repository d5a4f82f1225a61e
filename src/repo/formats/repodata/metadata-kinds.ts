/** The three files of metadata that every repository has. */
export const METADATA_KINDS = ['primary', 'filelists', 'other'] as const;
export type MetadataKind = (typeof METADATA_KINDS)[number];

const ROOTS: Readonly<Record<MetadataKind, readonly [name: string, namespaces: string]>> = {
  primary: ['metadata', 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'],
  filelists: ['filelists', 'xmlns="http://linux.duke.edu/metadata/filelists"'],
  other: ['otherdata', 'xmlns="http://linux.duke.edu/metadata/other"'],
};

/** What stands before the first and behind the last package of a metadata file. */
export function metadataFrame(kind: MetadataKind, packages: number): { readonly head: Buffer; readonly foot: Buffer } {
  const [name, namespaces] = ROOTS[kind];
  const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';
  return {
    head: Buffer.from(`${declaration}<${name} ${namespaces} packages="${packages}">\n`),
    foot: Buffer.from(`</${name}>\n`),
  };
}
