import type { Digest } from '../blobs/blob-store.ts';

/** JSON as it is stored and shown; facts of vendors and formats that no query needs as columns. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export type RepositoryKind = 'file' | 'rpm' | 'policy';

export type ArtifactKind = 'image' | 'rpm' | 'policy' | 'file';

/** How far an artifact's origin is proven, from strong to weak. */
export type VerificationStatus = 'signature' | 'checksum' | 'unverified';

/** One check that ran, or could not run, when the artifact came in. */
export interface Check {
  readonly check: 'length' | 'checksum' | 'signature';
  readonly result: 'passed' | 'missing' | 'unknown-key' | 'does-not-apply';
  /** The sidecar that the check went by. */
  readonly file?: string;
  readonly keyId?: string;
  readonly fingerprint?: string;
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
}
