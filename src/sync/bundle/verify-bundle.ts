/**
 * Whether a bundle may be used here: who signed it, for whom, and whether it is newer than what has landed. Reads
 * metadata, manifest and revocations, no volumes; changes nothing but the trusted root, which steps forward.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quote, quoteUnsafe } from '../../repo/formats/quote.ts';
import type { Mark } from '../trust/high-water-mark.ts';
import { sha256 } from '../trust/metadata.ts';
import { parseRevocations, REVOCATIONS, type Revocations, requireNewer } from '../trust/revocations.ts';
import { siteTargetPath } from '../trust/site-role.ts';
import { createdAt, type SiteTrust } from '../trust/site-trust.ts';
import { type FoundTarget, refresh, type Verified } from '../trust/workflow.ts';
import { type FoundBundle, type FoundOnMedia, readCarried } from './find-bundles.ts';
import type { LocalBytes } from './local-bytes.ts';
import type { Manifest } from './manifest.ts';
import { isProgramName, MANIFEST, METADATA } from './names.ts';
import { readManifest } from './read-manifest.ts';

export interface VerifyOptions {
  /** Copies the manifest, once it is known who vouches for it. The copy stays the caller's, as long as the bundle is used. */
  readonly copy: () => Promise<LocalBytes>;
  readonly acceptExpired: boolean;
  /** Whether the trusted root steps forward with those on the medium. Default: yes; to look at a bundle changes nothing. */
  readonly keepRoot?: boolean;
}

/** A bundle that may be used here. */
export interface VerifiedBundle {
  readonly found: FoundBundle;
  readonly manifest: Manifest;
  readonly site: string;
  /** The name was not known here before: this bundle binds it. */
  readonly bindsSite: boolean;
  /** Ids of the keys that signed for the site, and of those that may. */
  readonly signedBy: readonly string[];
  readonly keys: readonly string[];
  /** Names of metadata that has expired and was accepted all the same. */
  readonly expired: readonly string[];
  /** When it was signed. */
  readonly created: Date;
  readonly expires: string;
  readonly rootVersion: number;
  readonly revocations: { readonly list: Revocations; readonly bytes: Buffer };
  /** Length and SHA-256 of each volume, the parity volume among them. */
  readonly volumes: ReadonlyMap<string, { readonly length: number; readonly sha256: string }>;
  /** SHA-256 of offline packages of Airlock that may lie beside them, by name. */
  readonly programs: ReadonlyMap<string, string>;
  /** What had landed before. */
  readonly mark: Mark | undefined;
  /** It has landed already. */
  readonly isLanded: boolean;
  /** Metadata that becomes the trusted one when the bundle lands. */
  readonly verified: ReadonlyMap<string, Buffer>;
}

/**
 * The bundle to use of those that were found: the newest one for this site.
 * @throws bundle.incomplete if there are only unfinished ones; usage.ambiguous if a site without a name finds bundles for
 *   several sites
 */
export async function chooseBundle(trust: SiteTrust, { bundles, strays }: FoundOnMedia): Promise<FoundBundle> {
  const bound = await trust.site();
  const [newest] = bundles;
  const sites = new Set(bundles.map(({ claims }) => claims.site).filter((site) => site !== ''));
  if (bound === null && sites.size > 1) throw severalSites([...sites]);
  const own = bound === null ? newest : (bundles.find(({ claims }) => claims.site === bound) ?? newest);
  if (own?.folders.some(({ committed }) => committed)) return own;
  const where = (own?.folders ?? strays).map(({ carrier }) => quoteUnsafe(carrier.where)).join(', ');
  throw new AirlockError(
    'bundle.incomplete',
    `The bundle at ${where} was not finished: COMMIT is missing. The medium was pulled too early, or not copied whole: on the export station, run "airlock export --resume" with it.`,
  );
}

