/** Looks at a folder, and puts things into it, without a carrier. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { systemCode } from '../../../src/errors.ts';
import type { CarrierUnderTest } from '../../conformance/carrier.ts';

export function lookInto(dir: string): Pick<CarrierUnderTest, 'peek' | 'plant'> & {
  plantLink(name: string, target: string): Promise<void>;
} {
  return {
    async peek(name) {
      try {
        return new Uint8Array(await readFile(path.join(dir, name)));
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      }
    },
    async plant(name, bytes) {
      await mkdir(path.dirname(path.join(dir, name)), { recursive: true });
      await writeFile(path.join(dir, name), bytes);
    },
    plantLink: (name, target) => symlink(target, path.join(dir, name)),
  };
}
