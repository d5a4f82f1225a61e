import NodeCache from 'node-cache';
import { limits } from '../../limits.ts';
import { type ArtifactFacts, type ArtifactSource, etagOf, type OpenArtifact } from '../artifact-source.ts';
import type { Digest } from '../blobs/blob-store.ts';
import type { Artifact } from '../catalog/artifact.ts';
import type { Catalog, Entry } from '../catalog/catalog.ts';
import { MemoryArtifact } from '../memory-artifact.ts';
import { isVersionPath } from '../policies/policy-name.ts';
import type { TrustedBlobs } from '../trusted-blobs.ts';
import type { MemoryCache } from './memory-cache.ts';

export interface PublishedSourceParts {
  readonly catalog: Catalog;
  readonly trusted: TrustedBlobs;
  readonly memory: MemoryCache;
}

/** Facts of content whose digest and size are known, as they always are in a repository. */
interface StoredFacts extends ArtifactFacts {
  readonly digest: Digest;
  readonly size: number;
}

/**
 * What the repositories publish, by `<repository>/<path>`.
 *
 * Lookups that found something are kept until the catalog's version changes. Paths that hold nothing are not kept:
 * a flood of wrong names costs a query each, and no memory.
 */
export class PublishedSource implements ArtifactSource {
  readonly #catalog: Catalog;
  readonly #trusted: TrustedBlobs;
  readonly #memory: MemoryCache;
  readonly #lookups = new NodeCache({ useClones: false, maxKeys: limits.cache.lookups, checkperiod: 0 });
  #version = Number.NaN;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor({ catalog, trusted, memory }: PublishedSourceParts) {
    this.#catalog = catalog;
    this.#trusted = trusted;
    this.#memory = memory;
  }

  peek(path: string): OpenArtifact | undefined {
    this.#dropOutdated();
    const facts = this.#lookups.get<StoredFacts>(path);
    const body = facts == null ? undefined : this.#memory.get(facts.digest); // null: a name that every object has
    return body === undefined || facts == null ? undefined : new MemoryArtifact(facts, body);
  }

  async open(path: string): Promise<OpenArtifact | undefined> {
    this.#dropOutdated();
    const facts = this.#lookups.get<StoredFacts>(path) ?? (await this.#lookUp(path));
    if (facts === undefined) return undefined;
    const body = this.#memory.get(facts.digest) ?? (await this.#memory.load(facts.digest, facts.size));
    if (body !== undefined) return new MemoryArtifact(facts, body);
    const reader = await this.#trusted.open(facts.digest);
    return {
      facts,
      readAt: (into, position) => reader.readAt(into, position),
      close: () => reader.close(),
    };
  }

  async #lookUp(path: string): Promise<StoredFacts | undefined> {
    const version = this.#version;
    const cut = path.indexOf('/');
    const entry = cut < 0 ? undefined : await this.#entry(path.slice(0, cut), path.slice(cut + 1));
    if (entry === undefined) return undefined;
    const facts = factsOf(entry);
    if (this.#memory.has(facts.digest) && (await this.#catalog.blob(facts.digest)) === undefined) {
      this.#memory.delete(facts.digest);
    }
    if (this.#catalog.version() === version) this.#keep(path, facts);
    return facts;
  }

  /** Metadata that was replaced, or rolled back, stays there for those who have read the repomd.xml that names it. */
  async #entry(repository: string, path: string): Promise<Entry | undefined> {
    const published = await this.#catalog.lookup(repository, path);
    if (published !== undefined || !METADATA.test(path)) return published;
    return await this.#catalog.former(repository, path, new Date(Date.now() - limits.packages.keepFormer));
  }

  #keep(path: string, facts: StoredFacts): void {
    if (this.#lookups.getStats().keys >= limits.cache.lookups) this.#lookups.flushAll();
    this.#lookups.set(path, facts);
  }

  /** Looking costs a sixth of a hit in memory, so the hits of the next moment share a look. */
  #dropOutdated(): void {
    const now = performance.now();
    if (now - this.#lookedAt < limits.cache.versionAge) return;
    this.#lookedAt = now;
    const version = this.#catalog.version();
    if (version === this.#version) return;
    this.#version = version;
    this.#lookups.flushAll();
  }
}

/** Named by its digest, as all metadata of a repository but repomd.xml. */
const METADATA = /^repodata\/[0-9a-f]{64}-/;

/** An image or package is what its name says; repository metadata is named by its digest, but for repomd.xml; a version of
 * a policy is one for good. */
function isImmutable(path: string, { kind, channel }: Artifact): boolean {
  if (kind === 'image' || kind === 'rpm') return true;
  if (kind === 'policy') return isVersionPath(path);
  return channel === 'metadata' && METADATA.test(path);
}

function factsOf({ path, artifact, modified }: Entry): StoredFacts {
  return {
    name: path.slice(path.lastIndexOf('/') + 1),
    digest: artifact.digest,
    size: artifact.size,
    modified,
    etag: etagOf(artifact.digest),
    freshness: isImmutable(path, artifact) ? 'immutable' : 'revalidate',
    verification: artifact.verification.status,
    ...(artifact.kind === 'policy' ? { mediaType: policyMediaType(artifact) } : {}),
  };
}

/** Names of policies tell nothing; what is no JSON is text, whatever else somebody may see in it. */
function policyMediaType({ facts }: Artifact): string {
  return facts.format === 'aws' || facts.format === 'json' ? 'application/json' : 'text/plain; charset=utf-8';
}
