/** The signatures of a package, read while the package goes by, then held against the pinned keys. */

import type { SignaturePacket } from 'openpgp';

import { type ErrorCode, isAirlockError } from '../../../errors.ts';
import type { ByteRange } from '../../blobs/blob-store.ts';
import { type Bench, judgePacket, type SignatureVerdict } from '../openpgp/judge-signature.ts';
import { hashName } from '../openpgp/library.ts';
import { PACKET, splitPackets } from '../openpgp/packets.ts';
import { readSignature } from '../openpgp/signature-files.ts';
import { StreamedSignature } from '../openpgp/streamed-signature.ts';
import { readVersion3 } from '../openpgp/version-3.ts';
import type { RpmPart } from './digests.ts';
import type { PassListener } from './one-pass.ts';
import type { RpmFile } from './rpm-file.ts';
import { type RpmSignature, signaturesOf } from './signatures.ts';

/**
 * What a signature is worth:
 * - `good`;
 * - `unproven`: nobody here can tell: its key is unknown, or its version or algorithm;
 * - `outlived`: really made by a pinned key that was revoked or expired;
 * - `bad`: not over these bytes, damaged, dated impossibly.
 */
export type SignatureWorth = 'good' | 'unproven' | 'outlived' | 'bad';

export interface JudgedSignature {
  /** As rpm calls the tag: `RSAHEADER`, `SIGPGP`, `OPENPGP` … */
  readonly name: string;
  readonly covers: readonly RpmPart[];
  readonly worth: SignatureWorth;
  readonly verdict: SignatureVerdict;
}

/** A signature as it was read. */
export interface ReadSignature {
  readonly name: string;
  readonly covers: readonly RpmPart[];
  /** `SHA256`; null if it cannot be read. */
  readonly hash: string | null;
}

/** Signatures on their way: give `listeners` what they ask for, then `judge`, once. */
export interface RunningSignatures {
  readonly signatures: readonly ReadSignature[];
  readonly listeners: readonly PassListener[];
  judge(bench: Omit<Bench, 'matches' | 'allowsWeakHashes'>): Promise<JudgedSignature[]>;
}

type Readable = ReadSignature & { readonly streamed: StreamedSignature; readonly range: ByteRange };
type Unreadable = ReadSignature & { readonly isUnsupported: boolean; readonly problem: string };

/**
 * Reads the signatures of a package, not the package. What is wrong with one of them is for its verdict to say.
 * @throws rpm.invalid, rpm.limit as `signaturesOf`
 */
export async function startSignatures(rpm: RpmFile): Promise<RunningSignatures> {
  const signatures: (Readable | Unreadable)[] = [];
  for (const signature of signaturesOf(rpm)) signatures.push(await read(signature));
  const readable = signatures.filter((signature) => 'streamed' in signature);
  return {
    signatures,
    listeners: readable.map(({ range, streamed }) => ({ range, update: (piece) => streamed.update(piece) })),
    async judge(bench) {
      for (const { streamed } of readable) streamed.finish();
      const judged: JudgedSignature[] = [];
      for (const signature of signatures) judged.push(await judge(bench, signature));
      return judged;
    },
  };
}

async function read({ name, covers, range, packets }: RpmSignature): Promise<Readable | Unreadable> {
  const packet = await readPacket(packets);
  if ('problem' in packet) return { name, covers, hash: null, ...packet };
  const hash = hashName(packet.hashAlgorithm);
  const streamed = StreamedSignature.of(packet);
  if (streamed !== undefined) return { name, covers, hash, range, streamed };
  return {
    ...{ name, covers, hash: null, isUnsupported: true },
    problem: `is over ${hash}, which is not supported; ask the vendor for a SHA-256 or SHA-512 signature`,
  };
}

type Problem = Pick<Unreadable, 'isUnsupported' | 'problem'>;
const DAMAGED: Problem = { isUnsupported: false, problem: 'is damaged; fetch or copy the package again' };

/** As rpm, takes exactly one packet. */
async function readPacket(bytes: Uint8Array): Promise<SignaturePacket | Problem> {
  const packet = onlySignature(bytes);
  if (packet === undefined) return DAMAGED;
  const signature = await readSignature(packet);
  if (signature.kind === 'modern') return signature.packet;
  if (signature.kind === 'unreadable') return signature;
  const old = packet.body[0] === 3 ? await readVersion3(signature.body) : 'unsupported';
  if (typeof old !== 'string') return old;
  if (old === 'damaged') return DAMAGED;
  return {
    isUnsupported: true,
    problem: 'is of an old kind that is not supported; ask the vendor for a version 4 signature',
  };
}

function onlySignature(bytes: Uint8Array) {
  try {
    const [packet, ...more] = splitPackets(bytes, 'signature.invalid' satisfies ErrorCode, 2);
    return packet?.tag === PACKET.signature && more.length === 0 ? packet : undefined;
  } catch (error) {
    if (isAirlockError(error, 'signature.invalid')) return undefined;
    throw error;
  }
}

async function judge(
  bench: Parameters<RunningSignatures['judge']>[0],
  signature: Readable | Unreadable,
): Promise<JudgedSignature> {
  const { name, covers } = signature;
  if (!('streamed' in signature)) {
    const { isUnsupported, problem } = signature;
    const verdict = {
      outcome: 'unparsable',
      keyId: null,
      fingerprint: null,
      message: `The signature ${problem}.`,
    } as const;
    return { name, covers, worth: isUnsupported ? 'unproven' : 'bad', verdict };
  }
  const { streamed } = signature;
  const matches: Bench['matches'] = (_packet, signer) => streamed.isBy(bench.openpgp, signer);
  const verdict = await judgePacket({ ...bench, allowsWeakHashes: true, matches }, streamed.packet);
  if (streamed.packet.signatureType !== bench.openpgp.enums.signature.binary) {
    const message = `The signature by key ${verdict.keyId} is of type ${streamed.packet.signatureType}, not one over a package. Ask the vendor.`;
    return { name, covers, worth: 'bad', verdict: { ...verdict, outcome: 'bad', message } };
  }
  if (verdict.outcome === 'unknown-key' && !streamed.mayFit()) {
    const message = `Bad signature: whoever made it (it names key ${verdict.keyId}) did not sign these bytes. The package or its signature was changed or damaged; fetch or copy it again.`;
    return { name, covers, worth: 'bad', verdict: { ...verdict, outcome: 'bad', message } };
  }
  return { name, covers, worth: WORTH[verdict.outcome], verdict };
}

const WORTH: Readonly<Record<SignatureVerdict['outcome'], SignatureWorth>> = {
  good: 'good',
  bad: 'bad',
  'unknown-key': 'unproven',
  'key-revoked': 'outlived',
  'key-expired': 'outlived',
  'weak-digest': 'bad',
  unparsable: 'unproven',
};
