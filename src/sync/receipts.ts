/**
 * Receipts: a site says, with its signature, what it holds. The next bundle for it leaves that out.
 *
 * ```
 * DATA/keys/site/receipt.<id>.pem             the key of a site, made with the first receipt
 * DATA/keys/publisher/receipts/<site>.json    the newest accepted receipt of a site, and with it its key
 * ```
 */
import { createPublicKey, verify } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';
import { makeDirectory, writeFileDurably } from '../repo/blobs/durable.ts';
import type { Catalog } from '../repo/catalog/catalog.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { readSmallFile } from '../repo/ingest/medium.ts';
import { DELTAS_SINCE, FORMAT } from './bundle/manifest.ts';
import { receiptName } from './bundle/names.ts';
import type { Holdings } from './bundle/plan.ts';
import { KeyStore } from './trust/key-store.ts';
import { digestSchema } from './trust/revocations.ts';
import { isSiteName } from './trust/site-name.ts';
import type { SiteTrust } from './trust/site-trust.ts';

const statementSchema = z.object({
  format: z.literal('airlock-receipt'),
  version: z.literal(1),
  site: z.string().refine(isSiteName),
  /** The newest bundle that landed; 0: none yet. */
  sequence: z.number().int().nonnegative(),
  /** Grows with each receipt of the site. */
  number: z.number().int().positive(),
  issued: z.iso.datetime(),
  /** SHA-256 of that bundle's manifest, hexadecimal. */
  manifest: z.string().nullable(),
  /** Everything that the site publishes and holds. */
  blobs: z.array(digestSchema),
  /** The newest format of bundles that its program reads; those before 1.1 did not say it. */
  reads: z.object({ major: z.number().int(), minor: z.number().int() }).optional(),
});

const receiptSchema = z.object({
  signed: statementSchema,
  key: z.string().regex(/^[0-9a-f]{64}$/),
  signature: z.string().regex(/^[0-9a-f]{128}$/),
});

type Receipt = z.infer<typeof receiptSchema>;

export interface WrittenReceipt {
  readonly file: string;
  readonly site: string;
  readonly sequence: number;
  readonly number: number;
  readonly blobs: number;
  /** Of the site's key: to be compared when its first receipt is accepted. */
  readonly fingerprint: string;
}

export interface AcceptedReceipt {
  readonly file: string;
  readonly outcome: 'accepted' | 'present' | 'older';
  readonly site: string;
  readonly sequence: number;
  readonly number: number;
  readonly blobs: number;
  readonly fingerprint: string;
  /** The key was not known before: compare the fingerprint. */
  readonly introduced: boolean;
}

const NUMBER = 'receipts.number';

/**
 * Writes a receipt of what this site holds into a folder, which must exist.
 * @throws usage.invalid while the site has no name, trust.locked, medium errors
 */
export async function writeReceipt(
  { dataDir, catalog, trust, now }: { dataDir: string; catalog: Catalog; trust: SiteTrust; now: () => Date },
  to: string,
): Promise<WrittenReceipt> {
  const mark = await trust.mark();
  const site = mark?.site ?? (await trust.site());
  if (site === null || site === undefined) {
    throw new AirlockError(
      'usage.invalid',
      'This site has no name yet. Give it one with "airlock trust add ROOT.json --site NAME", or import a bundle first.',
    );
  }
  const keys = new KeyStore(path.join(dataDir, 'keys', 'site'));
  const { key } = (await keys.list()).at(-1) ?? (await keys.make('receipt'));
  const number = Number((await catalog.meta(NUMBER)) ?? 0) + 1;
  const signed: Receipt['signed'] = {
    format: 'airlock-receipt',
    version: 1,
    site,
    sequence: mark?.sequence ?? 0,
    // Numbers grow also where the catalog was made anew.
    number: Math.max(number, Math.floor(now().getTime() / 1000)),
    issued: now().toISOString(),
    manifest: mark?.manifest ?? null,
    blobs: await holdings(catalog),
    reads: { major: FORMAT.major, minor: FORMAT.minor },
  };
  await catalog.setMeta(NUMBER, String(signed.number));
  const signature = key.sign(Buffer.from(JSON.stringify(signed))).sig;
  const publicKey = key.publicKey.keyVal.public ?? '';
  const file = path.join(to, receiptName(site, signed.sequence));
  await writeFileDurably(file, `${JSON.stringify({ signed, key: publicKey, signature })}\n`);
  const { sequence, blobs } = signed;
  return { file, site, sequence, number: signed.number, blobs: blobs.length, fingerprint: publicKey };
}

