/**
 * Where content may come from, in the order in which it is asked for, and how well each of these places is.
 */
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { encodeSegment } from '../repo/http/request-path.ts';
import type { Bandwidth } from '../repo/upstream/bandwidth.ts';
import type { Upstream } from '../repo/upstream/upstream.ts';

/** The vendor's words (vendor.md A4). */
export type SourceType = 'conductor-only' | 'prefer-conductor' | 'internet-only';

/** A place that can be asked. */
export interface Source {
  /** For people: `conductor http://a:8480`, `internet ssr`. */
  readonly name: string;
  readonly kind: 'peer' | 'conductor' | 'internet';
  readonly upstream: Upstream;
  readonly health: Health;
  /** Of this source alone. */
  readonly bandwidth?: Bandwidth;
}

/** A source, and how it calls the content in question. */
export interface Candidate {
  readonly source: Source;
  /** As `Upstream.fetch` takes it. */
  readonly path: string;
}

export interface SourcesOptions {
  readonly peer?: Source;
  /**
   * What the peer publishes is taken over, revision by revision: asking for it by path, too, would fetch it twice, and bring
   * back what was just deleted. It is asked for what it has of the internet.
   */
  readonly followsPeer?: boolean;
  /** In order. */
  readonly conductors: readonly Source[];
  /** By the name under which they answer: `/upstreams/<name>/…`. */
  readonly internet: ReadonlyMap<string, Source>;
  readonly sourceType: SourceType;
  readonly offlineMode: boolean;
}

/** The first segment of keys of listings, which belong to one source each. */
const LISTINGS = 'listings';

/** The key of one source's listing of a folder. @param folder as a key: `repos/images/` */
export function listingKey(source: Source, folder: string): string {
  return `${LISTINGS}/${listingRoom(source)}/${folder}`;
}

export function isListingKey(key: string): boolean {
  return key.startsWith(`${LISTINGS}/`);
}

function listingRoom({ kind, upstream }: Source): string {
  return `${kind}-${upstream.origin.replaceAll('/', '')}`;
}

export class Sources {
  readonly #options: SourcesOptions;
  readonly #probing: NodeJS.Timeout;

  constructor(options: SourcesOptions) {
    this.#options = options;
    this.#probing = setInterval(() => this.#probe(), limits.proxy.probeEvery).unref();
  }

  /** All that may be dialled. */
  get all(): readonly Source[] {
    const { peer } = this.#options;
    return [...(peer === undefined ? [] : [peer]), ...this.#conductors, ...this.#internet.values()];
  }

  /** Who is asked for what repositories hold: peer and conductors, without those that were left, unless there are no others. */
  get neighbours(): readonly Source[] {
    const all = this.#near('repos');
    const well = all.filter(({ health }) => !health.isLeft);
    return well.length > 0 ? well : all;
  }

  /**
   * Who can be asked for a path, the best first. Sources that were left are not among them, unless nobody else is.
   * @param key decoded: `repos/images/x` or `upstreams/ssr/x`, or what `listingKey` gives
   * @param origin where the internet has it, as `upstreams/ssr/x`, if that is not what the key says
   */
  candidates(key: string, origin = key): Candidate[] {
    const path = key.split('/').map(encodeSegment).join('/');
    const [room = '', name = '', ...rest] = key.split('/');
    const all = this.#near(room).map((source) => ({ source, path }));
    if (room === LISTINGS) {
      const listed = all.filter(({ source }) => listingRoom(source) === name).map(({ source }) => source);
      return listed.map((source) => ({ source, path: `${rest.map(encodeSegment).join('/')}?format=json` }));
    }
    const [far, site = '', ...below] = origin.split('/');
    const internet = far === 'upstreams' ? this.#internet.get(site) : undefined;
    if (internet !== undefined) all.push({ source: internet, path: below.map(encodeSegment).join('/') });
    const well = all.filter(({ source }) => !source.health.isLeft);
    return well.length > 0 ? well : all;
  }

  close(): void {
    clearInterval(this.#probing);
    for (const { upstream } of [...this.#options.conductors, ...this.#options.internet.values()]) upstream.close();
    this.#options.peer?.upstream.close();
  }

  /** @param room first segment of what is asked for */
  #near(room: string): readonly Source[] {
    const { peer, followsPeer = false } = this.#options;
    return [...(peer === undefined || (followsPeer && room === 'repos') ? [] : [peer]), ...this.#conductors];
  }

  /** offline-mode overrides the source type (vendor.md A4). */
  get #conductors(): readonly Source[] {
    const { sourceType, offlineMode, conductors } = this.#options;
    return sourceType === 'internet-only' && !offlineMode ? [] : conductors;
  }

  get #internet(): ReadonlyMap<string, Source> {
    const { sourceType, offlineMode, internet } = this.#options;
    return offlineMode || sourceType === 'conductor-only' ? new Map() : internet;
  }

  #probe(): void {
    for (const { health, upstream, kind } of this.all) {
      if (!health.isLeft) continue;
      upstream.head(kind === 'internet' ? '' : 'healthz').then(
        () => health.forget(),
        (error: unknown) => {
          // it refuses us, but it lives
          if (error instanceof AirlockError && error.code === 'upstream.unauthorized') health.forget();
        },
      );
    }
  }
}

/**
 * The last requests to a source. It is left when limits.proxy.failures of the last limits.proxy.window failed: one bad
 * answer is no reason, and before the window is full there is no verdict.
 */
export class Health {
  #outcomes: boolean[] = [];
  /** The last failure, until a request works again; for people. */
  trouble: string | null = null;

  get isLeft(): boolean {
    const { window, failures } = limits.proxy;
    return this.#outcomes.length >= window && this.failed >= failures;
  }

  /** Of the last requests. */
  get failed(): number {
    return this.#outcomes.filter((isGood) => !isGood).length;
  }

  get requests(): number {
    return this.#outcomes.length;
  }

  /** @param failure undefined for a request that was answered, be it that there is no such thing */
  note(failure?: Error): void {
    this.#outcomes = [...this.#outcomes.slice(1 - limits.proxy.window), failure === undefined];
    this.trouble = failure?.message ?? null;
  }

  /** It answers again: begins with a clean slate. */
  forget(): void {
    this.#outcomes = [];
    this.trouble = null;
  }
}