/**
 * @throws trust.* as the workflow; trust.wrong-site, trust.rollback for anything older than what landed, trust.locked,
 *   bundle.invalid, bundle.newer-format
 */
export async function verifyBundle(
  trust: SiteTrust,
  found: FoundBundle,
  { acceptExpired, copy, keepRoot = true }: VerifyOptions,
): Promise<VerifiedBundle> {
  const mark = await trust.mark();
  await trust.root();
  const bound = await trust.site();
  const site = bound ?? found.claims.site;
  requireSite(site, found);
  await requireNoGap(trust, found);
  const trusted = trust.trusted(site, { keepRoot });
  const workflow = await refresh({
    source: { fetch: (name, limit) => readAny(found, `${METADATA}/${name}`, limit) },
    trusted,
    now: await trust.now(),
    acceptExpired,
    strict: true,
  });
  const top = await vouched(workflow, site, MANIFEST, { length: found.size, sha256: found.id });
  const { document, signedBy } = top;
  const keys = delegatedKeys(workflow, top.role);
  const revocations = await revocationsOf(workflow, site, found);
  requireNewer(await trust.revocationsBefore(keys), revocations.list);
  const manifest = await readManifest(await copy());
  requireSigned(manifest, site, document.signed.version);
  requireNotOlder(mark, { sequence: manifest.sequence, id: found.id, keys });
  return {
    found,
    manifest,
    site,
    bindsSite: bound === null,
    signedBy,
    keys,
    expired: workflow.expired,
    created: createdAt(document.signed.unrecognizedFields) ?? new Date(manifest.created),
    expires: document.signed.expires,
    rootVersion: workflow.root.signed.version,
    revocations,
    volumes: volumeTargets(manifest, top),
    programs: programTargets(site, top),
    mark,
    isLanded: mark?.manifest === found.id,
    verified: trusted.verified,
  };
}

function requireSigned(manifest: Manifest, site: string, sequence: number): void {
  if (manifest.site !== site) throw wrongSite(site, manifest.site);
  if (manifest.sequence === sequence) return;
  throw new AirlockError(
    'bundle.invalid',
    `The manifest says sequence ${manifest.sequence}, its signature ${sequence}. Ask for a new bundle.`,
  );
}

function severalSites(sites: readonly string[]): AirlockError {
  return new AirlockError(
    'usage.ambiguous',
    `There are bundles for several sites here (${sites.map((site) => quote(site)).join(', ')}), and this site has no name yet. Give it one with "airlock trust add ROOT.json --site NAME".`,
  );
}

/** A missing root would otherwise only show as wrong signatures. @throws trust.missing */
async function requireNoGap(trust: SiteTrust, { folders }: FoundBundle): Promise<void> {
  const known = (await trust.root()).signed.version;
  const listings = await Promise.all(folders.map(({ carrier }) => carrier.list(METADATA)));
  const names = listings.flatMap(({ files }) => files.map(({ name }) => name));
  const versions = new Set(names.map((name) => Number(/^(\d{1,9})\.root\.json$/.exec(name)?.[1] ?? 0)));
  const newest = Math.max(0, ...versions);
  if (newest <= known || versions.has(known + 1)) return;
  throw new AirlockError(
    'trust.missing',
    `Root ${known} is trusted here and the bundle has root ${newest}, but ${known + 1}.root.json is missing in between. Copy the bundle again, with all its files.`,
    { details: { name: `${known + 1}.root.json` } },
  );
}

function requireSite(site: string, { claims }: FoundBundle): void {
  if (claims.site === '')
    throw new AirlockError('bundle.invalid', `${MANIFEST} cannot be read. Copy the bundle again.`);
  if (claims.site !== site) throw wrongSite(site, claims.site);
}

function wrongSite(site: string, other: string): AirlockError {
  return new AirlockError(
    'trust.wrong-site',
    `This bundle is for the site ${quote(other)}, and this is ${site}. Use the medium that was made for ${site}.`,
    { details: { site, bundle: other } },
  );
}

