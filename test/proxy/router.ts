import type { TestContext } from 'node:test';
import { openProxy, type ProxyOptions } from '../../src/proxy/open-proxy.ts';
import { DEFAULT_RULES, type ProxyRules, type RetryRules } from '../../src/proxy/rules.ts';
import { TrustedBlobs } from '../../src/repo/trusted-blobs.ts';
import { type LogLine, recordingLogger, TestRepository } from '../repo/http/support.ts';
import { QUICK } from './scene.ts';

export interface Router {
  readonly url: string;
  readonly repository: TestRepository;
  readonly log: readonly LogLine[];
  /** Lines of the access log, so far. */
  readonly access: () => Promise<readonly AccessLine[]>;
  readonly fills: () => number;
  /** Milliseconds since the epoch, as the cache sees it. */
  clock: number;
}

interface AccessLine {
  readonly path: string;
  readonly status: number;
  readonly cache?: string;
}

export type RouterOptions = Partial<Pick<ProxyOptions, 'sites' | 'peer' | 'sourceType' | 'offlineMode' | 'keys'>> &
  Partial<Omit<ProxyRules, 'retry'>> & {
    conductors?: readonly { readonly url: string }[];
    retry?: Partial<RetryRules>;
    repository?: TestRepository;
    memoryCache?: number;
  };

/** A server with sources, as a router runs it; ended after the test. */
export async function router(t: TestContext, options: RouterOptions): Promise<Router> {
  const repository = options.repository ?? (await TestRepository.make(t));
  const { catalog, blobs } = repository;
  const trusted = new TrustedBlobs({ catalog, blobs });
  const log: LogLine[] = [];
  const made = { repository, log, clock: Date.now() };
  const { conductors = [], memoryCache = 32 << 20 } = options;
  const proxy = openProxy({
    catalog,
    blobs,
    trusted,
    logger: recordingLogger(log),
    sites: [],
    peer: undefined,
    sourceType: 'prefer-conductor',
    offlineMode: false,
    ...options,
    conductors: conductors.map(({ url }) => ({ url })),
    rules: { ...DEFAULT_RULES, ...options, retry: { ...DEFAULT_RULES.retry, ...QUICK, ...options.retry } },
    now: () => made.clock,
  });
  let lines = '';
  const accessLog = { write: (text: string) => (lines += text) };
  const server = await repository.serve(t, { trusted, beyond: proxy, accessLog, memoryCache });
  t.after(async () => {
    await proxy.close();
    trusted.close();
  });
  return Object.assign(made, {
    url: server.url,
    fills: () => proxy.pull.fills.size,
    access: async () => {
      await new Promise((resolve) => setTimeout(resolve, 150)); // lines are written many at a time
      return lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as AccessLine);
    },
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  /** X-Cache. */
  readonly cache: string | null;
}

export async function get(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, init);
  const body = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, body, cache: response.headers.get('x-cache') };
}
