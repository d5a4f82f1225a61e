import { isMap, isScalar, parseDocument } from 'yaml';
import { limits } from '../../../limits.ts';
import type { IsoEntry, IsoImage } from './iso-image.ts';

/** What an image tells of itself. All texts are cut to `limits.iso.factLength` and free of control characters. */
export interface ImageFacts {
  /** Volume label. */
  readonly label: string;
  /**
   * `image`: its manifest says so (`install-type: image`), or it has a file system image to install and no RPMs;
   * `package`: it has RPMs; else `unknown`.
   */
  readonly kind: 'package' | 'image' | 'unknown';
  /** Of `/.treeinfo`, as Anaconda and Pungi write it. */
  readonly treeinfo?: { readonly family?: string; readonly version?: string; readonly arch?: string };
  /** Lines of `/.discinfo`. */
  readonly discinfo?: readonly string[];
  /** Top-level texts and numbers, as written, of `/manifest.yaml`, `/manifest.yml` or `/manifest.json`. */
  readonly manifest?: Readonly<Record<string, string>>;
  readonly hasRpms: boolean;
  /** There is a squashfs, by its first bytes. */
  readonly hasSquashfs: boolean;
  readonly hasLiveOs: boolean;
  readonly hasElTorito: boolean;
}

const SQUASHFS_NAME = /\.(?:squashfs|sfs)$|^squashfs\.img$/i;
const RPM_NAME = /\.rpm$/i;
const MANIFESTS = ['manifest.yaml', 'manifest.yml', 'manifest.json'];

/**
 * Looks into an image: a few small files at its top, and the names in it until enough is seen. What these files say is
 * the image's own claim. A file that cannot be parsed gives no facts; a damaged image throws.
 * @throws as IsoImage
 */
export async function describeImage(iso: IsoImage): Promise<ImageFacts> {
  const top = new Map<string, IsoEntry>();
  for await (const entry of iso.list()) {
    if (['.treeinfo', '.discinfo', 'LiveOS', ...MANIFESTS].includes(entry.name)) top.set(entry.name, entry);
  }
  const treeinfo = await read(iso, top.get('.treeinfo'));
  const discinfo = await read(iso, top.get('.discinfo'));
  const manifestText = await read(
    iso,
    MANIFESTS.map((name) => top.get(name)).find((entry) => entry?.type === 'file'),
  );
  const manifest = manifestText === undefined ? undefined : parseManifest(manifestText);
  const found = await search(iso);
  const hasLiveOs = top.get('LiveOS')?.type === 'directory';
  return {
    label: clean(iso.volumeId),
    kind: kindOf(manifest, found.hasRpms, found.hasSquashfs || hasLiveOs),
    ...(treeinfo === undefined ? {} : { treeinfo: parseTreeinfo(treeinfo) }),
    ...(discinfo === undefined ? {} : { discinfo: parseLines(discinfo) }),
    ...(manifest === undefined ? {} : { manifest }),
    ...found,
    hasLiveOs,
    hasElTorito: iso.hasElTorito,
  };
}

function kindOf(manifest: ImageFacts['manifest'], hasRpms: boolean, hasSystem: boolean): ImageFacts['kind'] {
  if (manifest?.['install-type'] === 'image') return 'image';
  return hasRpms ? 'package' : hasSystem ? 'image' : 'unknown';
}

async function search(iso: IsoImage): Promise<{ hasRpms: boolean; hasSquashfs: boolean }> {
  let hasRpms = false;
  let hasSquashfs = false;
  for await (const entry of iso.walk()) {
    if (entry.type !== 'file') continue;
    hasRpms ||= RPM_NAME.test(entry.name);
    if (!hasSquashfs && SQUASHFS_NAME.test(entry.name)) hasSquashfs = await isSquashfs(iso, entry);
    if (hasRpms && hasSquashfs) break;
  }
  return { hasRpms, hasSquashfs };
}

/** Squashfs 4 starts with `hsqs` (its superblock's magic, little-endian). */
async function isSquashfs(iso: IsoImage, entry: IsoEntry): Promise<boolean> {
  const magic = Buffer.alloc(4);
  await iso.source(entry).readAt(magic, 0);
  return magic.toString('latin1') === 'hsqs';
}

/** The start of a file as text; whole lines if it is longer than `limits.iso.factsBytes`. */
async function read(iso: IsoImage, entry: IsoEntry | undefined): Promise<string | undefined> {
  if (entry?.type !== 'file') return undefined;
  const bytes = Buffer.alloc(Math.min(entry.size, limits.iso.factsBytes));
  await iso.source(entry).readAt(bytes, 0);
  const text = bytes.toString('utf8');
  return entry.size > bytes.length ? text.slice(0, text.lastIndexOf('\n') + 1) : text;
}

function clean(text: string): string {
  return text
    .slice(0, limits.iso.factLength)
    .replace(/\p{Cc}/gu, ' ')
    .trim();
}

function parseLines(text: string): string[] {
  return text.trimEnd().split('\n', limits.iso.facts).map(clean);
}

/** An INI file. Old ones say all in `[general]`; productmd's have `[release]` and `[tree]` too. */
function parseTreeinfo(text: string): NonNullable<ImageFacts['treeinfo']> {
  const values = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n')) {
    const [, header] = /^\s*\[([^\]]*)\]/.exec(line) ?? [];
    if (header !== undefined) section = header;
    const [, key, value] = /^([\w-]+)\s*[=:](.*)$/s.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(`${section}.${key}`, clean(value));
  }
  const family = values.get('general.family') ?? values.get('release.name');
  const version = values.get('general.version') ?? values.get('release.version');
  const arch = values.get('general.arch') ?? values.get('tree.arch');
  return {
    ...(family === undefined ? {} : { family }),
    ...(version === undefined ? {} : { version }),
    ...(arch === undefined ? {} : { arch }),
  };
}

/**
 * JSON is YAML. The failsafe schema knows only strings, so a version `6.10` stays what it is. Only scalars at the top are
 * taken: no alias is resolved, so nothing can expand.
 */
function parseManifest(text: string): Readonly<Record<string, string>> | undefined {
  let contents: unknown;
  try {
    const options = { schema: 'failsafe', strict: false, uniqueKeys: false, logLevel: 'silent' } as const;
    contents = parseDocument(text, options).contents;
  } catch {
    return undefined;
  }
  if (!isMap(contents)) return undefined;
  const facts = new Map<string, string>();
  for (const { key, value } of contents.items) {
    if (facts.size >= limits.iso.facts) break;
    if (isScalar(key) && isScalar(value) && typeof key.value === 'string' && typeof value.value === 'string') {
      facts.set(clean(key.value), clean(value.value));
    }
  }
  return Object.fromEntries(facts);
}
