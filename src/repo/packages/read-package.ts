/**
 * What is taken from a package when it comes in: what it is, what it needs and gives, and what repodata will say of it.
 */
import type { ByteSource, Digest } from '../blobs/blob-store.ts';
import { type PackageRecord, type Provide, packTexts } from '../catalog/packages.ts';
import { describePackage } from '../formats/repodata/package-fragments.ts';
import { packagePath } from '../formats/repodata/package-path.ts';
import { type Dependency, dependenciesOf } from '../formats/rpm/dependencies.ts';
import type { RpmFacts } from '../formats/rpm/facts.ts';
import { openRpm, type RpmFile } from '../formats/rpm/rpm-file.ts';
import { SENSE } from '../formats/rpm/tags.ts';

export interface ReadPackage {
  readonly facts: RpmFacts;
  /** In its repository. */
  readonly path: string;
  readonly record: PackageRecord;
}

/**
 * Reads what the header says. @param file of the whole package, already known
 * @throws rpm.*
 */
export function readPackage(rpm: RpmFile, file: { readonly digest: Digest; readonly size: number }): ReadPackage {
  const { facts, fragments, provides, primaryFiles } = describePackage(rpm, file);
  const record = { digest: file.digest, texts: packTexts(fragments), provides: [...recorded(provides, primaryFiles)] };
  return { facts, path: packagePath(facts), record };
}

/** As `readPackage`, from the bytes. @throws rpm.*, what the source throws */
export async function readPackageFrom(source: ByteSource, digest: Digest): Promise<ReadPackage> {
  return readPackage(await openRpm(source), { digest, size: source.size });
}

/** What the package needs before it can be installed; not what rpm itself must be able to do. */
export function requirementsOf(rpm: RpmFile): Dependency[] {
  return [...dependenciesOf(rpm, 'requires')].filter(({ isRpmlib }) => !isRpmlib);
}

function* recorded(provides: readonly Dependency[], files: Iterable<string>): Generator<Provide, void, undefined> {
  for (const { name, flags, comparison, evr } of provides) {
    yield { name, flags: comparison === null ? 0 : flags & SENSE.mask, evr: evr === null ? null : writeEvr(evr) };
  }
  for (const name of files) yield { name, flags: 0, evr: null };
}

function writeEvr({ epoch, version, release }: NonNullable<Dependency['evr']>): string {
  return `${epoch === null ? '' : `${epoch}:`}${version}${release === null ? '' : `-${release}`}`;
}
