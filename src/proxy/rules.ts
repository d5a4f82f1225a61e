/** What can be set of how pull-through fetches and keeps. */
import { limits } from '../limits.ts';

export interface ProxyRules {
  /** How long content is taken as current, milliseconds; null: as its source says. */
  readonly fresh: {
    readonly repodata: number | null;
    readonly listings: number | null;
    readonly metadata: number | null;
  };
  /** How long after it was last current a copy may stand in for sources that cannot be asked, milliseconds. */
  readonly stale: number;
  /** How long it is believed that there is no such path, milliseconds. */
  readonly missing: number;
  readonly retry: RetryRules;
  /** Serves no image and no package whose digest nobody vouches for. */
  readonly requireVerified: boolean;
  /** Bytes per second, of all fills together, and of what one client address is given. */
  readonly bandwidth: number;
  readonly clientBandwidth: number;
  /** Bytes that all kept copies may take. */
  readonly cacheSize: number;
  /** Parts of paths that never make room. */
  readonly pinned: readonly string[];
}

export interface RetryRules {
  /** Rounds through all sources without a new byte; 0: until the time is up. */
  readonly attempts: number;
  /** Milliseconds. */
  readonly timeout: number;
  readonly firstDelay: number;
  readonly maxDelay: number;
  /** A fill that nobody waits for is given up while less than this part of it is there; 0: never. */
  readonly abandonBelow: number;
  /** How long nobody must have waited, milliseconds: clients break off and come again. */
  readonly abandonAfter: number;
}

/** Where nothing else is set. */
export const DEFAULT_RULES: ProxyRules = {
  fresh: { repodata: null, listings: null, metadata: null },
  stale: limits.proxy.stale,
  missing: limits.proxy.missingAge,
  retry: {
    attempts: limits.proxy.attempts,
    timeout: limits.proxy.timeout,
    firstDelay: limits.proxy.retryDelay,
    maxDelay: limits.proxy.maxRetryDelay,
    abandonBelow: 0,
    abandonAfter: limits.proxy.abandonAfter,
  },
  requireVerified: false,
  bandwidth: Number.POSITIVE_INFINITY,
  clientBandwidth: Number.POSITIVE_INFINITY,
  cacheSize: Number.POSITIVE_INFINITY,
  pinned: [],
};

/** How long to wait before the next round, milliseconds. @param attempt from 1 on */
export function retryDelay({ firstDelay, maxDelay }: RetryRules, attempt: number): number {
  return Math.min(maxDelay, firstDelay * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
}
