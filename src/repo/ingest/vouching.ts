/**
 * What the sidecars of a file prove of its bytes, once these were read.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import type { ByteSource, Digest } from '../blobs/blob-store.ts';
import { digestOf } from '../blobs/digest-of.ts';
import type { Check, Verification } from '../catalog/artifact.ts';
import { type MediumFile, openMediumFile } from './medium.ts';
import type { Sidecar } from './sidecars.ts';

/** What an import asks for beyond the rule that nothing may be wrong. */
export interface Demands {
  readonly requireChecksum?: boolean;
  readonly requireSignature?: boolean;
}

/** Compares what the sidecars name with what was read. @throws checksum.mismatch */
export async function checkSidecars(
  sidecars: readonly Sidecar[],
  name: string,
  digest: Digest,
  tar?: { folder: string; inside: (name: string) => Promise<ByteSource | undefined> },
): Promise<Check[]> {
  const checks: Check[] = [];
  for (const sidecar of sidecars) {
    const file = sidecar.checksum.name;
    if (sidecar.target === name) {
      if (sidecar.digest !== digest) throw mismatch(name, sidecar, digest);
      checks.push({ check: 'checksum', result: 'passed', file }, sidecar.signed);
    } else if (tar !== undefined) {
      checks.push(await checkTar(sidecar, tar));
    }
  }
  if (!checks.some(({ check, result }) => check === 'checksum' && result === 'passed')) {
    checks.push({ check: 'checksum', result: 'missing', file: `${name}.sha256sum` });
  }
  return checks;
}

/** A sidecar named for the tar speaks of that tar, wherever it is, and never of the image (vendor.md A1). */
async function checkTar(
  sidecar: Sidecar,
  { folder, inside }: { folder: string; inside: (name: string) => Promise<ByteSource | undefined> },
): Promise<Check> {
  const check = { check: 'checksum', file: sidecar.checksum.name } as const;
  const within = await inside(sidecar.target);
  const beside = within === undefined ? await openIfThere(path.join(folder, sidecar.target)) : undefined;
  try {
    const source = within ?? beside;
    if (source === undefined) return { ...check, result: 'does-not-apply', note: `no ${sidecar.target} here` };
    const digest = await digestOf(source);
    if (digest !== sidecar.digest) throw mismatch(sidecar.target, sidecar, digest);
    const where = within === undefined ? 'beside' : 'inside';
    return {
      ...check,
      result: 'does-not-apply',
      note: `it matches ${sidecar.target} ${where} the image, and says nothing of the image`,
    };
  } finally {
    await beside?.close();
  }
}

async function openIfThere(file: string): Promise<MediumFile | undefined> {
  try {
    return await openMediumFile(file);
  } catch (error) {
    if (error instanceof AirlockError && error.code === 'file.not-found') return undefined;
    throw error;
  }
}

/** To compare verifications: more is better. */
export const STRENGTH = { unverified: 0, checksum: 1, signature: 2 } as const;

/** The status that follows from the checks. */
export function summarize(checks: readonly Check[]): Verification {
  const passed = (kind: Check['check']) => checks.some(({ check, result }) => check === kind && result === 'passed');
  const status = !passed('checksum') ? 'unverified' : passed('signature') ? 'signature' : 'checksum';
  return { status, checks };
}

/** @throws checksum.missing, signature.missing, signature.unknown-key */
export function requireStrength(name: string, verification: Verification, demands: Demands): void {
  if (demands.requireSignature === true && verification.status !== 'signature') {
    const unknown = verification.checks.find(({ result }) => result === 'unknown-key');
    if (unknown !== undefined) {
      throw new AirlockError(
        'signature.unknown-key',
        `${name}: ${unknown.note ?? 'its signature is by a key that is not known here. Add it with "airlock trust vendor-key add FILE".'}`,
        { details: { keyId: unknown.keyId, fingerprint: unknown.fingerprint } },
      );
    }
    throw new AirlockError(
      'signature.missing',
      `${name} has no signed checksum file beside it, and --require-signature asks for one. Copy ${name}.sha256sum and ${name}.sha256sum.asc to the same folder.`,
    );
  }
  if (demands.requireChecksum === true && verification.status === 'unverified') {
    throw new AirlockError(
      'checksum.missing',
      `${name} has no checksum file beside it, and --require-checksum asks for one. Copy ${name}.sha256sum to the same folder.`,
    );
  }
}

/** What a person should know of an import that went well, all the same. */
export function advice({ status, checks }: Verification): string[] {
  return checks.flatMap(({ check, result, file, note }) => {
    if (result === 'missing' && check === 'checksum') return [`no checksum file (${file}): imported unverified`];
    if (result === 'missing') return [`no signature (${file}): verified by checksum only`];
    if (result === 'unknown-key') {
      return [`${file}: ${note ?? 'signed by an unknown key'}`];
    }
    if (result === 'does-not-apply' && status === 'unverified') return [`${file} does not apply: ${note}`];
    return [];
  });
}

function mismatch(name: string, sidecar: Sidecar, found: Digest): AirlockError {
  return new AirlockError(
    'checksum.mismatch',
    `${name} is not what ${sidecar.checksum.name} says: its SHA-256 is ${found.slice(7)}, it should be ${sidecar.digest.slice(7)}. Nothing was imported. Copy or download the file again.`,
    { details: { file: name, sidecar: sidecar.checksum.name, expected: sidecar.digest, found } },
  );
}
