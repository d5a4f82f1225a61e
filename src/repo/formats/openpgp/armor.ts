import { AirlockError } from '../../../errors.ts';
import { quote } from '../quote.ts';
import { unexpectedContent } from '../unexpected-content.ts';

type Code = 'signature.invalid' | 'key.invalid';

const BEGIN = /^-----BEGIN PGP ([A-Z0-9 ,/]+)-----[ \t]*$/;
const HEADER = /^[A-Za-z][A-Za-z-]*: /;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** What stands in armour of another kind than was asked for, and what to do about it. */
const OTHER_KINDS: Readonly<Record<string, string>> = {
  'SIGNED MESSAGE':
    'is a clear-signed text that carries its own content; a detached signature (gpg --detach-sign) is needed',
  MESSAGE: 'is an OpenPGP message (encrypted or signed inline), not a detached signature or a key',
  SIGNATURE: 'is a signature, not a key; give the file that holds the public key',
  'PUBLIC KEY BLOCK':
    'is a public key, not a signature; give the .asc file that was published beside the checksum file',
  'PRIVATE KEY BLOCK':
    'is a private key; it does not belong here: keep it secret, and give the public key (gpg --export)',
};

/**
 * The binary OpenPGP data in a file: as it is, or decoded from every armoured block of kind `wanted` in it, in
 * their order (RFC 9580 section 6.2; text around the blocks is ignored, so is their CRC24, section 6.1).
 * @param wanted what stands after `BEGIN PGP `: `SIGNATURE`, `PUBLIC KEY BLOCK`
 * @throws signature.invalid or key.invalid (as `code` says), telling what the file is instead
 */
export function openpgpData(bytes: Uint8Array, wanted: string, code: Code): Uint8Array {
  const unexpected = unexpectedContent(bytes);
  if (unexpected !== undefined) throw new AirlockError(code, `The file ${unexpected}.`);
  const lines = Buffer.from(bytes)
    .toString('latin1')
    .replace(/^\u00ef\u00bb\u00bf/, '')
    .split(/\r?\n/);
  const blocks: Uint8Array[] = [];
  for (let at = 0; at < lines.length; at++) {
    const kind = BEGIN.exec(lines[at] ?? '')?.[1];
    if (kind === undefined) continue;
    if (kind !== wanted)
      throw new AirlockError(code, `The file ${OTHER_KINDS[kind] ?? `is armour of the kind ${quote(kind)}`}.`);
    let end = at + 1;
    while (end < lines.length && lines[end]?.trimEnd() !== `-----END PGP ${kind}-----`) end++;
    if (end === lines.length)
      throw new AirlockError(code, 'The armour is cut off: its END line is missing; get the file again.');
    blocks.push(decodeBlock(lines.slice(at + 1, end), code));
    at = end;
  }
  if (blocks.length > 0) return Buffer.concat(blocks);
  if (((bytes[0] ?? 0) & 0x80) !== 0) return bytes;
  throw new AirlockError(
    code,
    `The file is neither armoured (-----BEGIN PGP ${wanted}-----) nor binary OpenPGP; get it again.`,
  );
}

/** @param lines what stands between BEGIN and END */
function decodeBlock(lines: readonly string[], code: Code): Uint8Array {
  const blank = lines.findIndex((line) => !HEADER.test(line));
  if (blank === -1 || lines[blank]?.trim() !== '') {
    throw new AirlockError(
      code,
      'The armour is damaged: the blank line before its data is missing; get the file again.',
    );
  }
  const data = lines.slice(blank + 1).map((line) => line.trim());
  const checksum = data.findIndex((line) => /^=[A-Za-z0-9+/]{4}$/.test(line));
  const base64 = (checksum === -1 ? data : data.slice(0, checksum)).join('');
  if (base64 === '' || base64.length % 4 !== 0 || !BASE64.test(base64)) {
    throw new AirlockError(code, 'The armour is damaged: its data is not base64; get the file again.');
  }
  return Buffer.from(base64, 'base64');
}
