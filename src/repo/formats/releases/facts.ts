/** What a vendor's name can say of a release. An absent fact is null, never a guess. */

export type Vendor = 'ssr' | 'aviatrix';

/**
 * - `package`: package-based software, a `128T` ISO or tar;
 * - `image`: image-based software (`SSR`, or anything with `ibu-v`), and disk images (`qcow2`, `raw.gz`) of either;
 * - `rpm`: one RPM; - `gateway-image`: an Aviatrix gateway's cloud image.
 * Image and package are two artifacts of one release (vendor.md C1). A bare version has no kind.
 */
export type ReleaseKind = 'image' | 'package' | 'rpm' | 'gateway-image';

/**
 * How the name is written: a file format, `version` for one that names a release without being a file, or `selector`
 * for one that leaves the build open and so may fit several releases (`6.3.0`, `6.2`, `latest`).
 */
export type ReleaseForm =
  | 'version'
  | 'selector'
  | 'iso'
  | 'tar'
  | 'qcow'
  | 'qcow2'
  | 'raw.gz'
  | 'ztp.raw.gz'
  | 'rpm'
  | 'vhd';

export type Sidecar = 'sha256sum' | 'sha256sum.asc';

/** Facts that every name may have; exactly these are shown by `release parse --json`. */
export interface NameFacts {
  /** The name as it was given. */
  readonly input: string;
  readonly vendor: Vendor;
  /** `128T`, `SSR`, `UserConnect`, an RPM's name, a gateway image's family; null where the name says none. */
  readonly product: string | null;
  readonly major: number | null;
  readonly minor: number | null;
  /** Aviatrix numbers have no patch: their third number is the build. */
  readonly patch: number | null;
  readonly build: number | null;
  /** `r1`, `sts`, `snapshot1` … */
  readonly milestone: string | null;
  /** `el7`, `el9`, and the vendor's own slip `el`. */
  readonly dist: string | null;
  readonly arch: string | null;
  readonly kind: ReleaseKind | null;
  /** Of a sidecar: the form of the file it stands beside. */
  readonly form: ReleaseForm;
  readonly sidecar: Sidecar | null;
}

/** A Session Smart release: a version, an image, an ISO, or the RPM `128T` itself (vendor.md C1). */
export interface SsrRelease extends NameFacts {
  readonly scheme: 'ssr';
  readonly vendor: 'ssr';
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** Of `0.<timestamp>` builds: 12 to 14 digits, YYYYMMDDhhmm and perhaps seconds. Their `build` is 0. */
  readonly timestamp: string | null;
  /** `OTP`, `ISO` or `img`. */
  readonly variant: string | null;
  /** Of `.v3`: a re-spun file of the same release. */
  readonly rev: number | null;
  /** Of `.ibu-v1`: version of the image-based-upgrade format. */
  readonly ibu: number | null;
  /** Name of the file, without a sidecar's suffix; null for a version. */
  readonly file: string | null;
}

/** Any other RPM: a plugin, a dependency. Ordered as RPM orders, within one name only. */
export interface RpmPackage extends NameFacts {
  readonly scheme: 'rpm';
  readonly vendor: 'ssr';
  readonly product: string;
  readonly arch: string;
  readonly epoch: number;
  /** As RPM spells them; `major` … `build` are only their leading numbers, for show. */
  readonly rpmVersion: string;
  readonly rpmRelease: string;
}

/** An Aviatrix controller or gateway software release (vendor.md C3). */
export interface AviatrixRelease extends NameFacts {
  readonly scheme: 'aviatrix';
  readonly vendor: 'aviatrix';
  readonly patch: null;
  /** `date` are the releases before 2.5, named by day; `latest` is the word. */
  readonly numbering: 'number' | 'date' | 'latest';
  /** ISO date (`2016-07-22`) of a date release. */
  readonly date: string | null;
  /** Of `6.6e`: an alias of some build of that train; which, only a table could tell. */
  readonly letter: string | null;
  /** Of `6.5-1804.1922`: the operating system of the image, no part of the version. */
  readonly imageTag: string | null;
  /** Of `UserConnect-6.6.123 (6.5,6.6)`: the trains still to go through. */
  readonly hops: readonly string[];
}

/** An Aviatrix gateway's cloud image. `product` is its family; families are never compared with each other. */
export interface GatewayImage extends NameFacts {
  readonly scheme: 'gateway';
  readonly vendor: 'aviatrix';
  readonly product: string;
  readonly kind: 'gateway-image';
  /** ISO date. */
  readonly date: string | null;
  /** Of `…-v15u-6-9`: 15. */
  readonly generation: number | null;
  /** Of `…-v15u-6-9`: `u`. */
  readonly variant: string | null;
  /** Of `…_patched_v2`: 2. */
  readonly patched: number | null;
}

/** `scheme` tells which grammar, and with it which order, a name belongs to. */
export type ParsedRelease = SsrRelease | RpmPackage | AviatrixRelease | GatewayImage;
