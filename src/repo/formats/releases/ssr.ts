import { limits } from '../../../limits.ts';
import type { ReleaseForm, ReleaseKind, RpmPackage, Sidecar, SsrRelease } from './facts.ts';
import { parseRpmName } from './rpm-name.ts';

// The grammar of vendor.md C1. Every quantifier is bounded and no two neighbours can take the same characters, so
// matching is linear in the length of the name.
const N = `\\d{1,${limits.releaseDigits}}`;
const DIGITS = `\\d{0,${limits.releaseDigits}}`;
const EARLY = `(?:alpha|beta|snapshot)${DIGITS}|rc${N}`;
const MILESTONE = `(?<milestone>r${N}|sts|lts|release|${EARLY})`;
const NUMBERS = `(?<major>${N})\\.(?<minor>${N})\\.(?<patch>${N})`;
const BUILD = `(?:0\\.(?<timestamp>\\d{12,14})|(?<build>${N}))`;
const DIST = `(?<dist>el${DIGITS})`;

const VERSION = new RegExp(
  `^(?:(?<product>128T|SSR)-)?${NUMBERS}` +
    `(?:-(?:${BUILD}(?:[.-]?${MILESTONE})?|(?<early>${EARLY}))(?:\\.${DIST})?)?$`,
);

const FILE = new RegExp(
  `^(?<product>128T|SSR)-(?<otp>OTP-)?${NUMBERS}-${BUILD}(?:\\.${MILESTONE})?\\.${DIST}` +
    `(?:\\.(?<variant>OTP|ISO|img))?(?:\\.v(?<rev>${N}))?` +
    `\\.(?<arch>x86_64|aarch64|noarch)(?:\\.ibu-v(?<ibu>${N}))?` +
    '(?:\\.(?<form>iso|tar|qcow2?|(?:ztp\\.)?raw\\.gz|rpm)(?:\\.(?<sidecar>sha256sum(?:\\.asc)?))?)?$',
);

/**
 * Reads a Session Smart name: a version as the CLI, the release notes or an RPM spells it (`6.3.0-107.r1.el7`,
 * `6.3.0-107r1`, `SSR-7.1.0-50`), an image file or the sidecar of one, or any RPM's name. Case matters.
 * The grammar is that of vendor.md C1, and besides it the name an image goes by on the device, without a file format
 * (`SSR-6.3.0-107.r1.el7.x86_64.ibu-v1`, vendor.md A8).
 * Never throws: undefined for anything else, for names over `limits.releaseName` characters, and for numbers over
 * `limits.releaseDigits` digits.
 */
export function parseSsr(name: string): SsrRelease | RpmPackage | undefined {
  if (name.length > limits.releaseName) return undefined;
  return parseVersion(name) ?? parseFile(name) ?? parseRpmName(name);
}

function parseVersion(name: string): SsrRelease | undefined {
  const found = VERSION.exec(name)?.groups;
  if (found === undefined) return undefined;
  const release = releaseOf(name, found);
  const open = release.build === null && release.milestone === null;
  return { ...release, form: open ? 'selector' : 'version' };
}

function parseFile(name: string): SsrRelease | undefined {
  const found = FILE.exec(name)?.groups;
  if (found === undefined) return undefined;
  const form = formOf(found);
  const sidecar = (found.sidecar as Sidecar | undefined) ?? null;
  return {
    ...releaseOf(name, found),
    arch: found.arch ?? null,
    kind: kindOf(found, form),
    form,
    sidecar,
    variant: found.variant ?? (found.otp === undefined ? null : 'OTP'),
    rev: number(found.rev),
    ibu: number(found.ibu),
    file: form === 'version' ? null : name.slice(0, name.length - (sidecar === null ? 0 : sidecar.length + 1)),
  };
}

type Groups = Record<string, string | undefined>;

/** What both grammars share; the rest as for a bare version. */
function releaseOf(input: string, found: Groups): SsrRelease {
  return {
    scheme: 'ssr',
    input,
    vendor: 'ssr',
    product: found.product ?? null,
    major: Number(found.major),
    minor: Number(found.minor),
    patch: Number(found.patch),
    build: found.timestamp === undefined ? number(found.build) : 0,
    milestone: found.milestone ?? found.early ?? null,
    dist: found.dist ?? null,
    arch: null,
    kind: null,
    form: 'version',
    sidecar: null,
    timestamp: found.timestamp ?? null,
    variant: null,
    rev: null,
    ibu: null,
    file: null,
  };
}

/** Without a format it is an image's name on the device, or else an RPM's name as `rpm -q` prints it. */
function formOf({ form, ibu, variant, rev }: Groups): ReleaseForm {
  if (form !== undefined) return form as ReleaseForm;
  return ibu === undefined && variant === undefined && rev === undefined ? 'rpm' : 'version';
}

function kindOf({ product, ibu }: Groups, form: ReleaseForm): ReleaseKind | null {
  if (form === 'rpm') return 'rpm';
  if (ibu !== undefined || product === 'SSR') return 'image';
  if (form === 'version') return null;
  return form === 'iso' || form === 'tar' ? 'package' : 'image';
}

function number(digits: string | undefined): number | null {
  return digits === undefined ? null : Number(digits);
}

/**
 * The one spelling of a Session Smart release that the catalog keeps as `version`: `6.3.0-107.r1.el7`, with as much
 * of it as the name says. It reads back as the same release.
 */
export function ssrVersionOf(release: SsrRelease): string {
  const { major, minor, patch, build, timestamp, milestone, dist } = release;
  const counted = timestamp === null ? build : `0.${timestamp}`;
  const tail = [counted, milestone, dist].filter((part) => part !== null).join('.');
  return `${major}.${minor}.${patch}${tail === '' ? '' : `-${tail}`}`;
}
