import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makeSigner } from '../../media/vendor-site.ts';
import type { Signer } from '../../repo/rpm/signed.ts';
import { runAirlock } from './airlock-server.ts';
import type { Bench } from './bench.ts';

/** A key of a vendor. */
export interface TrustedKey {
  readonly sign: Signer;
  /** Pins it in a data directory. */
  trustIn(bench: Bench, dataDir: string): Promise<void>;
}

export async function trustKey(): Promise<TrustedKey> {
  const { fingerprint, publicKey, signBinary } = await makeSigner();
  return {
    sign: signBinary,
    async trustIn(bench, dataDir) {
      const file = path.join(bench.dir, 'vendor.asc');
      await writeFile(file, publicKey);
      await runAirlock(bench, ['--data', dataDir, 'trust', 'vendor-key', 'add', file, '--fingerprint', fingerprint]);
    },
  };
}