/** @throws trust.invalid unless the site's role vouches for these bytes */
async function vouched(
  workflow: Verified,
  site: string,
  name: string,
  found: { length: number; sha256: string },
): Promise<FoundTarget> {
  const target = await workflow.find(siteTargetPath(site, name));
  const isRight =
    target?.role === site && target.target.length === found.length && target.target.hashes.sha256 === found.sha256;
  if (target !== undefined && isRight) return target;
  throw new AirlockError(
    'trust.invalid',
    `${name} is not what was signed for ${site}. It was changed, or copied badly: copy the bundle again.`,
    { details: { name } },
  );
}

async function revocationsOf(
  workflow: Verified,
  site: string,
  found: FoundBundle,
): Promise<VerifiedBundle['revocations']> {
  const bytes = await readAny(found, REVOCATIONS, limits.trust.revocationsBytes);
  if (bytes === undefined) {
    throw new AirlockError('trust.missing', `${REVOCATIONS} is missing. Copy the bundle again, with all its files.`);
  }
  await vouched(workflow, site, REVOCATIONS, { length: bytes.length, sha256: sha256(bytes) });
  return { list: parseRevocations(bytes), bytes };
}

/** Older than what landed is refused, landed or not; unless all keys were changed since, after theft, say. */
function requireNotOlder(
  mark: Mark | undefined,
  bundle: { sequence: number; id: string; keys: readonly string[] },
): void {
  if (mark === undefined || !bundle.keys.some((key) => mark.keys.includes(key))) return;
  if (bundle.sequence > mark.sequence || mark.manifest === bundle.id) return;
  const why =
    bundle.sequence === mark.sequence
      ? `Another bundle ${mark.sequence} has landed here: of two with one number, one is forged.`
      : `This is bundle ${bundle.sequence}, and ${mark.sequence} has landed here already.`;
  throw new AirlockError('trust.rollback', `${why} Use the newest bundle.`, {
    details: { sequence: bundle.sequence, landed: mark.sequence },
  });
}

function delegatedKeys({ targets }: Verified, role: string): string[] {
  return [...(targets.signed.delegations?.roles?.[role]?.keyIDs ?? [])];
}

/** @throws bundle.invalid if the signature and the manifest disagree on the volumes */
function volumeTargets({ site, volumes, parity }: Manifest, { document }: FoundTarget): VerifiedBundle['volumes'] {
  const found = new Map<string, { length: number; sha256: string }>();
  for (const { name, size } of parity === undefined ? volumes : [...volumes, parity]) {
    const target = document.signed.targets[siteTargetPath(site, name)];
    const digest = target?.hashes.sha256;
    if (digest === undefined || target?.length !== size) {
      throw new AirlockError(
        'bundle.invalid',
        `The signature does not speak of ${name} as the manifest does. Ask for a new bundle.`,
      );
    }
    found.set(name, { length: size, sha256: digest });
  }
  return found;
}

function programTargets(site: string, { document }: FoundTarget): VerifiedBundle['programs'] {
  const found = new Map<string, string>();
  for (const [target, { hashes }] of Object.entries(document.signed.targets)) {
    const name = target.slice(siteTargetPath(site, '').length);
    if (isProgramName(name) && target === siteTargetPath(site, name)) found.set(name, hashes.sha256 ?? '');
  }
  return found;
}

/** From whichever medium has it; those that were finished first. */
async function readAny({ folders }: FoundBundle, name: string, limit: number): Promise<Buffer | undefined> {
  const sorted = [...folders].sort((a, b) => Number(b.committed) - Number(a.committed));
  for (const { carrier } of sorted) {
    // A name with a slash in it comes from metadata of somebody else; no file of ours is called so.
    if (name.split('/').length > 2) return undefined;
    const bytes = await readCarried(carrier, name, limit);
    if (bytes !== undefined) return bytes;
  }
  return undefined;
}
