/**
 * The offline package of Airlock itself, beside the volumes of a bundle: for a site that has none yet, or an older one. The
 * bundle's signature vouches for it and SHA256SUMS lists it; an import does not read it.
 */
import path from 'node:path';
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { digestOf } from '../../repo/blobs/digest-of.ts';
import { quoteUnsafe } from '../../repo/formats/quote.ts';
import { openIfThere, openMediumFile, readSmallFile } from '../../repo/ingest/medium.ts';
import type { Carrier } from '../carriers/carrier.ts';
import { isProgramName, SUMS } from './names.ts';
import { type PutOptions, putSource, sha256OnMedium } from './put-file.ts';

export interface CarriedProgram {
  /** Where it is here. */
  readonly file: string;
  /** In the bundle. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/**
 * Reads a package that shall be carried, and compares it with the SHA256SUMS beside it, if there is one.
 * @throws usage.invalid for anything that is not called as `npm run package` calls it; file.not-found, checksum.mismatch
 */
export async function programToCarry(file: string): Promise<CarriedProgram> {
  const name = path.basename(file);
  if (!isProgramName(name)) {
    throw new AirlockError(
      'usage.invalid',
      `${quoteUnsafe(name)} is no offline package of Airlock. Name one as "npm run package" makes it: airlock-VERSION-linux-x64.tar.gz.`,
    );
  }
  const source = await openIfThere(file);
  if (source === undefined) {
    throw new AirlockError(
      'file.not-found',
      `There is no ${quoteUnsafe(file)}. Make it with "npm run package" in the clone, or name one: --with-airlock FILE.`,
    );
  }
  try {
    const sha256 = (await digestOf(source)).slice('sha256:'.length);
    const sums = await readSmallFile(path.join(path.dirname(file), SUMS), limits.trust.targetsBytes);
    const line = sums
      ?.toString('utf8')
      .split('\n')
      .find((each) => each.endsWith(`  ${name}`));
    if (line === undefined || line.startsWith(`${sha256} `)) return { file, name, size: source.size, sha256 };
  } finally {
    await source.close();
  }
  throw new AirlockError(
    'checksum.mismatch',
    `${quoteUnsafe(file)} is not what the ${SUMS} beside it says. Copy both again, or make them with "npm run package".`,
  );
}

/** Writes it, unless it is there already. @throws medium.full, source.lost if it has become another file */
export async function putProgram(carrier: Carrier, program: CarriedProgram, options: PutOptions): Promise<void> {
  const { file, name, sha256 } = program;
  if ((await sha256OnMedium(carrier, name)) === sha256) return;
  const source = await openMediumFile(file);
  try {
    if ((await putSource(carrier, name, source, options)) === sha256) return;
  } finally {
    await source.close();
  }
  await carrier.remove(name);
  throw new AirlockError(
    'source.lost',
    `${quoteUnsafe(file)} was changed meanwhile. Run the same command with --resume.`,
  );
}

/** @param signed SHA-256 of the one that the bundle's signature speaks of @throws usage.invalid if this is another */
export function requireSigned({ name, sha256 }: CarriedProgram, signed: string | undefined): void {
  if (sha256 === signed) return;
  throw new AirlockError(
    'usage.invalid',
    `This bundle was signed ${signed === undefined ? 'without Airlock in it' : 'with another Airlock in it'}, so ${name} cannot go with it. Export without --resume, or without --with-airlock.`,
  );
}
