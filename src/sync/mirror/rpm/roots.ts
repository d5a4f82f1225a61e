/**
 * Where a repository lies: on the site itself, and on the mirrors that its mirrorlist or metalink names, as far as the
 * configuration lets us ask them.
 */
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { quote } from '../../../repo/formats/quote.ts';
import { hashFor } from '../../../repo/formats/repodata/checksum-types.ts';
import { type Metalink, readMetalink, readMirrorlist } from '../../../repo/formats/repodata/read-mirrors.ts';
import type { Upstream } from '../../../repo/upstream/upstream.ts';
import type { RpmSite } from '../rpm.ts';
import { address } from './fetch.ts';
import type { IsListed } from './front.ts';
import { type Root, type Run, sitePath } from './run.ts';

export interface Roots extends Disposable {
  /** The best first; the site itself comes last where there are mirrors. */
  readonly roots: readonly Root[];
  readonly isListed: IsListed;
}

/**
 * @returns to be closed when nothing is fetched any more
 * @throws upstream.*, path.not-found, repodata.invalid if there is a list of mirrors and it cannot be read
 */
export async function findRoots(run: Run, site: RpmSite): Promise<Roots> {
  const { path, mirrorlist, metalink } = run.rule;
  const own: Root = { upstream: site.upstream, prefix: sitePath({ path }, '') };
  const opened: Upstream[] = [];
  const close = () => {
    for (const upstream of opened) upstream.close();
  };
  const open = (url: URL) => {
    const upstream = site.mirrorAt?.(url);
    if (upstream !== undefined) opened.push(upstream);
    return upstream;
  };
  try {
    const list = metalink ?? mirrorlist;
    if (list === undefined) return { roots: [own], isListed: () => true, [Symbol.dispose]: close };
    const bytes = await readList(run, placeOf(list, site, open));
    const known: Metalink =
      metalink === undefined ? { urls: readMirrorlist(bytes), hashes: [] } : await readMetalink(bytes);
    return {
      roots: [...mirrors(run, known.urls, open), own],
      isListed: metalink === undefined ? () => true : (repomd) => isListed(known, repomd),
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** A list lies below the site's URL, or at an address of its own. */
function placeOf(list: string, site: RpmSite, open: (url: URL) => Upstream | undefined): { root: Root; path: string } {
  const url = /^https?:/.test(list) ? new URL(list) : undefined;
  if (url === undefined) return { root: { upstream: site.upstream, prefix: '' }, path: list };
  const upstream = open(new URL('/', url));
  if (upstream === undefined) {
    throw new AirlockError(
      'upstream.address-refused',
      `The list of mirrors is at ${url.host}, which is none of the hosts that the configuration names. Add it to "hosts" of this upstream.`,
    );
  }
  return { root: { upstream, prefix: '' }, path: `${url.pathname.slice(1)}${url.search}` };
}

async function readList({ fetcher }: Run, { root, path }: { root: Root; path: string }): Promise<Buffer> {
  const found = await fetcher.readSmall(root, path, limits.repodata.mirrorList);
  if (found.type === 'content') return found.bytes;
  throw new AirlockError(
    'path.not-found',
    `${address(root, path)} is not there (404). Correct "mirrorlist" or "metalink" of the rule; what is here stays.`,
  );
}

function mirrors({ warnings }: Run, urls: readonly string[], open: (url: URL) => Upstream | undefined): Root[] {
  const roots: Root[] = [];
  const strange = new Set<string>();
  for (const text of urls.slice(0, limits.repodata.mirrors)) {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '') continue;
    const upstream = open(url);
    if (upstream === undefined) strange.add(url.host);
    else roots.push({ upstream, prefix: '' });
  }
  if (strange.size > 0) {
    const hosts = [...strange].slice(0, limits.packages.named).map((host) => quote(host));
    warnings.push(
      `mirrors on hosts that the configuration does not name were passed over: ${hosts.join(', ')}${strange.size > hosts.length ? ', …' : ''}. Add those you trust to "hosts" of this upstream.`,
    );
  }
  return roots;
}

/** The strongest kind of hash counts, as clients have it; a metalink also knows former states, for mirrors that are behind. */
function isListed({ hashes }: Metalink, repomd: Buffer): boolean {
  for (const type of ['sha512', 'sha384', 'sha256', 'sha1']) {
    const values = hashes.filter((hash) => hash.type === type);
    const [first] = values;
    if (first === undefined) continue;
    const found = hashFor(first)?.update(repomd).digest('hex');
    return values.some(({ value }) => value === found);
  }
  return false;
}
