/**
 * Images of a site and what is here of them: whether one is to be fetched, and how it comes in.
 */
import { AirlockError, isAirlockError } from '../../errors.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { Entry } from '../../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { encodeSegment } from '../../repo/http/request-path.ts';
import type { Announced } from '../../repo/ingest/announced.ts';
import type { Destination } from '../../repo/ingest/destination.ts';
import { IMAGES, type ImageOptions, imageDestination } from '../../repo/ingest/import-image.ts';
import { ingestStaged, isNoFaultOfBytes, vouchForPublished } from '../../repo/ingest/ingest-file.ts';
import { type FoundSidecars, findSidecarsBeside } from '../../repo/ingest/sidecars.ts';
import { silent } from '../../repo/progress.ts';
import { requireNotRevoked } from '../../repo/revoked.ts';
import type { UpstreamFacts } from '../../repo/upstream/upstream.ts';
import { download, downloaded, forgetDownload } from './download.ts';
import type { ListedItem } from './listing.ts';
import type { ReleasesRule } from './releases.ts';
import { markOf } from './retention.ts';
import type { MirrorSite } from './rule.ts';
import { readSmall } from './small-file.ts';

/** An image as the site lists it, and what lies beside it. */
export interface SiteImage extends ListedItem {
  /** By name: files of its folder that may vouch for it. */
  readonly beside: ReadonlyMap<string, ListedItem>;
  /** What the listing says of it and of those, and who may sign; null if that does not tell one state from another. */
  readonly state: string | null;
}

/** What was found out about an image before its bytes are fetched. */
interface Examined {
  readonly found: FoundSidecars;
  /** Bytes; null: nobody says. */
  readonly size: number | null;
}

export class SiteImages {
  readonly #site: MirrorSite;
  readonly #rule: ReleasesRule;
  readonly #options: ImageOptions;
  readonly #examined = new Map<string, Examined>();

  constructor(site: MirrorSite, rule: ReleasesRule) {
    this.#site = site;
    this.#rule = rule;
    const { requireChecksum, requireSignature, policy } = rule;
    // Several come at once: the bar is that of their bytes on the way here.
    this.#options = { signal: site.signal, progress: silent, requireChecksum, requireSignature, policy };
  }

  /** Where it goes: `images/6.3/x.iso`. */
  pathOf({ name }: SiteImage): string {
    return `${IMAGES}/${this.#destination(name).path}`;
  }

  withSidecars(images: readonly ListedItem[], all: readonly ListedItem[]): SiteImage[] {
    // With other keys, what vouches for an image may be worth more.
    const keys = this.#site.ingest.keys.map(({ fingerprint }) => fingerprint).sort();
    const byPath = new Map(all.map((item) => [item.path, item]));
    return images.map((image) => {
      const folder = image.path.slice(0, image.path.lastIndexOf('/') + 1);
      const names = sidecarNames(image.name);
      const items = names.flatMap((name) => byPath.get(`${folder}${encodeSegment(name)}`) ?? []);
      const said = [image, ...items].map((item) => (item.said === null ? null : `${item.name} ${item.said}`));
      const beside = new Map(items.map((item) => [item.name, item]));
      return { ...image, beside, state: said.includes(null) ? null : [...said, ...keys].join('\n') };
    });
  }

  /**
   * Finds out whether an image is to be fetched, with no request where the listing says that nothing changed. Takes note
   * of sidecars that came or changed since.
   * @throws path.conflict if the site has other bytes under a name that is published, trust.revoked, checksum.*, signature.*,
   *   upstream.*
   */
  async examine(image: SiteImage): Promise<boolean> {
    const { ingest, memory, dryRun } = this.#site;
    const destination = this.#destination(image.name);
    const entry = await ingest.catalog.lookup(destination.repository, destination.path);
    const isHere = entry !== undefined && (await ingest.catalog.blob(entry.artifact.digest)) !== undefined;
    const remembered = isHere ? await memory.get(image.path) : undefined;
    const isSame = remembered !== undefined && remembered.digest === entry?.artifact.digest;
    if (isSame && image.state !== null && remembered.listed === image.state) return false;
    const found = await this.#sidecars(image);
    const stated = found.sidecars.find(({ target }) => target === image.name)?.digest ?? image.digest;
    if (stated !== null) requireNotRevoked(await ingest.revoked(), image.name, stated);
    if (!isHere) {
      const facts = image.size === null ? await this.#head(image) : undefined;
      this.#examined.set(image.path, { found, size: image.size ?? facts?.size ?? null });
      return true;
    }
    const facts = stated === null ? await this.#head(image) : undefined;
    if (stated !== null && stated !== entry.artifact.digest) throw conflict(image, entry);
    if (facts !== undefined && !isSameFile(facts, isSame ? remembered : undefined, entry)) throw conflict(image, entry);
    if (dryRun) return false;
    return await this.#vouch(image, entry, { found, facts });
  }

