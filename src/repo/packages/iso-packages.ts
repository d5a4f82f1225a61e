/**
 * The packages inside an image: found, verified and described where they lie. Nothing is extracted.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource, Digest } from '../blobs/blob-store.ts';
import type { Verification } from '../catalog/artifact.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { PackageRecord } from '../catalog/packages.ts';
import { type IsoEntry, type IsoImage, openIso } from '../formats/iso9660/iso-image.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import { quote } from '../formats/quote.ts';
import type { RpmFacts } from '../formats/rpm/facts.ts';
import { openRpm } from '../formats/rpm/rpm-file.ts';
import type { RpmPolicy } from '../formats/rpm/signature-policy.ts';
import { rpmVerifier, type VerifyRpm } from '../formats/rpm/verify-rpm.ts';
import { type FoundCarried, findCarried } from './carried.ts';
import { readPackage } from './read-package.ts';

/** What an import asks of the packages that it brings. */
export interface PackagePolicy extends RpmPolicy {
  /** Somebody asked for it; else it is the default. */
  readonly isExplicit: boolean;
}

/** A package that may come in. */
export interface FoundPackage {
  /** In its repository. */
  readonly path: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly facts: RpmFacts;
  readonly verification: Verification;
  /** Where it begins in the image. */
  readonly start: number;
  /** Its name in the image. */
  readonly file: string;
}

export interface FoundPackages {
  readonly packages: readonly FoundPackage[];
  readonly carried: readonly FoundCarried[];
  readonly warnings: readonly string[];
}

export interface FindOptions {
  readonly keys: readonly VendorKey[];
  readonly policy: PackagePolicy;
  readonly signal: AbortSignal;
  /** Told of bytes that were verified. */
  readonly onBytes?: (bytes: number) => void;
}

const RPM_NAME = /\.rpm$/i;
const REPOMD = /(?:^|\/)repodata\/repomd\.xml$/;

/**
 * Finds every package of an image and verifies it. What repodata will say of them is recorded on the way: that needs no
 * package to be there, and a few thousand descriptions need not be held in memory.
 * @param source the image, staged or stored; stays the caller's
 * @throws iso.*, and one error that names all packages that may not come in, with the code of the first; interrupted
 */
export async function findPackages(
  catalog: Pick<Catalog, 'recordPackages'>,
  source: ByteSource,
  options: FindOptions,
): Promise<FoundPackages> {
  const iso = await openIso(source);
  const verify = rpmVerifier({ ...options.policy, keys: options.keys });
  const found = new Map<string, FoundPackage>();
  const carried: FoundCarried[] = [];
  const offenders: Offender[] = [];
  let records: PackageRecord[] = [];
  const flush = async (): Promise<void> => {
    await catalog.recordPackages(records);
    records = [];
  };
  for await (const entry of iso.walk()) {
    if (entry.type !== 'file') continue;
    if (REPOMD.test(entry.path)) carried.push(...(await findCarried(iso, entry)));
    if (!RPM_NAME.test(entry.name)) continue;
    const { problems, read } = await examine(iso, entry, verify, options);
    if (read === undefined) {
      offenders.push({ file: entry.path, problems });
      continue;
    }
    const other = found.get(read.found.path);
    if (other !== undefined && other.digest !== read.found.digest) {
      offenders.push({ file: entry.path, problems: [twice(other.file, entry.path)] });
    }
    found.set(read.found.path, read.found);
    if (records.push(read.record) >= limits.packages.recordBatch) await flush();
  }
  await flush();
  if (offenders.length === 0) return { packages: [...found.values()], carried, warnings: [] };
  const isUnknownOnly = offenders.every(({ problems }) =>
    problems.every(({ code }) => code === 'signature.unknown-key'),
  );
  // Before any key is pinned nothing can be told from a signature, and images of releases are of use by themselves.
  if (options.keys.length === 0 && !options.policy.isExplicit && isUnknownOnly)
    return { packages: [], carried: [], warnings: [noKeys(offenders)] };
  throw refusal(offenders, offenders.length + found.size);
}

/** A package that may not come in, and why. */
export interface Offender {
  readonly file: string;
  readonly problems: readonly AirlockError[];
}

interface Examined {
  readonly problems: readonly AirlockError[];
  readonly read?: { readonly found: FoundPackage; readonly record: PackageRecord };
}

async function examine(iso: IsoImage, entry: IsoEntry, verify: VerifyRpm, options: FindOptions): Promise<Examined> {
  try {
    const source = iso.source(entry);
    const rpm = await openRpm(source);
    const { problems, verification, digest } = await verify(source, rpm, options);
    if (problems.length > 0) return { problems };
    const { facts, path: to, record } = readPackage(rpm, { digest, size: source.size });
    const [extent, ...others] = iso.extents(entry);
    if (extent === undefined || others.length > 0) return { problems: [inPieces()] };
    const { start } = extent;
    const found = { path: to, digest, size: source.size, facts, verification, start, file: entry.path };
    return { problems: [], read: { found, record } };
  } catch (error) {
    if (error instanceof AirlockError && error.code.startsWith('rpm.')) return { problems: [error] };
    throw error;
  }
}

/** No tool writes images so: it is a file of more than 4 GiB whose sections do not follow one another. */
function inPieces(): AirlockError {
  return new AirlockError(
    'iso.invalid',
    'it lies in several pieces in the image. Ask for an image that was made anew.',
  );
}

function twice(first: string, second: string): AirlockError {
  return new AirlockError(
    'path.conflict',
    `it says to be the same package as ${quote(path.posix.basename(first))} and holds other bytes than ${quote(path.posix.basename(second))}`,
  );
}

/** Names all at once: whoever has to ask a vendor for packages wants to ask once. */
export function refusal(offenders: readonly Offender[], all: number): AirlockError {
  const [first] = offenders;
  const lines = offenders.slice(0, limits.packages.named).map(({ file, problems }) => {
    return `\n  ${quote(path.posix.basename(file), 255)}: ${problems.map(({ message }) => message).join(' ')}`;
  });
  const more = offenders.length > lines.length ? `\n  and ${offenders.length - lines.length} more` : '';
  return new AirlockError(
    first?.problems[0]?.code ?? 'rpm.invalid',
    `${offenders.length} of ${all} packages may not come in, so nothing was imported:${lines.join('')}${more}`,
    {
      details: {
        packages: offenders.map(({ file, problems }) => ({
          file,
          problems: problems.map(({ code, message }) => ({ code, message })),
        })),
      },
    },
  );
}

function noKeys(offenders: readonly Offender[]): string {
  const ids = offenders.flatMap(({ problems }) => problems.map(({ details }) => details.keyId ?? details.fingerprint));
  const known = [...new Set(ids.filter((id) => typeof id === 'string'))];
  return `its ${offenders.length} packages are signed (key ${known.join(', ') || 'unknown'}) and no vendor key is pinned here to verify them with, so they were not put into a package repository. Add the key with "airlock trust vendor-key add FILE", and import the image again.`;
}
