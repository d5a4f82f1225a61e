import { accessSync, constants } from 'node:fs';
import path from 'node:path';

/** Debian package that brings a command, where its name differs from the command's. */
const PACKAGES: Record<string, string> = {
  createrepo_c: 'createrepo-c',
  aria2c: 'aria2',
  gpg: 'gnupg',
  xfs_io: 'xfsprogs',
  'mkfs.xfs': 'xfsprogs',
  'mkfs.ext4': 'e2fsprogs',
  losetup: 'mount',
  rpmbuild: 'rpm',
  rpmsign: 'rpm',
  nginx: 'nginx-light',
  mksquashfs: 'squashfs-tools',
  genisoimage: 'genisoimage',
};

/**
 * Options for `test(name, needs('xorriso', 'gpg'), fn)`: skips the test where one of the commands is missing,
 * naming the line that installs it. Under `CI=true` a missing command is a failure, so that no check is lost silently.
 * A word with a slash is a file that must exist; give its package as `file=package`.
 */
export function needs(...commands: string[]): { skip?: string } {
  const missing = commands.map((command) => command.split('=')).filter(([command]) => !isThere(command ?? ''));
  if (missing.length === 0) return {};
  const packages = missing.map(([command = '', name]) => name ?? PACKAGES[command] ?? command);
  const reason = `missing: apt-get install -y ${[...new Set(packages)].join(' ')}`;
  if (process.env.CI === 'true') throw new Error(reason);
  return { skip: reason };
}

/** As `needs`, for tests that mount, make loop devices or network namespaces. */
export function needsRoot(...commands: string[]): { skip?: string } {
  if (process.getuid?.() === 0) return needs(...commands);
  if (process.env.CI === 'true') throw new Error('this test needs root');
  return { skip: 'needs root' };
}

function isThere(command: string): boolean {
  const candidates = command.includes('/')
    ? [command]
    : `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':').map((dir) => path.join(dir, command));
  return candidates.some((file) => {
    try {
      accessSync(file, command.includes('/') ? constants.R_OK : constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
