/** Packages with signatures, made by our own builder. */
import { type BuiltRpm, bin, buildRpm, type RpmOptions, type RpmTag, strings } from '../../media/rpm-builder.ts';

/** Makes a binary OpenPGP signature over bytes. */
export type Signer = (data: Buffer) => Uint8Array | Promise<Uint8Array>;

/** Who signs what: tags as rpm calls them. */
export interface Signers {
  /** Over the header, as rpm 4 has it. */
  readonly rsa?: Signer;
  readonly dsa?: Signer;
  /** Over the header, as rpm 6 has it. */
  readonly openpgp?: readonly Signer[];
  /** Over header and payload, as rpm 3 has it. */
  readonly pgp?: Signer;
  readonly gpg?: Signer;
}

export async function buildSigned(options: RpmOptions, signers: Signers): Promise<BuiltRpm> {
  const { file, layout } = buildRpm(options);
  const header = file.subarray(layout.header.start, layout.header.end);
  const both = file.subarray(layout.header.start);
  const tags: RpmTag[] = [];
  for (const [tag, signer, data] of [
    [267, signers.dsa, header],
    [268, signers.rsa, header],
    [1002, signers.pgp, both],
    [1005, signers.gpg, both],
  ] as const) {
    if (signer !== undefined) tags.push(bin(tag, await signer(data)));
  }
  const modern: string[] = [];
  for (const signer of signers.openpgp ?? []) modern.push(Buffer.from(await signer(header)).toString('base64'));
  if (modern.length > 0) tags.push(strings(278, ...modern));
  return buildRpm({ ...options, signatureTags: [...(options.signatureTags ?? []), ...tags] });
}

/** What packages before rpm 4.14 lacked: SHA-256 digests. */
export const OLD_DIGESTS = { without: [5092, 5093, 5097], withoutSignature: [273] } as const satisfies RpmOptions;
