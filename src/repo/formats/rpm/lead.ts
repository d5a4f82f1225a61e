import type { ByteSource } from '../../blobs/blob-store.ts';
import { unexpectedContent } from '../unexpected-content.ts';
import { invalid, unsupported } from './rpm-fault.ts';
import { readExactly } from './rpm-reader.ts';

/** What is left of RPM's first format: a mark for file(1). All else in it is repeated, more truly, in the header. */
export const LEAD_BYTES = 96;

const MAGIC = 0xedabeedb;
const HEADER_SIGNATURES = 5;

/**
 * Checks the lead (rpm's docs/manual/format_lead.md): the magic number and the types, nothing else.
 * @throws rpm.invalid if this is no RPM package; rpm.unsupported if it is one of rpm 1 or 2, or a delta without a lead;
 *   rpm.truncated
 */
export async function checkLead(source: ByteSource): Promise<void> {
  const length = Math.min(LEAD_BYTES, source.size);
  const lead = await readExactly(source, 0, length, 'the lead');
  if (length < 4 || lead.readUInt32BE(0) !== MAGIC) throw notAPackage(lead);
  if (length < LEAD_BYTES) await readExactly(source, 0, LEAD_BYTES, 'the lead');
  const [major, type, signatures] = [lead.readUInt8(4), lead.readUInt16BE(6), lead.readUInt16BE(78)];
  if (major < 3 || signatures !== HEADER_SIGNATURES) {
    throw unsupported(
      `This is an RPM package of format version ${major} with signatures of type ${signatures}`,
      'Build it again with rpm 3 or newer.',
    );
  }
  if (type > 1) throw invalid(6, `the package is of type ${type}; 0 (binary) and 1 (source) are possible`);
}

function notAPackage(start: Buffer): Error {
  const instead = unexpectedContent(start);
  if (instead !== undefined) return invalid(0, `this is not an RPM package: the file ${instead}`);
  if (start.toString('latin1', 0, 4) === 'drpm') return deltaPackage();
  return invalid(0, 'this is not an RPM package: it does not start as packages do');
}

export function deltaPackage(): Error {
  return unsupported('This is a delta RPM: it holds only what differs from an older package', 'Get the full package.');
}