/** What is published here and proven to be stored. */
async function holdings(catalog: Catalog): Promise<Digest[]> {
  const found = new Set<Digest>();
  for (const { name, published } of await catalog.repositories()) {
    for await (const { artifact } of catalog.entries(name, published)) {
      if (found.has(artifact.digest)) continue;
      const record = await catalog.blob(artifact.digest);
      if (record?.stamp != null) found.add(artifact.digest);
    }
  }
  return [...found].sort();
}

/**
 * Accepts a receipt: from now on bundles for the site leave out what it proves.
 * @param sites those that there are
 * @throws file.not-found, receipt.invalid, signature.unknown-key if the site signs with another key than before
 */
export async function acceptReceipt(dataDir: string, file: string, sites: readonly string[]): Promise<AcceptedReceipt> {
  const bytes = await readSmallFile(file, limits.bundle.receiptBytes, { otherwise: 'receipt.invalid' });
  if (bytes === undefined) throw new AirlockError('file.not-found', `There is no file ${quoteUnsafe(file)}.`);
  const receipt = parseReceipt(bytes, file);
  const { site, sequence, number, blobs } = receipt.signed;
  if (!sites.includes(site)) {
    throw new AirlockError(
      'site.not-found',
      `${quoteUnsafe(file)} is of the site ${site}, to which nothing was ever exported from here.`,
    );
  }
  const known = await acceptedReceipt(dataDir, site);
  if (known !== undefined && known.key !== receipt.key) {
    throw new AirlockError(
      'signature.unknown-key',
      `${quoteUnsafe(file)} is signed with the key ${receipt.key}, but the site ${site} signs with ${known.key}. If the site was set up anew, delete ${storedAt(dataDir, site)} and accept it again, comparing the fingerprint.`,
      { details: { site, known: known.key, found: receipt.key } },
    );
  }
  const facts = {
    file,
    site,
    sequence,
    number,
    blobs: blobs.length,
    fingerprint: receipt.key,
    introduced: known === undefined,
  };
  if (known !== undefined && number <= known.signed.number) {
    return { ...facts, outcome: number === known.signed.number ? 'present' : 'older' };
  }
  await makeDirectory(path.dirname(storedAt(dataDir, site)));
  await writeFileDurably(storedAt(dataDir, site), bytes);
  return { ...facts, outcome: 'accepted' };
}

/** What the newest accepted receipt of a site proves; undefined if there is none. */
export async function holdingsOf(dataDir: string, site: string): Promise<Holdings | undefined> {
  const receipt = await acceptedReceipt(dataDir, site);
  if (receipt === undefined) return undefined;
  const { sequence, number, blobs, reads } = receipt.signed;
  const takesDeltas = reads !== undefined && (reads.major > FORMAT.major || reads.minor >= DELTAS_SINCE);
  return { sequence, receipt: number, digests: new Set(blobs), takesDeltas };
}

async function acceptedReceipt(dataDir: string, site: string): Promise<Receipt | undefined> {
  const file = storedAt(dataDir, site);
  if (!existsSync(file)) return undefined;
  const bytes = await readSmallFile(file, limits.bundle.receiptBytes, { otherwise: 'receipt.invalid' });
  return bytes === undefined ? undefined : parseReceipt(bytes, file);
}

/** @throws receipt.invalid unless it is whole and signed by the key that it names */
function parseReceipt(bytes: Buffer, file: string): Receipt {
  const invalid = (why: string, cause?: unknown) =>
    new AirlockError(
      'receipt.invalid',
      `${quoteUnsafe(file)} is no receipt that can be used: ${why}. Ask the site for a new one ("airlock receipt write").`,
      { cause },
    );
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw invalid('it is no JSON', cause);
  }
  const result = receiptSchema.safeParse(value);
  if (!result.success) throw invalid(result.error.issues[0]?.message ?? 'it is not as it should be', result.error);
  const receipt = result.data;
  const x = Buffer.from(receipt.key, 'hex').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  // What was signed is the text of `signed` as it was written: JSON without spaces.
  const { signed } = value as { signed: unknown };
  if (!verify(null, Buffer.from(JSON.stringify(signed)), key, Buffer.from(receipt.signature, 'hex'))) {
    throw invalid('its signature is wrong: it was changed');
  }
  return receipt;
}

function storedAt(dataDir: string, site: string): string {
  return path.join(dataDir, 'keys', 'publisher', 'receipts', `${site}.json`);
}
