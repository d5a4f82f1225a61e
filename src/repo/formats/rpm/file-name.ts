import { quote } from '../quote.ts';
import type { RpmFacts } from './facts.ts';

/** What names of files are made of. */
export type NamingFacts = Pick<RpmFacts, 'name' | 'version' | 'release' | 'arch' | 'isNoSource'>;

/** The name that rpmbuild gives to the package's file: without epoch, `.src` or `.nosrc` for a source package. */
export function canonicalFileName({ name, version, release, arch, isNoSource }: NamingFacts): string {
  return `${name}-${version}-${release}.${isNoSource ? 'nosrc' : arch}.rpm`;
}

/**
 * Compares a file's name with what the package says of itself. The package is right; a name is a hint.
 * @param fileName without folders
 * @returns a warning for the user, undefined if all is well
 */
export function checkFileName(fileName: string, facts: NamingFacts): string | undefined {
  const canonical = canonicalFileName(facts);
  if (fileName === canonical) return undefined;
  return `The file ${quote(fileName, 255)} holds the package ${canonical.slice(0, -'.rpm'.length)}; its name does not count.`;
}
