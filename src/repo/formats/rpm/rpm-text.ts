import { isUtf8 } from 'node:buffer';

/**
 * Text of a package. RPM leaves the encoding open, and old packages are not UTF-8: such text is read as createrepo_c reads
 * it, so that the metadata of a package is the same whoever writes it. It takes the bytes for ISO-8859-1, and leaves out
 * those from 0x80 to 0xBF, of which few stand for letters. RpmHeader.textBytes and the like have the bytes as they are.
 * Control characters stay: whoever writes XML has to deal with them.
 */
export function decodeText(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  return bytes.toString('latin1').replace(/[\u0080-\u00bf]/g, '');
}

const BEYOND_ASCII = /[\u0080-\u00ff]/;

/** As `decodeText`, from a text that has a character for each byte. */
export function decodeLatin1(text: string): string {
  return BEYOND_ASCII.test(text) ? decodeText(Buffer.from(text, 'latin1')) : text;
}
