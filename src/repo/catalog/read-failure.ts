/** Whether a database file can be read at all. */
import fs from 'node:fs';
import { systemCode } from '../../errors.ts';
import { limits } from '../../limits.ts';

/**
 * Never closed: closing any descriptor of a database would drop the locks that SQLite holds on it in this process
 * (POSIX). One for each file that ever seemed damaged.
 */
const descriptors = new Map<string, number>();
const verdicts = new Map<string, { readonly error: unknown; readonly at: number }>();

/**
 * Reads a database and its write-ahead log whole, and remembers for a while what came of it.
 * @returns the system's error if the disk does not give the bytes; undefined if it does, or there is no such file
 */
export function readFailure(file: string): unknown {
  const known = verdicts.get(file);
  if (known !== undefined && performance.now() - known.at < limits.catalog.probeAge) return known.error;
  const error = failureIn(file) ?? failureIn(`${file}-wal`);
  verdicts.set(file, { error, at: performance.now() });
  return error;
}

function failureIn(file: string): unknown {
  try {
    const fd = descriptorOf(file);
    const buffer = Buffer.allocUnsafe(limits.chunk);
    for (let position = 0, read = -1; read !== 0; position += read) {
      read = fs.readSync(fd, buffer, 0, buffer.length, position);
    }
    return undefined;
  } catch (error) {
    return systemCode(error) === 'EIO' ? error : undefined;
  }
}

function descriptorOf(file: string): number {
  const { ino } = fs.statSync(file);
  const known = descriptors.get(file);
  if (known !== undefined && fs.fstatSync(known).ino === ino) return known;
  const fd = fs.openSync(file, 'r');
  descriptors.set(file, fd);
  return fd;
}
