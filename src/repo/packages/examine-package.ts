import { AirlockError } from '../../errors.ts';
import type { ByteSource, Digest } from '../blobs/blob-store.ts';
import type { Verification } from '../catalog/artifact.ts';
import type { PassOptions } from '../formats/rpm/one-pass.ts';
import { openRpm } from '../formats/rpm/rpm-file.ts';
import type { VerifyRpm } from '../formats/rpm/verify-rpm.ts';
import { type ReadPackage, readPackage } from './read-package.ts';

/** A package that may come in, and what there is to know of it. */
export interface GoodPackage extends ReadPackage {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly verification: Verification;
}

/** A package, or why it may not come in. */
export type Examined =
  | { readonly problems: readonly []; readonly read: GoodPackage }
  | { readonly problems: readonly AirlockError[]; readonly read: undefined };

/**
 * Verifies a package and reads what it says.
 * @param source of the whole package; stays the caller's
 * @throws the signal's reason; what the source and `onBytes` throw
 */
export async function examinePackage(source: ByteSource, verify: VerifyRpm, options?: PassOptions): Promise<Examined> {
  try {
    const rpm = await openRpm(source);
    const { problems, verification, digest } = await verify(source, rpm, options);
    if (problems.length > 0) return { problems, read: undefined };
    const { size } = source;
    return { problems: [], read: { ...readPackage(rpm, { digest, size }), digest, size, verification } };
  } catch (error) {
    if (error instanceof AirlockError && error.code.startsWith('rpm.')) return { problems: [error], read: undefined };
    throw error;
  }
}
