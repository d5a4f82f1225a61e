/**
 * Signatures of an upstream's checksum files and repository metadata, where the configuration names keys for it.
 */
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ArtifactSource } from '../repo/artifact-source.ts';
import type { VendorKey } from '../repo/formats/openpgp/key-files.ts';
import { verifyDetached } from '../repo/formats/openpgp/verify-detached.ts';
import { readSmall } from './sidecar.ts';

export interface SignaturesParts {
  /** By the name of the upstream. */
  readonly keys: ReadonlyMap<string, readonly VendorKey[]>;
  readonly source: ArtifactSource;
}

export class Signatures {
  readonly #parts: SignaturesParts;

  constructor(parts: SignaturesParts) {
    this.#parts = parts;
  }

  /** Somebody's keys may sign what is there. */
  mayBeSigned(path: string): boolean {
    return this.#keysOf(path).length > 0;
  }

  /**
   * Holds the bytes of a file against the `.asc` beside it, which is asked for anew: an old one would not fit a new file.
   * @returns false where there is no signature, or nobody's keys are named for this upstream
   * @throws upstream.signature for any that is not by one of these keys over these bytes, and what asking for it failed with:
   *   a signature that cannot be had now is not one that is missing
   */
  async isSigned(path: string, bytes: Uint8Array): Promise<boolean> {
    const keys = this.#keysOf(path);
    if (keys.length === 0) return false;
    const options = { cacheControl: 'no-cache' };
    const signature = await readSmall(this.#parts.source, `${path}.asc`, limits.signatureFile, options);
    if (signature === undefined) return false;
    const { outcome, message, keyId, fingerprint } = await verifyDetached({ signed: bytes, signature, keys });
    if (outcome === 'good') return true;
    throw new AirlockError(
      'upstream.signature',
      `/${path}.asc: ${message} Nothing that /${path} vouches for is served. The keys that may sign stand under "upstreams" in the configuration.`,
      { details: { outcome, keyId, fingerprint } },
    );
  }

  #keysOf(path: string): readonly VendorKey[] {
    const [room, name = ''] = path.split('/', 2);
    return room === 'upstreams' ? (this.#parts.keys.get(name) ?? []) : [];
  }
}
