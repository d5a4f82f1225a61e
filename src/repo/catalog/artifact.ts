import type { Digest } from '../blobs/blob-store.ts';

/** JSON as it is stored and shown; facts of vendors and formats that no query needs as columns. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export type RepositoryKind = 'file' | 'rpm' | 'policy';

export type ArtifactKind = 'image' | 'rpm' | 'policy' | 'file';

/** How far an artifact's origin is proven, from strong to weak. */
export type VerificationStatus = 'signature' | 'checksum' | 'unverified';

/** One check that ran, or could not run, when the artifact came in. */
export interface Check {
  /** `digest`: by what the artifact carries in itself, as packages do; `checksum`: by a file beside it. */
  readonly check: 'length' | 'checksum' | 'digest' | 'signature';
  /**
   * `failed` stands in what was let in only where another signature made up for it; `does-not-apply`: it says nothing of
   * this artifact, or cannot be verified here; `not-checked`: nobody looked, as was asked for.
   */
  readonly result: 'passed' | 'failed' | 'missing' | 'unknown-key' | 'does-not-apply' | 'not-checked';
  /** The sidecar that the check went by. */
  readonly file?: string;
  /** The parts of a package that it is over, where it is not over all of the artifact's bytes. */
  readonly covers?: readonly ('header' | 'payload')[];
  /** `sha256`. Of a signature: the hash that it is over. */
  readonly algorithm?: string;
  /** The algorithm is one for which bytes can be forged. */
  readonly weak?: true;
  /** Nothing better covers these parts: let in because somebody said to accept weak digests. */
  readonly waived?: true;
  readonly keyId?: string;
  /** Of the primary key. */
  readonly fingerprint?: string;
  /** Of the key, which vouches for it itself. Text from outside. */
  readonly userId?: string;
  /** When the signature says to have been made, ISO 8601. */
  readonly signedAt?: string;
  /** For a person: why, or what it was checked against. */
  readonly note?: string;
}

export interface Verification {
  readonly status: VerificationStatus;
  readonly checks: readonly Check[];
}

/** What a vendor's file name says of a release; `orderKey` sorts as releases do (formats/releases/order.ts). */
export interface ReleaseFacts {
  readonly vendor: string;
  readonly product: string;
  /** `6.3` */
  readonly release: string;
  /** `6.3.0-107.r1.el7` */
  readonly version: string;
  readonly orderKey: string;
  /** Image-based or package-based; an aid such as a checksum file has none. */
  readonly kind: 'image' | 'package' | null;
  readonly arch: string | null;
  readonly dist: string | null;
}

/** Where a slice lies. */
export interface Place {
  readonly container: Digest;
  /** Bytes. */
  readonly start: number;
}

/** What brought a package here. */
export interface Origin {
  /** Where in an image it lies; null: it came as a file of its own. */
  readonly within: Place | null;
  /** The release whose image it came in. */
  readonly release: Pick<ReleaseFacts, 'vendor' | 'version' | 'orderKey'> | null;
}

/** A named blob with what is known of it. Immutable: other facts make another artifact. */
export interface Artifact {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly kind: ArtifactKind;
  /** File name as its vendor gave it. Data, never a path. */
  readonly name: string;
  readonly release: ReleaseFacts | null;
  /** Where it came from, in the vendor's words: `downloads` for what an admin side-loaded (vendor.md A1). */
  readonly channel: string;
  readonly source: string;
  readonly facts: { readonly [key: string]: Json };
  readonly verification: Verification;
  /** Of what is found inside images. An artifact goes when nothing of what brought it is left. */
  readonly origins?: readonly Origin[];
}
