/**
 * The seam of mirroring: an upstream site, what is remembered of it, and what one rule of its `mirror:` list brought.
 * Each kind of rule is one function `(site, rule) => Promise<RuleReport>`.
 */
import { AirlockError, type ErrorCode } from '../../errors.ts';
import type { Digest } from '../../repo/blobs/blob-store.ts';
import type { IngestContext } from '../../repo/ingest/destination.ts';
import type { Progress } from '../../repo/progress.ts';
import type { Bandwidth } from '../../repo/upstream/bandwidth.ts';
import type { Upstream } from '../../repo/upstream/upstream.ts';

/** A site from which is mirrored. Whoever made it closes `upstream`. */
export interface MirrorSite {
  /** Its name in `upstreams:`. */
  readonly name: string;
  readonly upstream: Upstream;
  readonly bandwidth: Bandwidth;
  /** Where content goes. Its `keys` are those that this site is trusted with; without any, checksums suffice. */
  readonly ingest: IngestContext;
  readonly memory: SiteMemory;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  /** Tell what would come, bring nothing. */
  readonly dryRun: boolean;
  /**
   * Tells what a rule is about to fetch, once it knows and before the first large body. Returns when all rules of the sync
   * have told, or have ended, and there is room for all of it. Bodies must not be open meanwhile. Absent: nobody asks.
   * @throws space.insufficient
   */
  readonly announce?: (forecast: Forecast) => Promise<void>;
}

/** What is to come: files, and the bytes of them that are still to be read. */
export interface Forecast {
  readonly files: number;
  readonly bytes: number;
}

/** What a path of the site held when it was last asked: an unchanged site costs conditional requests only. */
export interface Remembered {
  readonly etag: string | null;
  readonly modified: Date | null;
  /** Bytes. */
  readonly size: number;
  /** Of what it held. The bytes are kept as a blob as long as this is remembered, but for `isHeld: false`. */
  readonly digest: Digest;
  /** False for what a repository holds anyway, and may let go of. Default: true. */
  readonly isHeld?: boolean;
  /** What a listing of the site said of it: as long as it says the same, the path need not be asked for. */
  readonly listed?: string | null;
}

/** Nothing of it is lost with it but requests: it need not outlive a rebuilt catalog. */
export interface SiteMemory {
  get(path: string): Promise<Remembered | undefined>;
  put(path: string, what: Remembered): Promise<void>;
  /** Paths that begin with this. */
  forget(prefix: string): Promise<void>;
}

/** One thing that did not come; the rest did. The next run tries it again. */
export interface MirrorFailure {
  /** Of the site, as in its URLs. */
  readonly path: string;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface RuleReport {
  /** For people: `releases generic-128t-isos-release-local`. */
  readonly rule: string;
  /** Paths in our repositories, `images/6.3/x.iso`, that are new or have other bytes. */
  readonly added: readonly string[];
  /** Paths in our repositories that were taken out because of what is to be kept. */
  readonly removed: readonly string[];
  /** Files that are listed and not here: they come when somebody asks for them. */
  readonly waiting?: number;
  readonly failures: readonly MirrorFailure[];
  readonly warnings: readonly string[];
  /** Of bodies that were read. */
  readonly bytes: number;
  readonly requests: number;
}

/** What an error means for a path; one that is not known is a fault of ours, and is told as such. */
export function failureOf(path: string, error: unknown): MirrorFailure {
  const message = error instanceof Error ? error.message : String(error);
  return { path, code: error instanceof AirlockError ? error.code : 'internal', message };
}