  /** Bytes that are still to be read of those that `examine` said are to be fetched. */
  async bytesToFetch(images: readonly SiteImage[]): Promise<number> {
    let bytes = 0;
    for (const image of images) {
      const { size } = this.#known(image);
      if (size !== null) bytes += Math.max(0, size - (await downloaded(this.#site, image)));
    }
    return bytes;
  }

  /**
   * Fetches an image and publishes it with its sidecars, or nothing of it. Bytes that are not to blame for that are gone on
   * with by the next sync.
   */
  async bring(image: SiteImage): Promise<{ path: string; warnings: readonly string[] }> {
    const { ingest } = this.#site;
    const { found, size } = this.#known(image);
    const stated = found.sidecars.find(({ target }) => target === image.name)?.digest ?? null;
    const { writer, facts } = await download(this.#site, { path: image.path, size, digest: stated ?? image.digest });
    try {
      const claimed = image.digest ?? facts.digest;
      if (claimed !== null && (await writer.seal()).digest !== claimed) throw notAsClaimed(image, claimed);
      const destination = this.#destination(image.name);
      const announced = this.#announced(image, found, facts);
      const { artifact, warnings } = await ingestStaged(ingest, announced, writer, destination, this.#options);
      await forgetDownload(this.#site, image.path);
      await this.#remember(image, artifact, facts);
      return { path: `${IMAGES}/${destination.path}`, warnings };
    } catch (error) {
      if (!isNoFaultOfBytes(error)) await forgetDownload(this.#site, image.path).catch(() => undefined);
      throw error;
    } finally {
      await writer.cancel();
    }
  }

  /** @returns true if its bytes are gone after all */
  async #vouch(
    image: SiteImage,
    { artifact }: Entry,
    { found, facts }: { found: FoundSidecars; facts: UpstreamFacts | undefined },
  ): Promise<boolean> {
    const { ingest } = this.#site;
    try {
      const announced = this.#announced(image, found, facts);
      await vouchForPublished(ingest, announced, this.#destination(image.name), this.#options);
      await this.#remember(image, artifact, facts);
      return false;
    } catch (error) {
      if (!isAirlockError(error, 'blob.missing')) throw error;
      this.#examined.set(image.path, { found, size: artifact.size });
      return true;
    }
  }

  #destination(name: string): Destination {
    return imageDestination(this.#site.ingest, name, this.#options);
  }

  async #sidecars({ name, path, beside }: SiteImage): Promise<FoundSidecars> {
    const folder = path.slice(0, path.lastIndexOf('/') + 1);
    return await findSidecarsBeside(name, this.#site.ingest.keys, async (file, most, otherwise) => {
      // What the listing does not show is not asked for.
      return beside.has(file)
        ? await readSmall(this.#site, `${folder}${encodeSegment(file)}`, { most, otherwise })
        : undefined;
    });
  }

  /** Some sites answer GET only, such as those that lead to signed addresses. */
  async #head({ path }: SiteImage): Promise<UpstreamFacts | undefined> {
    const { upstream, signal } = this.#site;
    return await upstream.head(path, { signal }).catch((error: unknown) => {
      if (isAirlockError(error, 'upstream.failed', 'upstream.unauthorized')) return undefined;
      throw error;
    });
  }

  #announced({ name, path }: SiteImage, found: FoundSidecars, facts: UpstreamFacts | undefined): Announced {
    const { upstream, name: source, now } = this.#site;
    const mtime = (facts?.modified ?? now()).getTime();
    const bringer = { channel: source, source, mark: markOf(this.#site, this.#rule) };
    return { file: upstream.address(path), name, mtime, found, bringer };
  }

  async #remember(
    { path, state }: SiteImage,
    { digest, size }: { digest: Digest; size: number },
    facts: UpstreamFacts | undefined,
  ): Promise<void> {
    const { etag = null, modified = null } = facts ?? {};
    await this.#site.memory.put(path, { etag, modified, size, digest, isHeld: false, listed: state });
  }

  #known({ path }: SiteImage): Examined {
    const examined = this.#examined.get(path);
    if (examined === undefined) throw new TypeError('an image is examined before it is fetched');
    return examined;
  }
}

/** Exact names, as findSidecars asks for them. */
function sidecarNames(name: string): string[] {
  const tar = name.endsWith('.iso') ? [`${name.replace(/\.iso$/, '.tar')}.sha256sum`] : [];
  return [`${name}.sha256sum`, 'sha256sum', 'sha256sum.txt', ...tar].flatMap((each) => [each, `${each}.asc`]);
}

/** Without a digest: by the validators of the last time, or at least by its size. */
function isSameFile(
  facts: UpstreamFacts,
  remembered: { readonly etag: string | null; readonly modified: Date | null } | undefined,
  { artifact }: Entry,
): boolean {
  if (facts.digest !== null) return facts.digest === artifact.digest;
  if (facts.size !== null && facts.size !== artifact.size) return false;
  if (remembered === undefined) return true;
  if (remembered.etag !== null && facts.etag !== null) return remembered.etag === facts.etag;
  return remembered.modified === null || remembered.modified.getTime() === facts.modified?.getTime();
}

function conflict({ name, path }: SiteImage, { repository, path: there }: Entry): AirlockError {
  return new AirlockError(
    'path.conflict',
    `The site has other bytes as ${quoteUnsafe(path)} than ${quoteUnsafe(`${repository}/${there}`)} has, and one path has one content. Find out which of the two is right. To take that of the site, first "airlock delete system software version ${quoteUnsafe(name)}".`,
    { details: { repository, paths: [there] } },
  );
}

function notAsClaimed({ path }: SiteImage, claimed: Digest): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `What came as ${quoteUnsafe(path)} is not what the site itself says it is (${claimed}). Nothing of it was kept.`,
  );
}
