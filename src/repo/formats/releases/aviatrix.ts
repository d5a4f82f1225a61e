import { limits } from '../../../limits.ts';
import type { AviatrixRelease, GatewayImage } from './facts.ts';
import { parseGatewayImage } from './gateway-image.ts';
import { isoDate } from './iso-date.ts';

// The grammar of vendor.md C3.
const N = `\\d{1,${limits.releaseDigits}}`;
const TRAIN = `(?<major>${N})\\.(?<minor>${N})`;
const HOP = `${N}(?:\\.${N}){0,3}`;
const RELEASE = new RegExp(
  '^(?:(?<product>UserConnect)-|Release |R|v)?' +
    `(?:(?<mmddyy>\\d{6})|${TRAIN}(?:(?<letter>[a-z])|-(?<image>1404|1804|2204)\\.(?<build2>${N})|\\.(?<build>${N}))?)` +
    `(?: \\((?<hops>${HOP}(?:, ?${HOP})*)\\))?\\.?$`,
);

/**
 * Reads an Aviatrix name: a release (`UserConnect-6.6.123 (6.5,6.6)`, `R6.4.2776`, `6.5-1804.1922`), a train (`6.2`), a
 * date release (`UserConnect-072216`, which is MMDDYY), the word `latest`, or a gateway image. Case matters.
 * A train, with or without a letter, and `latest` are selectors: they name no build. A template such as `7.1.XXXX`
 * is nothing, nor is a date that the calendar does not have.
 * Never throws: undefined for anything else, under the limits of parseSsr. Source: vendor.md C3.
 */
export function parseAviatrix(name: string): AviatrixRelease | GatewayImage | undefined {
  if (name.length > limits.releaseName) return undefined;
  if (name === 'latest') return { ...blank(name), numbering: 'latest' };
  return parseNumberOrDate(name) ?? parseGatewayImage(name);
}

function parseNumberOrDate(name: string): AviatrixRelease | undefined {
  const found = RELEASE.exec(name)?.groups;
  if (found === undefined) return undefined;
  const named = { ...blank(name), product: found.product ?? null, hops: found.hops?.split(/, ?/) ?? [] };
  if (found.mmddyy !== undefined) {
    const date = isoDate(found.mmddyy, 'MMDDYY');
    return date === undefined ? undefined : { ...named, numbering: 'date', date, form: 'version' };
  }
  const build = found.build ?? found.build2;
  return {
    ...named,
    major: Number(found.major),
    minor: Number(found.minor),
    build: build === undefined ? null : Number(build),
    letter: found.letter ?? null,
    imageTag: found.image ?? null,
    form: build === undefined ? 'selector' : 'version',
  };
}

function blank(input: string): AviatrixRelease {
  return {
    scheme: 'aviatrix',
    input,
    vendor: 'aviatrix',
    product: null,
    major: null,
    minor: null,
    patch: null,
    build: null,
    milestone: null,
    dist: null,
    arch: null,
    kind: null,
    form: 'selector',
    sidecar: null,
    numbering: 'number',
    date: null,
    letter: null,
    imageTag: null,
    hops: [],
  };
}

/**
 * One spelling per release: `6.6.123`, `6.6e`, `6.6`, `latest`, and `072216` for a date release. The image tag and the
 * hops are no part of it, so `6.5-1804.1922` becomes `6.5.1922`.
 */
export function aviatrixVersionOf(release: AviatrixRelease): string {
  const { numbering, date, major, minor, build, letter } = release;
  if (numbering === 'latest') return 'latest';
  if (date !== null) return `${date.slice(5, 7)}${date.slice(8, 10)}${date.slice(2, 4)}`;
  return `${major}.${minor}${letter ?? ''}${build === null ? '' : `.${build}`}`;
}
