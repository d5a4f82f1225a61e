/**
 * The packages inside an image: found, verified and described where they lie. Nothing is extracted.
 */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../blobs/blob-store.ts';
import type { Verification } from '../catalog/artifact.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { PackageRecord } from '../catalog/packages.ts';
import { type IsoEntry, type IsoImage, openIso } from '../formats/iso9660/iso-image.ts';
import type { VendorKey } from '../formats/openpgp/key-files.ts';
import { quote } from '../formats/quote.ts';
import { checkFileName, type NamingFacts } from '../formats/rpm/file-name.ts';
import type { RpmPolicy } from '../formats/rpm/signature-policy.ts';
import { rpmVerifier } from '../formats/rpm/verify-rpm.ts';
import { type RevokedContent, revocationOf } from '../revoked.ts';
import { throwIfAborted } from '../staging.ts';
import { type FoundCarried, findCarried } from './carried.ts';
import { type Examined, examinePackage, type GoodPackage } from './examine-package.ts';
import { type PackageFacts, packageFactsOf } from './package-list.ts';
import { PackageThreads } from './package-threads.ts';

/** What an import asks of the packages that it brings. */
export interface PackagePolicy extends RpmPolicy {
  /** Somebody asked for it; else it is the default. */
  readonly isExplicit: boolean;
}

/** A package that may come in. */
export interface FoundPackage extends Omit<GoodPackage, 'record' | 'facts'> {
  /** No more than is kept: there may be many thousands. */
  readonly facts: PackageFacts & NamingFacts;
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
  /** Packages that must not come in. */
  readonly revoked: RevokedContent;
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
  await using examiner = examinerFor(source, options);
  const iso = await openIso(source);
  const found = new Map<string, FoundPackage>();
  const carried: FoundCarried[] = [];
  const offenders: Offender[] = [];
  const oneOfEqual = sharing();
  let records: PackageRecord[] = [];
  const flush = async (): Promise<void> => {
    await catalog.recordPackages(records);
    records = [];
  };
  const take = async ({ entry, examined, start }: OnItsWay): Promise<void> => {
    const { problems, read } = await examined;
    throwIfAborted(options.signal);
    options.onBytes?.(entry.size);
    if (read === undefined) {
      offenders.push({ file: entry.path, problems });
      return;
    }
    const revocation = revocationOf(options.revoked, path.posix.basename(entry.path), read.digest);
    if (revocation !== undefined) {
      offenders.push({ file: entry.path, problems: [revocation] });
      return;
    }
    const { record, facts, ...rest } = read;
    const other = found.get(read.path);
    if (other !== undefined && other.digest !== read.digest) {
      offenders.push({ file: entry.path, problems: [twice(other.file, entry.path)] });
    }
    found.set(read.path, {
      ...rest,
      verification: oneOfEqual(rest.verification),
      facts: { ...packageFactsOf(facts), isNoSource: facts.isNoSource },
      start,
      file: entry.path,
    });
    if (records.push(record) >= limits.packages.recordBatch) await flush();
  };
  const onTheirWay: OnItsWay[] = [];
  for await (const entry of iso.walk()) {
    if (entry.type !== 'file') continue;
    if (REPOMD.test(entry.path)) carried.push(...(await findCarried(iso, entry)));
    if (!RPM_NAME.test(entry.name)) continue;
    onTheirWay.push(examiner.start(iso, entry));
    const first = onTheirWay.length < examiner.capacity ? undefined : onTheirWay.shift();
    if (first !== undefined) await take(first);
  }
  for (const each of onTheirWay) await take(each);
  await flush();
  if (offenders.length === 0) {
    const packages = [...found.values()];
    const warnings = packages.length === 0 ? [EMPTY] : [...misnamed(packages), ...unverified(packages)];
    return { packages, carried, warnings };
  }
  const isUnknownOnly = offenders.every(({ problems }) =>
    problems.every(({ code }) => code === 'signature.unknown-key'),
  );
  // Before any key is pinned nothing can be told from a signature, and images of releases are of use by themselves.
  if (options.keys.length === 0 && !options.policy.isExplicit && isUnknownOnly)
    return { packages: [], carried: [], warnings: [noKeys(offenders)] };
  throw refusal(offenders, offenders.length + found.size);
}

