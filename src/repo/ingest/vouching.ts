/**
 * What the sidecars of a file prove of its bytes, once these were read.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import type { ByteSource, Digest } from '../blobs/blob-store.ts';
import { digestOf } from '../blobs/digest-of.ts';
import type { Check, Verification } from '../catalog/artifact.ts';
import { quoteUnsafe } from '../formats/quote.ts';
import { heard, type StagingOptions } from '../staging.ts';
import { openIfThere } from './medium.ts';
import type { FoundSidecars, Sidecar } from './sidecars.ts';

/** What an import asks for beyond the rule that nothing may be wrong. */
export interface Demands {
  readonly requireChecksum?: boolean;
  readonly requireSignature?: boolean;
}

export interface Vouched {
  readonly checks: readonly Check[];
  /** Those whose target was read, or is known, and is what they say. */
  readonly proven: readonly Sidecar[];
}

/** Where else than in the file itself a sidecar's target may be. */
export interface TarSearch extends StagingOptions {
  /** Of a medium; undefined: nothing lies beside the file. */
  readonly folder: string | undefined;
  readonly inside: (name: string) => Promise<ByteSource | undefined>;
}

/** Compares what the sidecars name with what was read. @throws checksum.mismatch, tar.invalid, interrupted */
export async function checkSidecars(
  { sidecars, strays }: Pick<FoundSidecars, 'sidecars' | 'strays'>,
  name: string,
  digest: Digest,
  tar?: TarSearch,
): Promise<Vouched> {
  const checks: Check[] = [...strays];
  const proven: Sidecar[] = [];
  for (const sidecar of sidecars) {
    if (sidecar.target === name) {
      if (sidecar.digest !== digest) throw mismatch(name, sidecar, digest);
      checks.push({ check: 'checksum', result: 'passed', file: sidecar.checksum.name }, sidecar.signed);
      proven.push(sidecar);
    } else if (tar !== undefined) {
      const where = await checkTar(sidecar, tar);
      if (where !== undefined) proven.push(sidecar);
      checks.push(ofTar(sidecar, where));
    }
  }
  const own = `${name}.sha256sum`;
  if (!checks.some(({ check, result, file }) => check === 'checksum' && (result === 'passed' || file === own))) {
    checks.push({ check: 'checksum', result: 'missing', file: own });
  }
  return { checks, proven };
}

/**
 * A sidecar named for the tar speaks of that tar, wherever it is, and never of the image (vendor.md A1).
 * @returns where the tar is that it matches, undefined if there is none
 */
async function checkTar(sidecar: Sidecar, search: TarSearch): Promise<'inside' | 'beside' | undefined> {
  const within = await search.inside(sidecar.target);
  const options = { found: true, otherwise: 'tar.invalid', signal: search.signal } as const;
  const beside =
    within === undefined && search.folder !== undefined
      ? await openIfThere(path.join(search.folder, sidecar.target), options)
      : undefined;
  try {
    const source = within ?? beside;
    if (source === undefined) return undefined;
    search.progress.start(quoteUnsafe(sidecar.target), source.size);
    const digest = await digestOf(source, heard(search));
    if (digest !== sidecar.digest) throw mismatch(sidecar.target, sidecar, digest);
    return within === undefined ? 'beside' : 'inside';
  } finally {
    await beside?.close();
  }
}

function ofTar({ checksum, target }: Sidecar, where: 'inside' | 'beside' | undefined): Check {
  const note =
    where === undefined
      ? `no ${quoteUnsafe(target)} here`
      : `it matches ${quoteUnsafe(target)} ${where} the image, and says nothing of the image`;
  return { check: 'checksum', result: 'does-not-apply', file: checksum.name, note };
}

/** To compare verifications: more is better. */
export const STRENGTH = { unverified: 0, checksum: 1, signature: 2 } as const;

/** The status that follows from the checks. */
export function summarize(checks: readonly Check[]): Verification {
  const passed = (kind: Check['check']) => checks.some(({ check, result }) => check === kind && result === 'passed');
  const status = !passed('checksum') ? 'unverified' : passed('signature') ? 'signature' : 'checksum';
  return { status, checks };
}

/** The one that is worth more; the first of two equal ones. */
export function stronger(first: Verification, second: Verification): Verification {
  return STRENGTH[second.status] > STRENGTH[first.status] ? second : first;
}

/** @throws checksum.missing, signature.missing, signature.unknown-key */
export function requireStrength(name: string, verification: Verification, demands: Demands): void {
  const file = quoteUnsafe(name);
  if (demands.requireSignature === true && verification.status !== 'signature') {
    const unknown = verification.checks.find(({ result }) => result === 'unknown-key');
    if (unknown !== undefined) {
      throw new AirlockError(
        'signature.unknown-key',
        `${file}: ${unknown.note ?? 'its signature is by a key that is not known here. Add it with "airlock trust vendor-key add FILE".'}`,
        { details: { keyId: unknown.keyId, fingerprint: unknown.fingerprint } },
      );
    }
    throw new AirlockError(
      'signature.missing',
      `${file} has no signed checksum file beside it${strayNote(verification)}, and --require-signature asks for one. Copy ${quoteUnsafe(`${name}.sha256sum`)} and its .asc to the same folder.`,
    );
  }
  if (demands.requireChecksum === true && verification.status === 'unverified') {
    throw new AirlockError(
      'checksum.missing',
      `${file} has no checksum file beside it${strayNote(verification)}, and --require-checksum asks for one. Copy ${quoteUnsafe(`${name}.sha256sum`)} to the same folder.`,
    );
  }
}

function strayNote({ checks }: Verification): string {
  const strays = checks.filter(({ result }) => result === 'does-not-apply');
  return strays.length === 0
    ? ''
    : ` (${strays.map(({ file = '', note }) => `${quoteUnsafe(file)} does not apply: ${note}`).join('; ')})`;
}

/** What a person should know of an import that went well, all the same. */
export function advice({ status, checks }: Verification): string[] {
  return checks.flatMap(({ check, result, file: name = '', note }) => {
    const file = quoteUnsafe(name);
    if (result === 'missing' && check === 'checksum') return [`no checksum file (${file}): imported unverified`];
    if (result === 'missing') return [`no signature (${file}): verified by checksum only`];
    if (result === 'unknown-key') return [`${file}: ${note ?? 'signed by an unknown key'}`];
    if (result === 'does-not-apply' && status === 'unverified') return [`${file} does not apply: ${note}`];
    return [];
  });
}

function mismatch(name: string, sidecar: Sidecar, found: Digest): AirlockError {
  return new AirlockError(
    'checksum.mismatch',
    `${quoteUnsafe(name)} is not what ${quoteUnsafe(sidecar.checksum.name)} says: its SHA-256 is ${found.slice(7)}, it should be ${sidecar.digest.slice(7)}. Nothing was imported. Copy or download the file again.`,
    { details: { file: name, sidecar: sidecar.checksum.name, expected: sidecar.digest, found } },
  );
}
