/**
 * The versions of policy texts: published ones in the repository `policies`, and those that are set aside: held until
 * somebody decides, or rejected.
 *
 * What is set aside is at no path of the repository, so nobody is served it and no bundle carries it. Its bytes are kept
 * beside it (catalog/pulled.ts), and the repository's revisions tell of it, so a catalog that was made anew still knows it.
 */
import { z } from 'zod';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact, Json, Verification } from '../catalog/artifact.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Pulled } from '../catalog/pulled.ts';
import type { Stores } from '../staging.ts';
import type { PolicyFormat, Widening } from './compare.ts';
import { POLICIES, type PolicyReference, versionPath } from './policy-name.ts';

/** Where a text came from: a file of a medium, by its name, or an address. */
export type PolicyOrigin = { readonly file: string } | { readonly url: string };

/** What an upstream said by which it can be asked whether the text changed. */
export interface Validators {
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
}

export interface PolicyVersion {
  readonly name: string;
  readonly version: number;
  readonly digest: Digest;
  readonly size: number;
  /** When it was brought here; ISO 8601. */
  readonly at: string;
  readonly origin: PolicyOrigin | null;
  readonly validators: Validators;
  readonly format: PolicyFormat;
  /** Compared with the version that was published when it was brought; null: there was none. */
  readonly widening: Widening | null;
  /** Releases that it goes with, as people named them. */
  readonly releases: readonly string[];
  /** When a person approved it, where somebody had to. */
  readonly approvedAt: string | null;
  readonly verification: Verification;
  /** As its vendor calls the file. */
  readonly fileName: string;
  readonly channel: string;
  readonly source: string;
  /** Why it waits; null: it does not, being published or rejected. */
  readonly held: Hold | null;
  /** That a person refused it: it is never published. */
  readonly rejected: Rejection | null;
}

export interface Hold {
  /** More is possible than before, or may be: a person must approve. */
  readonly widens: boolean;
  /** It waits for other parts of its set. */
  readonly waits: boolean;
}

export interface Rejection {
  /** ISO 8601. */
  readonly at: string;
  /** As a person gave it. */
  readonly reason: string | null;
}

export function isPublished({ held, rejected }: PolicyVersion): boolean {
  return held === null && rejected === null;
}

const facts = z.object({
  policy: z.string(),
  version: z.number().int().positive(),
  at: z.string(),
  origin: z
    .union([z.object({ file: z.string() }), z.object({ url: z.string() })])
    .nullable()
    .catch(null),
  validators: z.object({ etag: z.string().optional(), lastModified: z.string().optional() }).catch({}),
  format: z.enum(['aws', 'json', 'text']).catch('text'),
  widening: z.enum(['yes', 'no', 'unknown']).nullable().catch(null),
  releases: z.array(z.string()).catch([]),
  approvedAt: z.string().nullable().catch(null),
});

const asideFacts = z.object({
  ...facts.shape,
  widens: z.boolean(),
  waits: z.boolean(),
  rejected: z.object({ at: z.string(), reason: z.string().nullable() }).nullable().catch(null),
  verification: z.custom<Verification>(),
  fileName: z.string(),
  channel: z.string(),
  source: z.string(),
});

function factsOf(version: PolicyVersion): Record<string, Json> {
  const { name, version: number, at, origin, validators, format, widening, releases, approvedAt } = version;
  const known = Object.fromEntries(Object.entries(validators).filter(([, value]) => value !== undefined));
  const from = origin === null ? null : { ...origin };
  return { policy: name, version: number, at, origin: from, validators: known, format, widening, releases, approvedAt };
}

/** As it stands in the repository. */
export function artifactOf(version: PolicyVersion): Artifact {
  const { digest, size, fileName, channel, source, verification } = version;
  return {
    digest,
    size,
    kind: 'policy',
    name: fileName,
    release: null,
    channel,
    source,
    facts: factsOf(version),
    verification,
  };
}

function ofArtifact(artifact: Artifact): PolicyVersion | undefined {
  const { digest, size, name: fileName, channel, source, verification } = artifact;
  const known = facts.safeParse(artifact.facts);
  if (artifact.kind !== 'policy' || !known.success) return undefined;
  const { policy: name, ...rest } = known.data;
  return { ...rest, name, digest, size, fileName, channel, source, verification, held: null, rejected: null };
}

const HELD = 'held-policies/';

/** As it is kept while it is set aside. */
export function pulledOf(version: PolicyVersion): Pulled {
  const { name, version: number, digest, size, at, verification, fileName, channel, source, held, rejected } = version;
  return {
    path: heldPath(name, number),
    digest,
    size,
    usedAt: new Date(at),
    facts: {
      ...factsOf(version),
      // A program that knows of no rejections shall hold what was rejected.
      widens: held?.widens ?? rejected !== null,
      waits: held?.waits ?? false,
      ...(rejected === null ? {} : { rejected: { ...rejected } }),
      verification: JSON.parse(JSON.stringify(verification)) as Json,
      fileName,
      channel,
      source,
    },
  };
}

/** The key under which the catalog keeps a version that is set aside. */
export function heldPath(name: string, version: number): string {
  return `${HELD}${versionPath(name, version)}`;
}

function ofPulled(pulled: Pulled): PolicyVersion | undefined {
  const known = asideFacts.safeParse(pulled.facts);
  if (!known.success) return undefined;
  const { policy: name, widens, waits, ...rest } = known.data;
  const held = rest.rejected === null ? { widens, waits } : null;
  return { ...rest, name, digest: pulled.digest, size: pulled.size, held };
}