/** Most packages of an image are verified alike, so that many thousands need not be held with a report each. */
function sharing(): (verification: Verification) => Verification {
  const known = new Map<string, Verification>();
  return (verification) => {
    const key = JSON.stringify(verification);
    const equal = known.get(key);
    if (equal === undefined && known.size < limits.packages.recordBatch) known.set(key, verification);
    return equal ?? verification;
  };
}

const EMPTY = 'it holds no packages (*.rpm), so routers can install nothing from it';

/** What to say of packages whose files are not called what their headers say, which is what counts. */
export function misnamed(packages: readonly Pick<FoundPackage, 'file' | 'facts'>[]): string[] {
  const all = packages.flatMap(({ file, facts }) => checkFileName(path.posix.basename(file), facts) ?? []);
  const more = all.length - limits.packages.named;
  return more > 0 ? [...all.slice(0, -more), `${more} more files are not called as their packages`] : all;
}

function unverified(packages: readonly FoundPackage[]): string[] {
  const count = packages.filter(({ verification }) => verification.status !== 'signature').length;
  if (count === 0) return [];
  return [
    `${count} of its ${packages.length} packages are not verified by signature. Routers with gpgcheck=1, as the .repo file of the repository has it, refuse those that none of its keys has signed.`,
  ];
}

/** A package that may not come in, and why. */
export interface Offender {
  readonly file: string;
  readonly problems: readonly AirlockError[];
}

/** A package that is being examined. */
interface OnItsWay {
  readonly entry: IsoEntry;
  /** Where it begins in the image. */
  readonly start: number;
  readonly examined: Promise<Examined>;
}

interface Examiner extends AsyncDisposable {
  /** How many packages may be on their way at once. */
  readonly capacity: number;
  start(iso: IsoImage, entry: IsoEntry): OnItsWay;
}

/** Large images are worth threads, which take a while to start. This one works with them: it has little else to do. */
function examinerFor(image: ByteSource, { keys, policy, signal }: FindOptions): Examiner {
  const { inFile } = image;
  const isLarge = image.size >= limits.packages.threadsFrom && availableParallelism() > 1;
  const threads = isLarge && inFile !== undefined ? new PackageThreads(keys, policy) : undefined;
  const verify = rpmVerifier({ ...policy, keys });
  const over = new AbortController();
  const stop = AbortSignal.any([signal, over.signal]);
  const running = new Set<Promise<unknown>>();

  let load = 0; // of this thread
  const examineHere = async (source: ByteSource): Promise<Examined> => {
    stop.throwIfAborted();
    load += source.size;
    try {
      return await examinePackage(source, verify, { signal: stop });
    } finally {
      load -= source.size;
    }
  };
  const examine = async (source: ByteSource, start: number): Promise<Examined> => {
    const place = inFile && { fd: inFile.fd, start: inFile.start + start, size: source.size };
    const isThreadFree = threads !== undefined && threads.leastLoad <= load;
    const examined = isThreadFree && place !== undefined ? await threads.examine(place) : undefined;
    return examined ?? (await examineHere(source));
  };
  return {
    capacity: 1 + (threads?.capacity ?? 0),
    start(iso, entry) {
      const [extent = { start: 0 }, ...others] = iso.extents(entry);
      const examined = others.length > 0 ? Promise.resolve(inPieces()) : examine(iso.source(entry), extent.start);
      running.add(examined);
      const end = () => running.delete(examined);
      examined.then(end, end); // an error is told when its turn comes, unless another one was before it
      return { entry, start: extent.start, examined };
    },
    async [Symbol.asyncDispose]() {
      over.abort();
      await threads?.[Symbol.asyncDispose]();
      await Promise.allSettled(running); // they read what the caller closes next
    },
  };
}

/** No tool writes images so: it is a file of more than 4 GiB whose sections do not follow one another. */
function inPieces(): Examined {
  const message = 'it lies in several pieces in the image. Ask for an image that was made anew.';
  return { problems: [new AirlockError('iso.invalid', message)], read: undefined };
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
