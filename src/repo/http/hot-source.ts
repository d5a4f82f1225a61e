import type { ArtifactSource, OpenArtifact } from '../artifact-source.ts';
import type { Beyond } from './beyond.ts';

/**
 * What can be answered at once, of our repositories and of what was fetched: by the path below `/repos/`, and for all
 * else by the whole path with its slash. What our repositories hold comes first.
 */
export class HotSource implements Required<ArtifactSource> {
  readonly #published: Required<ArtifactSource>;
  readonly #beyond: Beyond | undefined;

  constructor(published: Required<ArtifactSource>, beyond: Beyond | undefined) {
    this.#published = published;
    this.#beyond = beyond;
  }

  peek(path: string): OpenArtifact | undefined {
    if (path.startsWith('/')) return this.#beyond?.source.peek?.(path.slice(1));
    return this.#published.peek(path) ?? (isRewritten(path) ? undefined : this.#beyond?.source.peek?.(`repos/${path}`));
  }

  /** Brings content into memory where it belongs there. Asks nobody. */
  async open(path: string): Promise<OpenArtifact | undefined> {
    if (path.startsWith('/')) return await this.#beyond?.warm(path.slice(1));
    const published = await this.#published.open(path);
    if (published !== undefined || isRewritten(path)) return published;
    return await this.#beyond?.warm(`repos/${path}`);
  }
}

/** `.repo` files name the server that they come from. */
function isRewritten(path: string): boolean {
  return path.endsWith('.repo');
}
