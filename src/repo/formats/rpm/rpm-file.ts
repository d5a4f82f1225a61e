import type { ByteRange, ByteSource } from '../../blobs/blob-store.ts';
import { type RpmHeader, readHeader } from './header.ts';
import { checkLead, deltaPackage, LEAD_BYTES } from './lead.ts';
import { truncated, unsupported } from './rpm-fault.ts';
import { readExactly } from './rpm-reader.ts';
import { SIGTAG, TAG, TYPE } from './tags.ts';

/** The parts of a package file: lead, signature header, header, payload. Says nothing of whether they are genuine. */
export interface RpmFile {
  /** Version of the format: 3 (before rpm 4), 4, or 6 (rpm 6). */
  readonly format: 3 | 4 | 6;
  /** Digests and signatures. Nobody vouches for them, so nothing else is taken from here. */
  readonly signature: RpmHeader;
  /** What the package says of itself. */
  readonly header: RpmHeader;
  /** The compressed archive, up to the end of the file. */
  readonly payload: ByteRange;
}

/**
 * Opens a package: reads and verifies its lead and both headers, not the payload. The source stays the caller's, and is
 * not needed for the facts. Both headers are held in memory, within `limits.rpm`.
 * @throws rpm.invalid if it is no RPM package or contradicts itself; rpm.truncated; rpm.limit; rpm.unsupported for
 *   formats before 3 and behind 6, and for deltas; what the source throws
 */
export async function openRpm(source: ByteSource): Promise<RpmFile> {
  await checkLead(source);
  const signature = await readHeader(source, LEAD_BYTES, 'signature');
  const start = Math.ceil(signature.range.end / 8) * 8;
  await readExactly(source, signature.range.end, start - signature.range.end, 'the padding of the signature header');
  const header = await readHeader(source, start, 'main');
  const payload = { start: header.range.end, end: source.size };
  const format = formatOf(header);
  if (header.text(TAG.payloadFormat) === 'drpm') throw deltaPackage();
  checkLength(signature, header, source.size);
  return { format, signature, header, payload };
}

function formatOf(header: RpmHeader): 3 | 4 | 6 {
  const said = header.number(TAG.rpmFormat);
  if (said === null) return header.hasRegion ? 4 : 3;
  if (said === 3 || said === 4 || said === 6) return said;
  throw unsupported(
    `This is an RPM package of format version ${said}`,
    'Versions 3, 4 and 6 are read: get the package in one of them, or a newer Airlock.',
  );
}

/**
 * Sizes that a package records of itself tell a download that was cut. They may be too small (they wrap at 4 GiB in old
 * packages), and nobody vouches for those of the signature header: whether the payload is right is for its digests to say.
 */
function checkLength(signature: RpmHeader, header: RpmHeader, size: number): void {
  const whole = signature.number(SIGTAG.longSize, TYPE.int64) ?? signature.number(SIGTAG.size) ?? 0;
  const payload = header.number(TAG.payloadSize, TYPE.int64) ?? 0;
  const end = Math.max(header.range.start + whole, header.range.end + payload);
  if (end > size) throw truncated('the payload', end, size);
}
