import { limits } from '../../../limits.ts';
import type { GatewayImage } from './facts.ts';
import { isoDate } from './iso-date.ts';

// Each cloud has its own family, and each family its own layout of dates and numbers (vendor.md C3).
const FAMILIES = [
  /^(?<family>hvm-cloudx-(?:aws|aliyun)(?:-china)?)-(?<MMDDYY>\d{6})$/,
  /^(?<family>gw-base)-(?<MMDDYYYY>\d{8})$/,
  /^(?<family>aviatrix-companion-gateway(?:-china)?)-v(?<generation>\d{1,6})(?<variant>u)?(?:-(?<major>\d{1,3})-(?<minor>\d{1,3}))?(?<vhd>\.vhd)?$/,
  /^(?<family>av-gw-(?:1404|1804|2204))-(?<MMDDYYYY>\d{8})-osDisk(?<vhd>\.vhd)$/,
  /^(?<family>aviatrix_gateway)_(?<major>\d)(?<minor>\d)(?:_(?<build>\d{1,6}))?_(?<YYYYMMDD>\d{8})(?:_patched_v(?<patched>\d{1,6}))?$/,
];

/**
 * Reads the name of a gateway image: `hvm-cloudx-aws-080322`, `aviatrix-companion-gateway-v15u-6-9` and the like.
 * `product` is the family, `major` and `minor` the software train where the name carries one.
 * Never throws: undefined for anything else.
 */
export function parseGatewayImage(name: string): GatewayImage | undefined {
  if (name.length > limits.releaseName) return undefined;
  for (const pattern of FAMILIES) {
    const found = pattern.exec(name)?.groups;
    if (found !== undefined) return imageOf(name, found);
  }
  return undefined;
}

function imageOf(input: string, found: Record<string, string | undefined>): GatewayImage | undefined {
  const date = dateOf(found);
  if (date === undefined) return undefined;
  return {
    scheme: 'gateway',
    input,
    vendor: 'aviatrix',
    product: found.family ?? '',
    major: number(found.major),
    minor: number(found.minor),
    patch: null,
    build: number(found.build),
    milestone: null,
    dist: null,
    arch: null,
    kind: 'gateway-image',
    form: found.vhd === undefined ? 'version' : 'vhd',
    sidecar: null,
    date,
    generation: number(found.generation),
    variant: found.variant ?? null,
    patched: number(found.patched),
  };
}

/** Null for a name without a date, undefined for a date that the calendar does not have. */
function dateOf(found: Record<string, string | undefined>): string | null | undefined {
  for (const layout of ['MMDDYY', 'MMDDYYYY', 'YYYYMMDD'] as const) {
    const digits = found[layout];
    if (digits !== undefined) return isoDate(digits, layout);
  }
  return null;
}

function number(digits: string | undefined): number | null {
  return digits === undefined ? null : Number(digits);
}
