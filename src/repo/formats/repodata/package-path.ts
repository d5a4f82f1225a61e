import type { RpmFacts } from '../rpm/facts.ts';
import { canonicalFileName } from '../rpm/file-name.ts';

/** What goes unchanged through URLs, shells and file systems. RPM versions need `~` and `^`. */
const UNSAFE = /[^A-Za-z0-9._+~^-]/g;

/**
 * Where a package lies in its repository: `Packages/<first letter>/<name>-<version>-<release>.<arch>.rpm`. Made of the
 * header alone, whatever its file was called. The file's name leaves the epoch out, as everywhere; so that packages which
 * differ in nothing else do not meet, one with an epoch lies in a folder `epoch-<n>`. Other characters than letters,
 * digits and `._+~^-` become `=` and two hexadecimal digits, so that the path is the same in a URL.
 * @returns a path of printable ASCII without `%`, `?`, `#`, `:` and `\`. Two packages have the same one only if they
 *   have the same name, epoch, version, release and architecture.
 */
export function packagePath(facts: RpmFacts): string {
  const file = canonicalFileName(facts).replace(UNSAFE, (char) => `=${char.charCodeAt(0).toString(16)}`);
  const first = /^[a-z0-9]/.exec(file.toLowerCase())?.[0] ?? '_';
  return ['Packages', first, ...(facts.epoch === 0 ? [] : [`epoch-${facts.epoch}`]), file].join('/');
}
