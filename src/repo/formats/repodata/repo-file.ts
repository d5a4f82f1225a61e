import { AirlockError } from '../../../errors.ts';
import { quote } from '../quote.ts';

/** Where the repository key lies in every repository. */
export const REPOSITORY_KEY_PATH = 'RPM-GPG-KEY-airlock';

export interface RepoFileOptions {
  /** The repository's: it becomes the section's, so what goes after `--repo`. */
  readonly name: string;
  /** URL of the repository, with or without the slash at its end. */
  readonly baseUrl: string;
  /** Paths in the repository of the keys that sign packages, beside the repository key. */
  readonly packageKeys?: readonly string[];
  /** False where packages without signatures were let in: clients would refuse them. Default true. */
  readonly gpgCheck?: boolean;
}

// What dnf and yum put into a value of their own accord begins with these.
const EXPANDED = /[$%\s\p{Cc}\u2028\u2029]/u;

/**
 * A file for `/etc/yum.repos.d/`, for yum and dnf: signed metadata, signed packages, and a look at repomd.xml at every
 * run, so that what has just been imported is seen (vendor.md A13, I95-60651). A repository that cannot be read or is not
 * signed as it should be is an error, not one that is passed over.
 * @throws usage.invalid if the URL is none of http or https, or if it or a name holds white
 *   space, `$` or `%`, which would be expanded
 */
export function repoFile({ name, baseUrl, packageKeys = [], gpgCheck = true }: RepoFileOptions): string {
  const base = repositoryUrl(baseUrl);
  const keys = [REPOSITORY_KEY_PATH, ...packageKeys].map((path) => new URL(path, base).href);
  for (const value of [name, base, ...keys]) if (EXPANDED.test(value)) throw unusable(value);
  return [
    `[${name}]`,
    `name=Airlock: ${name}`,
    `baseurl=${base}`,
    'enabled=1',
    `gpgcheck=${gpgCheck ? 1 : 0}`,
    'repo_gpgcheck=1',
    `gpgkey=${keys.join('\n       ')}`,
    'metadata_expire=0',
    'skip_if_unavailable=0',
    '',
  ].join('\n');
}

function repositoryUrl(text: string): string {
  const url = URL.parse(text.endsWith('/') ? text : `${text}/`);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') throw unusable(text);
  return url.href;
}

function unusable(value: string): AirlockError {
  const message = `${quote(value)} cannot stand in a .repo file. Ask for it under the server's plain name and address.`;
  return new AirlockError('usage.invalid', message);
}
