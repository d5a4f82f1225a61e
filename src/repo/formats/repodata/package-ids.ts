import { limits } from '../../../limits.ts';
import { invalidXml } from './foreign-xml.ts';

const TAG = /<package\s[^<>]*?\bpkgid\s*=\s*["']([0-9a-fA-F]{32,128})["'][^<>]*>/g;

/**
 * The checksums by which filelists.xml or other.xml tell their packages. These files are large, so nothing else of them is
 * looked at: whether they are well-formed is left to clients.
 * @param what `filelists`, for messages
 * @throws repodata.invalid for a document type, or a tag without end; what `pieces` throws
 */
export async function* readPackageIds(
  pieces: AsyncIterable<Uint8Array>,
  what: string,
): AsyncGenerator<string, void, undefined> {
  let rest = '';
  for await (const piece of pieces) {
    const text = rest + Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString('latin1');
    if (/<!(?:DOCTYPE|ENTITY)/.test(text)) {
      throw invalidXml(what, 'it has a document type, which repository metadata never has');
    }
    for (const [, id = ''] of text.matchAll(TAG)) yield id.toLowerCase();
    const open = text.lastIndexOf('<');
    rest = open > text.lastIndexOf('>') ? text.slice(open) : '';
    if (rest.length > limits.repodata.text) throw invalidXml(what, 'it has a tag without end');
  }
}
