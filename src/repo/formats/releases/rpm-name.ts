import { limits } from '../../../limits.ts';
import type { RpmPackage } from './facts.ts';

// The name may hold dashes, version and release may not; so the split is decided by the last two dashes.
const RPM =
  /^(?<name>[A-Za-z0-9_][\w.+-]*)-(?:(?<epoch>\d{1,10}):)?(?<version>[\w.+~^]+)-(?<release>[\w.+~^]+)\.(?<arch>x86_64|aarch64|noarch|i686|src)(?:\.rpm)?$/;

/**
 * Reads `NAME-VERSION-RELEASE.ARCH` with or without `.rpm`: plugins and what they depend on (vendor.md A10, A11).
 * Only for names that say nothing better: the file's header is the truth about an RPM, its name is a claim.
 * The vendor is always Session Smart, the only one of the two that ships RPMs. Never throws.
 */
export function parseRpmName(input: string): RpmPackage | undefined {
  if (input.length > limits.releaseName) return undefined;
  const found = RPM.exec(input)?.groups;
  if (found === undefined) return undefined;
  const { name = '', version = '', release = '', arch = '' } = found;
  // `6.3.5-37-sts.x86_64` is a slip in a version, not a package named 6.3.5.
  if (!/[A-Za-z]/.test(name)) return undefined;
  const [major = null, minor = null, patch = null] = leadingNumbers(version);
  const [build = null] = leadingNumbers(release);
  return {
    scheme: 'rpm',
    input,
    vendor: 'ssr',
    product: name,
    major,
    minor,
    patch,
    build,
    milestone: null,
    dist: distOf(release) ?? distOf(version),
    arch,
    kind: 'rpm',
    form: 'rpm',
    sidecar: null,
    epoch: Number(found.epoch ?? 0),
    rpmVersion: version,
    rpmRelease: release,
  };
}

/** `[3, 101, 0]` of `3.101.0`: as long as the parts between the dots are numbers that fit. */
function leadingNumbers(text: string): number[] {
  const parts = text.split('.');
  const end = parts.findIndex((part) => !/^\d+$/.test(part) || part.length > limits.releaseDigits);
  return parts.slice(0, end === -1 ? undefined : end).map(Number);
}

function distOf(text: string): string | null {
  return /(?:^|\.)(el\d+|fc\d+)(?=[._]|$)/.exec(text)?.[1] ?? null;
}
