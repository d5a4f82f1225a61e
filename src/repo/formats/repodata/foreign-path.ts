import { AirlockError, isAirlockError } from '../../../errors.ts';
import { repositoryPath } from '../../catalog/names.ts';
import { encodeSegment } from '../../http/request-path.ts';
import { quote } from '../quote.ts';

/** Where metadata says that a file lies. */
export interface ForeignPath {
  /** In the repository, as clients come to ask for it. */
  readonly path: string;
  /** The same for a URL. */
  readonly url: string;
}

/**
 * Reads a `location` of somebody else's metadata.
 * @param base its xml:base: it would lead clients to another place than the one they have the metadata from
 * @throws repodata.invalid for whatever lies, or may be taken to lie, outside of the repository
 */
export function foreignPath(href: string, base: string | undefined): ForeignPath {
  if (base !== undefined && base !== '') {
    throw outside(href, `has the base ${quote(base)}, so clients would fetch it from there and not from here`);
  }
  if (/^[a-z][a-z0-9+.-]*:|^\/|[\\?#]/i.test(href)) throw outside(href, 'is no plain path below it');
  try {
    const path = repositoryPath(decodeURIComponent(href.replace(/^(?:\.\/)+/, '')));
    return { path, url: path.split('/').map(encodeSegment).join('/') };
  } catch (error) {
    if (error instanceof URIError || isAirlockError(error, 'path.invalid')) {
      throw outside(href, 'leads out of it, or cannot be a path');
    }
    throw error;
  }
}

function outside(href: string, why: string): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `The metadata names the file ${quote(href, 255)}, which ${why}. Nothing of it was taken; tell whoever made the repository.`,
    { details: { href: href.slice(0, 255) } },
  );
}
