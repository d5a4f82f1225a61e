import { isUtf8 } from 'node:buffer';
import { limits } from '../../../limits.ts';
import { beyondLimit, invalid, quoted } from './iso-fault.ts';

/** Where names come from: Rock Ridge if the image has it, else Joliet, else the bare identifiers of ISO 9660. */
export type NameSource = 'rock-ridge' | 'joliet' | 'plain';

/**
 * The name that a plain identifier means: `README.;1` is `README`. Identifiers should be upper case letters, digits and
 * `_`; many writers record more, so any UTF-8 is taken.
 * @throws iso.invalid, iso.limit: see `checkName`
 */
export function plainName(identifier: Buffer, isDirectory: boolean, position: number): string {
  const text = utf8(identifier, position);
  return checkName(isDirectory ? text : withoutVersion(text).replace(/\.$/, ''), position);
}

/**
 * The name of a Joliet record: UCS-2, big-endian; UTF-16 is taken, half a pair is not.
 * @throws iso.invalid, iso.limit: see `checkName`
 */
export function jolietName(identifier: Buffer, isDirectory: boolean, position: number): string {
  const text = utf16(identifier, position);
  return checkName(isDirectory ? text : withoutVersion(text), position);
}

/** @throws iso.invalid, iso.limit: see `checkName` */
export function rockRidgeName(name: Buffer, position: number): string {
  return checkName(utf8(name, position), position);
}

/**
 * The target of a symbolic link: any text without NUL.
 * @throws iso.invalid
 */
export function linkTarget(target: Buffer, position: number): string {
  const text = utf8(target, position);
  if (text === '' || text.includes('\0')) throw invalid(position, 'a symbolic link has an impossible target');
  return text;
}

function withoutVersion(text: string): string {
  return text.replace(/;\d+$/, '');
}

function utf8(bytes: Buffer, position: number): string {
  if (!isUtf8(bytes)) throw invalid(position, `a name is not UTF-8: hexadecimal ${bytes.toString('hex', 0, 64)}`);
  return bytes.toString('utf8');
}

function utf16(bytes: Buffer, position: number): string {
  const text = bytes.length % 2 === 0 ? Buffer.from(bytes).swap16().toString('utf16le') : undefined;
  if (text?.isWellFormed()) return text;
  throw invalid(position, `a Joliet name is not UCS-2: hexadecimal ${bytes.toString('hex', 0, 64)}`);
}

/**
 * A name must be one component of a path. An image with a name that is not is refused as a whole: whoever wrote `../x`
 * there does not get the rest imported.
 * @throws iso.invalid for `/`, NUL, `.`, `..` and nothing at all; iso.limit for a long one
 */
function checkName(name: string, position: number): string {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
    throw invalid(position, `the name ${quoted(name)} is not possible`);
  }
  if (Buffer.byteLength(name) > limits.iso.nameBytes) {
    throw beyondLimit(position, `a name of ${Buffer.byteLength(name)} bytes`, limits.iso.nameBytes);
  }
  return name;
}
