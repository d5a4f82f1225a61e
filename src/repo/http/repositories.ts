/**
 * `/repos/…`: files, folders and the list of repositories.
 */
import { AirlockError } from '../../errors.ts';
import type { ArtifactSource } from '../artifact-source.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { answerBeyond, type Beyond } from './beyond.ts';
import type { BufferPool } from './buffer-pool.ts';
import { answerContent } from './content.ts';
import { type Exchange, sendText } from './exchange.ts';
import { answerFolder, answerRepositories, hasFolder } from './listing.ts';
import { answerMerged } from './merged-listing.ts';
import { answerRepoFile } from './repo-file.ts';
import { encodeSegment, parsePath } from './request-path.ts';

export interface RepositoriesParts {
  readonly catalog: Catalog;
  readonly source: ArtifactSource;
  readonly pool: BufferPool;
  readonly beyond?: Beyond | undefined;
}

/**
 * Answers GET and HEAD of `/repos` and what is below.
 * @param path as it stands in the request, without its query
 * @throws http.bad-request, path.not-found, and what content.ts and listing.ts throw
 */
export async function answerRepos(
  { catalog, source, pool, beyond }: RepositoriesParts,
  exchange: Exchange,
  path: string,
  query: string,
): Promise<void> {
  exchange.kind = 'content';
  const parsed = parsePath(path);
  if (parsed === undefined) throw notFound();
  const [repos = '', repository, ...names] = parsed.segments;
  const key = names.join('/');
  const folder = key === '' ? '' : `${key}/`;
  const isFetched = async () => beyond !== undefined && (await answerBeyond({ beyond, pool }, exchange, path));
  if (parsed.isFolder) {
    exchange.kind = 'listing';
    if (beyond !== undefined && (await answerMerged({ catalog, beyond }, exchange, { repository, folder }, query)))
      return;
    if (repository === undefined) await answerRepositories(catalog, exchange, query);
    else if (!(await answerFolder(catalog, repository, folder, exchange, query))) throw notFound();
    return;
  }
  if (repository === undefined) {
    redirectInto(exchange, repos);
    return;
  }
  if (key !== '' && (await answerContent(source, `${repository}/${key}`, exchange, pool))) return;
  if (await answerRepoFile(catalog, repository, key, exchange)) return;
  if (!(await hasFolder(catalog, repository, folder))) {
    if (key !== '' && (await isFetched())) return;
    throw notFound();
  }
  redirectInto(exchange, names.at(-1) ?? repository);
}

/** Relative, so that nothing but the request's own path decides where it leads. */
function redirectInto(exchange: Exchange, name: string): void {
  exchange.kind = 'listing';
  const location = `${encodeSegment(name)}/`;
  sendText(exchange, 301, `See ${location}\n`, [
    'Location',
    location,
    'Content-Type',
    'text/plain; charset=utf-8',
    'Cache-Control',
    'no-cache',
  ]);
}

function notFound(): AirlockError {
  return new AirlockError('path.not-found', 'No repository holds this path. /repos/ lists what there is.');
}
