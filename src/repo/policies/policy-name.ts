/**
 * How policy texts are called: `aviatrix-app-policy`, `aviatrix-app-policy@3`. In the repository `policies` the first is the
 * path of the newest published text, the second that of one version.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { quote } from '../formats/quote.ts';

export const POLICIES = 'policies';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** @throws path.invalid */
export function policyName(name: string): string {
  if (NAME.test(name) && !name.includes('..')) return name;
  throw new AirlockError(
    'path.invalid',
    `${quote(name)} cannot name a policy. Use 1 to 100 letters, digits, dots, dashes and underscores, such as aviatrix-app-policy.`,
  );
}

export interface PolicyReference {
  readonly name: string;
  /** Undefined: the newest published one. */
  readonly version: number | undefined;
}

/** `NAME` or `NAME@N`. @throws usage.invalid, path.invalid */
export function parseReference(text: string): PolicyReference {
  const [, name = '', version] = /^([^@]*)(?:@(.*))?$/s.exec(text) ?? [];
  if (version !== undefined && !/^[1-9]\d{0,8}$/.test(version)) {
    throw new AirlockError(
      'usage.invalid',
      `${quote(text)} names no version of a policy. Write NAME or NAME@N, such as aviatrix-app-policy@3.`,
    );
  }
  return { name: policyName(name), version: version === undefined ? undefined : Number(version) };
}

/** The path of one version in the repository. */
export function versionPath(name: string, version: number): string {
  return `${name}@${version}`;
}

/** True for the path of one version, which never holds other bytes. */
export function isVersionPath(path: string): boolean {
  return /@[1-9]\d*$/.test(path);
}

/** True for the name of a release, as vendors write them, with which a text may go. */
export function isReleaseName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._+~-]*$/.test(text) && text.length <= limits.policy.releaseName;
}

/** Texts that make sense only together: `aviatrix-…-expanded-1` and `-2` are one policy, cut in two. */
export interface PolicySet {
  readonly stem: string;
  readonly part: number;
}

/** @returns undefined for a text that stands alone */
export function policySet(name: string): PolicySet | undefined {
  const [, stem, part] = /^(.*expanded)-([1-9])$/i.exec(name) ?? [];
  return stem === undefined ? undefined : { stem, part: Number(part) };
}