/** The newest published version of a text. */
export async function newestVersion(catalog: Catalog, name: string): Promise<PolicyVersion | undefined> {
  const entry = await catalog.lookup(POLICIES, name);
  return entry && ofArtifact(entry.artifact);
}

/** Held and rejected versions of a text, or of all texts, by name and then by number. */
export async function versionsAside(catalog: Catalog, name?: string): Promise<PolicyVersion[]> {
  const prefix = name === undefined ? HELD : `${HELD}${name}@`;
  const found: PolicyVersion[] = [];
  for (let after = prefix; ; ) {
    const page = await catalog.pulledPage({ after, limit: limits.catalog.page });
    const own = page.filter(({ path }) => path.startsWith(prefix));
    found.push(...own.map(ofPulled).filter((each) => each !== undefined));
    const last = own.at(-1);
    if (last === undefined || own.length < limits.catalog.page) break;
    after = last.path;
  }
  return found.sort((a, b) => (a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1));
}

/** The version of a text with these bytes that a person rejected, unless it was published by other ways since. */
export async function rejectedVersion(
  catalog: Catalog,
  name: string,
  digest: Digest,
): Promise<PolicyVersion | undefined> {
  const found = (await versionsAside(catalog, name)).findLast(
    (each) => each.rejected !== null && each.digest === digest,
  );
  if (found === undefined) return undefined;
  return (await catalog.lookup(POLICIES, versionPath(name, found.version))) === undefined ? found : undefined;
}

/** Every version that a text ever had here, by number: also those of revisions that are not published any more. */
export async function versionsEver(catalog: Catalog, name: string): Promise<PolicyVersion[]> {
  const aside = new Map((await versionsAside(catalog, name)).map((each) => [each.version, each]));
  const least = Math.max((await newestVersion(catalog, name))?.version ?? 0, ...aside.keys());
  const found: PolicyVersion[] = [];
  for (let number = 1; ; number += 1) {
    const path = versionPath(name, number);
    const entry = (await catalog.lookup(POLICIES, path)) ?? (await catalog.former(POLICIES, path, new Date(0)));
    const version = entry === undefined ? aside.get(number) : ofArtifact(entry.artifact);
    if (version !== undefined) found.push(version);
    else if (number > least) return found;
  }
}

/** One version, published or set aside. */
export async function versionAt(catalog: Catalog, name: string, version: number): Promise<PolicyVersion | undefined> {
  const entry = await catalog.lookup(POLICIES, versionPath(name, version));
  if (entry !== undefined) return ofArtifact(entry.artifact);
  const pulled = await catalog.pulled(heldPath(name, version));
  return pulled && ofPulled(pulled);
}

/** @throws policy.not-found */
export async function requireVersion(catalog: Catalog, reference: PolicyReference): Promise<PolicyVersion> {
  const { name, version } = reference;
  const found = await (version === undefined ? newestVersion(catalog, name) : versionAt(catalog, name, version));
  if (found !== undefined) return found;
  const aside = version === undefined ? (await versionsAside(catalog, name)).at(-1) : undefined;
  const what = version === undefined ? `policy ${name}` : `version ${version} of policy ${name}`;
  throw new AirlockError(
    'policy.not-found',
    aside === undefined
      ? `There is no ${what} here. "airlock policy list" shows those there are.`
      : `Nothing of policy ${name} is published yet; ${versionPath(name, aside.version)} is ${aside.held === null ? 'rejected' : 'held'}. "airlock policy list" says why.`,
  );
}

/** Every version, published and set aside, by name and then by number. */
export async function allVersions(catalog: Catalog): Promise<PolicyVersion[]> {
  const published = (await catalog.repository(POLICIES))?.published ?? 0;
  const found: PolicyVersion[] = [];
  if (published > 0) {
    for await (const { path, artifact } of catalog.entries(POLICIES, published)) {
      const version = ofArtifact(artifact);
      if (version !== undefined && path === versionPath(version.name, version.version)) found.push(version);
    }
  }
  const paths = new Set(found.map(({ name, version }) => versionPath(name, version)));
  // What was set aside may have been published by other ways since: a bundle, an older revision.
  found.push(...(await versionsAside(catalog)).filter(({ name, version }) => !paths.has(versionPath(name, version))));
  return found.sort((a, b) => (a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1));
}

/**
 * The number under which new bytes become a version. One that ever stood for other bytes is not used again, also not after
 * the repository went back to an older revision: caches keep `NAME@N` for good.
 */
export async function nextVersion(catalog: Catalog, name: string, digest: Digest): Promise<number> {
  const newest = (await newestVersion(catalog, name))?.version ?? 0;
  const aside = await versionsAside(catalog, name);
  for (let version = Math.max(newest, aside.at(-1)?.version ?? 0) + 1; ; version += 1) {
    const path = versionPath(name, version);
    const former = (await catalog.lookup(POLICIES, path)) ?? (await catalog.former(POLICIES, path, new Date(0)));
    if (former === undefined || former.artifact.digest === digest) return version;
  }
}

/** The text of a version, as it was brought. @throws blob.missing, blob.damaged */
export async function readVersion({ blobs }: Stores, { digest, size }: PolicyVersion): Promise<Buffer> {
  const reader = await blobs.open(digest);
  try {
    const bytes = Buffer.alloc(Math.min(size, limits.policy.bytes));
    const read = await reader.readAt(bytes, 0);
    return bytes.subarray(0, read);
  } finally {
    await reader.close();
  }
}
