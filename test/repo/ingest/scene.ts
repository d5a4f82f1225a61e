/** A stick, a data directory, and the command line for both. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { addVendorKey } from '../../../src/repo/formats/openpgp/vendor-keys.ts';
import { collected } from '../../conformance/catalog/under-test.ts';
import { IMAGE_ISO, imageIso, makeSigner, type VendorSigner } from '../../media/vendor-site.ts';
import { airlock, airlockJson, type CliResult } from '../../support/cli.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { withApp } from '../../support/with-app.ts';

export interface Report {
  readonly imported: readonly {
    readonly outcome: string;
    readonly path: string;
    readonly verification: {
      readonly status: string;
      readonly checks: readonly { readonly file?: string; readonly result: string }[];
    };
    readonly warnings: readonly string[];
  }[];
  readonly failed: readonly { readonly file: string; readonly error: { readonly code: string } }[];
  readonly notTried: readonly string[];
  readonly skipped: readonly { readonly file: string; readonly why: string }[];
}

export interface Failed {
  readonly error: { readonly code: string; readonly message: string };
}

export interface Entries {
  readonly entries: readonly {
    readonly path: string;
    readonly digest: string;
    readonly verification: { readonly status: string };
  }[];
}

export interface Scene {
  readonly data: string;
  readonly stick: string;
  readonly signer: VendorSigner;
  readonly run: (...args: string[]) => Promise<CliResult>;
  readonly json: <T>(...args: string[]) => Promise<CliResult & { json: T }>;
  /** Path under `stick`. */
  readonly at: (...names: string[]) => string;
  /** Pins the signer's key. */
  readonly trust: () => Promise<void>;
  /** Paths and digests of what a repository publishes. */
  readonly published: (repository: string) => Promise<Readonly<Record<string, string>>>;
}

export async function scene(t: TestContext): Promise<Scene> {
  const dir = await tempDir(t);
  const data = path.join(dir, 'data');
  const stick = path.join(dir, 'stick');
  const signer = await makeSigner();
  await mkdir(stick);
  const run: Scene['run'] = (...args) => airlock(['--data', data, ...args]);
  const json = <T>(...args: string[]) => airlockJson<T>(['--data', data, ...args]);
  return {
    data,
    stick,
    signer,
    run,
    json,
    at: (...names) => path.join(stick, ...names),
    async trust() {
      await addVendorKey(data, Buffer.from(signer.publicKey));
    },
    published: (repository) =>
      withApp(data, async ({ catalog }) => {
        const { published } = (await catalog.repository(repository)) ?? assert.fail(`there is no ${repository}`);
        const entries = await collected(catalog.entries(repository, published));
        return Object.fromEntries(entries.map((entry) => [entry.path, entry.artifact.digest]));
      }),
  };
}

/** Bytes of the image that is called IMAGE_ISO. */
export function isoBytes(more: Record<string, Uint8Array> = {}): Buffer {
  return imageIso('6.3.0-107.r1.el7', more, 20);
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Takes the checksum file of the image away, with its signature. */
export async function removeSidecars(stick: string, name: string = IMAGE_ISO): Promise<void> {
  for (const suffix of ['.sha256sum', '.sha256sum.asc']) await rm(path.join(stick, name + suffix), { force: true });
}
