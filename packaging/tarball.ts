/** A tar archive, compressed, that is the same whenever and by whomever it is made of the same files. */
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { type Pack, pack } from 'tar-stream';
import type { PackageFile } from './package-files.ts';

export interface TarballOptions {
  /** The folder in which everything lies. */
  readonly folder: string;
  /** Of every entry. */
  readonly mtime: Date;
  /** Where it is written. */
  readonly to: string;
}

/**
 * Writes the archive: files in the order given, each folder before what is in it, all of them root's, with one time, and modes
 * that do not depend on who makes it. The header of gzip has neither time nor name.
 */
export async function writeTarball(files: readonly PackageFile[], options: TarballOptions): Promise<void> {
  const archive = pack();
  const written = pipeline(archive, createGzip({ level: 6 }), createWriteStream(options.to));
  await Promise.all([fill(archive, files, options), written]);
}

async function fill(archive: Pack, files: readonly PackageFile[], { folder, mtime }: TarballOptions): Promise<void> {
  const folders = new Set<string>();
  for (const { name, content, isProgram } of files) {
    for (const parent of parentsOf(`${folder}/${name}`)) {
      if (folders.has(parent)) continue;
      folders.add(parent);
      archive.entry({ name: parent, type: 'directory', mode: 0o755, mtime });
    }
    const header = { name: `${folder}/${name}`, mode: isProgram ? 0o755 : 0o644, mtime };
    if ('bytes' in content) {
      archive.entry(header, content.bytes);
    } else {
      const { size } = await stat(content.file);
      await pipeline(createReadStream(content.file), archive.entry({ ...header, size }));
    }
  }
  archive.finalize();
}

/** `a/b/c` → `a`, `a/b` */
function parentsOf(name: string): string[] {
  const parent = path.posix.dirname(name);
  return parent === '.' ? [] : [...parentsOf(parent), parent];
}
