/** What the steps of one run of a rule share. */
import type { Leases } from '../../../repo/staging.ts';
import type { Upstream } from '../../../repo/upstream/upstream.ts';
import type { RpmRule } from '../rpm.ts';
import type { MirrorFailure, MirrorSite } from '../rule.ts';
import type { Fetcher } from './fetch.ts';

/** A place where a repository lies: of the site itself, or of one of its mirrors. */
export interface Root {
  readonly upstream: Upstream;
  /** What stands before the paths of the repository: empty, or with a slash at its end. */
  readonly prefix: string;
}

/** Of a file of the repository, as in the URLs of the site. */
export function sitePath({ path }: Pick<RpmRule, 'path'>, name: string): string {
  return path === '' ? name : `${path}/${name}`;
}

export interface Run {
  readonly site: MirrorSite;
  readonly rule: RpmRule;
  readonly fetcher: Fetcher;
  /** What is stored and recorded on the way, before it is published. */
  readonly leases: Leases;
  readonly warnings: string[];
  readonly failures: MirrorFailure[];
}
