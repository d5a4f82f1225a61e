/**
 * What a sync begins with: repomd.xml, and the signature over it.
 */
import { AirlockError, isAirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { Digest } from '../../../repo/blobs/blob-store.ts';
import { digestOfBytes } from '../../../repo/blobs/digest-of.ts';
import type { Check, Verification } from '../../../repo/catalog/artifact.ts';
import { signatureError, verifyDetached } from '../../../repo/formats/openpgp/verify-detached.ts';
import { type ForeignRecord, readRepomd } from '../../../repo/formats/repodata/read-repomd.ts';
import { REPOMD, REPOMD_SIGNATURE } from '../../../repo/packages/prepare-change.ts';
import type { FetchOptions } from '../../../repo/upstream/upstream.ts';
import { address, type SmallFile, waitFor } from './fetch.ts';
import type { Root, Run } from './run.ts';
import type { MirrorState } from './state.ts';

export interface Front {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly records: readonly ForeignRecord[];
  /** repomd.xml.asc, byte for byte. */
  readonly signature: Buffer | undefined;
  readonly verification: Verification;
  /** The newest timestamp in it, seconds since 1970. */
  readonly newest: number;
  readonly etag: string | null;
  readonly modified: Date | null;
  /** Where it came from. */
  readonly root: Root;
}

/** Says whether a repomd.xml may be one of those that the site's list of mirrors knows. */
export type IsListed = (bytes: Buffer) => boolean;

export interface FrontQuestion {
  readonly roots: readonly Root[];
  readonly isListed: IsListed;
  /** What the last sync came to; its repomd.xml need not come again. */
  readonly state: MirrorState | undefined;
  /** Validators of that repomd.xml, if all that it led to is here. */
  readonly unless: FetchOptions['unless'];
}

/**
 * Asks one place after the other for repomd.xml, until one has it as it should be.
 * @returns undefined if it is the one of the last sync
 * @throws what the first place failed with: upstream.*, path.not-found, repodata.invalid, signature.*, interrupted
 */
export async function loadFront(run: Run, question: FrontQuestion): Promise<Front | undefined> {
  let failure: unknown;
  for (const root of question.roots) {
    try {
      return await loadFrom(run, root, question);
    } catch (error) {
      if (!isAirlockError(error) || isAirlockError(error, 'interrupted')) throw error;
      failure ??= error;
    }
  }
  throw failure;
}

/** A repository is replaced file by file: repomd.xml and its signature may be of two states, for a moment. */
async function loadFrom(run: Run, root: Root, question: FrontQuestion): Promise<Front | undefined> {
  for (let round = 1; ; round += 1) {
    try {
      return await loadOnce(run, root, question);
    } catch (error) {
      const mayPass = isAirlockError(error, 'signature.bad', 'upstream.unreachable', 'upstream.failed');
      if (!mayPass || round >= limits.mirror.rounds || question.roots.length > 1) throw error;
      await waitFor(round, run.site.signal);
    }
  }
}

async function loadOnce(run: Run, root: Root, question: FrontQuestion): Promise<Front | undefined> {
  const { unless, state } = question;
  const found = await run.fetcher.readSmall(root, REPOMD, limits.repodata.repomd, unless);
  if (found.type === 'not-modified') return undefined;
  if (found.type === 'missing') throw noRepository(root);
  const { bytes, facts } = found;
  const digest = digestOfBytes(bytes);
  if (unless !== undefined && digest === state?.repomd) return undefined; // its server does not know validators
  const records = readRepomd(bytes);
  if (!question.isListed(bytes)) throw notListed(root);
  const { signature, verification } = await loadSignature(run, root, bytes, state);
  const newest = Math.max(0, ...records.map(({ timestamp = 0 }) => timestamp));
  if (newest * 1000 > run.site.now().getTime() + limits.mirror.ahead) throw ahead(root, newest);
  if (newest < (state?.newest ?? 0)) throw rolledBack(root, newest, state?.newest ?? 0);
  const { etag, modified } = facts;
  return { bytes, digest, records, signature, verification, newest, etag, modified, root };
}

async function loadSignature(
  run: Run,
  root: Root,
  signed: Buffer,
  state: MirrorState | undefined,
): Promise<Pick<Front, 'signature' | 'verification'>> {
  const { rule, site, warnings } = run;
  const found = await readSignature(run, root);
  const signature = found.type === 'content' ? found.bytes : undefined;
  const { keys } = site.ingest;
  const unverified = (check: Check): Verification => ({ status: 'unverified', checks: [check] });
  if (keys.length === 0) {
    if (signature !== undefined) warnings.push(unchecked(site.name, root));
    const result = signature === undefined ? 'missing' : 'not-checked';
    return { signature, verification: unverified({ check: 'signature', result }) };
  }
  if (signature === undefined) {
    if (state?.isSigned === true) throw unsigned(root);
    warnings.push(
      `${address(root, REPOMD_SIGNATURE)} is not there: the metadata is vouched for by nobody.${rule.requireSignature === false ? '' : ' Each package has to be signed.'}`,
    );
    return { signature, verification: unverified({ check: 'signature', result: 'missing' }) };
  }
  const verdict = await verifyDetached({ signed, signature, keys, now: site.now() });
  if (verdict.outcome !== 'good') {
    const error = signatureError(verdict);
    throw new AirlockError(error.code, `${address(root, REPOMD)}: ${error.message}`, { details: error.details });
  }
  const { keyId, fingerprint, userId, signedAt, hash } = verdict;
  const check: Check = {
    check: 'signature',
    result: 'passed',
    file: 'repomd.xml.asc',
    ...(hash === undefined ? {} : { algorithm: hash.toLowerCase() }),
    ...(keyId === null ? {} : { keyId }),
    ...(fingerprint === null ? {} : { fingerprint }),
    ...(userId === undefined ? {} : { userId }),
    ...(signedAt === undefined || Number.isNaN(signedAt.getTime()) ? {} : { signedAt: signedAt.toISOString() }),
  };
  return { signature, verification: { status: 'signature', checks: [check] } };
}

/** Object stores that do not tell what they have refuse to give what they have not. */
async function readSignature({ fetcher }: Run, root: Root): Promise<SmallFile> {
  try {
    return await fetcher.readSmall(root, REPOMD_SIGNATURE, limits.signatureFile);
  } catch (error) {
    if (isAirlockError(error, 'upstream.unauthorized')) return { type: 'missing' };
    throw error;
  }
}

function noRepository(root: Root): AirlockError {
  return new AirlockError(
    'path.not-found',
    `${address(root, REPOMD)} is not there (404), so there is no repository. What is here of it stays. Correct "path" of the rule.`,
  );
}

function notListed(root: Root): AirlockError {
  return new AirlockError(
    'checksum.mismatch',
    `${address(root, REPOMD)} is none of those that the metalink knows. This mirror is behind, or not what it should be; nothing of it was taken.`,
  );
}

function unchecked(name: string, root: Root): string {
  return `The signature over ${address(root, REPOMD)} was not checked, for no key is known here: routers with repo_gpgcheck=1, as the .repo file has it, refuse what it signs. Pin the key of the vendor ("airlock trust vendor-key add FILE"), or name it in upstreams.${name}.keys.`;
}

function unsigned(root: Root): AirlockError {
  return new AirlockError(
    'signature.missing',
    `${address(root, REPOMD_SIGNATURE)} is not there, though the metadata was signed at the last sync. Somebody may be holding its signature back; what is here stays. If the vendor does not sign any more, mirror into another repository.`,
  );
}

/** Remembered, it would make every later repomd.xml an old one. */
function ahead(root: Root, newest: number): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `${address(root, REPOMD)} says that it was made at ${time(newest)}, which is yet to come. What is here stays. See that the clock of this machine is right; if it is, tell whoever made the repository.`,
    { details: { newest } },
  );
}

function time(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

function rolledBack(root: Root, newest: number, known: number): AirlockError {
  return new AirlockError(
    'trust.rollback',
    `${address(root, REPOMD)} is older (${time(newest)}) than what was mirrored before (${time(known)}). Somebody may be holding updates back, or the mirror is behind; what is here stays. If the vendor really went back, mirror into another repository.`,
    { details: { newest, known } },
  );
}
