/** Lists of mirrors of a repository, as sites give them to dnf and yum. */
import { limits } from '../../../limits.ts';
import { invalidXml, readForeignXml } from './foreign-xml.ts';
import type { Checksum } from './read-repomd.ts';

export interface Metalink {
  /** Of repositories, the preferred ones first. Text from outside. */
  readonly urls: readonly string[];
  /** Of their repomd.xml, and of former states of it. */
  readonly hashes: readonly Checksum[];
}

/** One URL a line; others are passed over. Those with variables mean something to the router that would ask. */
export function readMirrorlist(bytes: Uint8Array): string[] {
  const lines = Buffer.from(bytes).toString('utf8').split(/\r?\n/);
  return lines.map((line) => line.trim()).filter((line) => /^https?:\/\/[^\s$]+$/.test(line));
}

const REPOMD = /\/?repodata\/repomd\.xml$/;
const MOST_HASHES = 1000;

/** @throws repodata.invalid if it is no metalink of a repomd.xml, or names no hash of it */
export async function readMetalink(bytes: Uint8Array): Promise<Metalink> {
  const urls: { readonly url: string; readonly preference: number }[] = [];
  const hashes: Checksum[] = [];
  let [isMeant, type, preference] = [false, '', 0];
  async function* pieces() {
    yield bytes;
  }
  await readForeignXml(
    pieces(),
    { what: 'metalink', root: 'metalink' },
    {
      open(name, attributes) {
        if (name === 'file') isMeant = attributes.name === 'repomd.xml';
        if (name === 'hash') type = attributes.type ?? '';
        if (name === 'url') preference = Number(attributes.preference ?? 0) || 0;
      },
      close(name, text) {
        if (!isMeant || text === null) return;
        if (name === 'url' && REPOMD.test(text) && urls.length < limits.repodata.mirrors * 10) {
          urls.push({ url: text.replace(REPOMD, '/'), preference });
        }
        const value = text.toLowerCase();
        if (name === 'hash' && /^[0-9a-f]{32,128}$/.test(value) && hashes.length < MOST_HASHES) {
          hashes.push({ type, value });
        }
      },
    },
  );
  if (hashes.length === 0) throw invalidXml('metalink', 'it names no hash of a repomd.xml');
  return { urls: urls.toSorted((a, b) => b.preference - a.preference).map(({ url }) => url), hashes };
}
