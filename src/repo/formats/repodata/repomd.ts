import { createHash } from 'node:crypto';
import { AirlockError } from '../../../errors.ts';
import type { Digest } from '../../blobs/blob-store.ts';
import { METADATA_KINDS, type MetadataKind } from './metadata-kinds.ts';
import { xmlText } from './xml-text.ts';

/** Metadata that an ISO or an upstream brings along and that is passed on as it is. */
export type CarriedKind = 'group' | 'group_gz' | 'updateinfo' | 'modules';

const CARRIED_NAMES: Readonly<Record<CarriedKind, string>> = {
  group: 'comps.xml',
  group_gz: 'comps.xml',
  updateinfo: 'updateinfo.xml',
  modules: 'modules.yaml',
};

const ORDER: readonly (MetadataKind | CarriedKind)[] = [
  ...METADATA_KINDS,
  ...(['group', 'group_gz', 'updateinfo', 'modules'] as const),
];

/** A metadata file of a repository. */
export interface RepomdRecord {
  readonly type: MetadataKind | CarriedKind;
  /** What it is compressed with, null if it is not. */
  readonly extension: 'gz' | 'zst' | 'xz' | 'bz2' | null;
  readonly size: number;
  readonly digest: Digest;
  /** Decompressed. Not needed where there is no compression. */
  readonly openSize?: number;
  readonly openDigest?: Digest;
}

/**
 * The time that repomd.xml gives to every file. It is always the same one, for two reasons: the bytes of repodata depend
 * on the packages alone, and yum (el7) refuses metadata that is older than what it has, which is what rolling back to an
 * earlier revision would look like under any honest time.
 */
const TIMESTAMP = 1;

/** Where a metadata file lies in its repository. The name tells its content, so it may be kept for ever. */
export function metadataPath({ type, extension, digest }: RepomdRecord): string {
  const name = isCarried(type) ? CARRIED_NAMES[type] : `${type}.xml`;
  return `repodata/${hexOf(digest)}-${name}${extension === null ? '' : `.${extension}`}`;
}

/**
 * repomd.xml: what a client reads first, and what the repository key signs. One record for each type; the order given
 * does not matter.
 * @throws internal if a type comes twice, or one of the three that every repository has is missing
 */
export function repomd(records: readonly RepomdRecord[]): string {
  const sorted = ORDER.flatMap((type) => records.filter((record) => record.type === type));
  const types = new Set(sorted.map(({ type }) => type));
  if (types.size !== records.length || METADATA_KINDS.some((kind) => !types.has(kind))) {
    const message = `repomd.xml cannot list ${records.map(({ type }) => type).join(', ')}. Please report this with the command.`;
    throw new AirlockError('internal', message);
  }
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">',
    `  <revision>${revisionOf(sorted)}</revision>`,
    ...sorted.flatMap(dataElement),
    '</repomd>',
    '',
  ].join('\n');
}

/** Names this state of the repository for people (`dnf repolist -v`); it has no order. */
function revisionOf(records: readonly RepomdRecord[]): string {
  const hash = createHash('sha256');
  for (const { type, digest } of records) hash.update(`${type} ${digest}\n`);
  return hash.digest('hex').slice(0, 16);
}

function dataElement(record: RepomdRecord): string[] {
  const { type, size, digest, openSize, openDigest } = record;
  return [
    `  <data type="${type}">`,
    `    <checksum type="sha256">${hexOf(digest)}</checksum>`,
    ...(openDigest === undefined ? [] : [`    <open-checksum type="sha256">${hexOf(openDigest)}</open-checksum>`]),
    `    <location href="${xmlText(metadataPath(record))}"/>`,
    `    <timestamp>${TIMESTAMP}</timestamp>`,
    `    <size>${size}</size>`,
    ...(openSize === undefined ? [] : [`    <open-size>${openSize}</open-size>`]),
    '  </data>',
  ];
}

function isCarried(type: MetadataKind | CarriedKind): type is CarriedKind {
  return type in CARRIED_NAMES;
}

function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
