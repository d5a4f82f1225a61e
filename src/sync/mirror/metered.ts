import type { Upstream, UpstreamBody } from '../../repo/upstream/upstream.ts';

/** What asking a site has cost. */
export interface Traffic {
  requests: number;
  /** Of bodies that were read. */
  bytes: number;
}

/** Counts what is asked of an upstream, and what it sends. Who made the upstream closes it. */
export function metered(upstream: Upstream, traffic: Traffic): Upstream {
  return {
    origin: upstream.origin,
    address: (path) => upstream.address(path),
    close: () => upstream.close(),
    async head(path, options) {
      traffic.requests += 1;
      return await upstream.head(path, options);
    },
    async fetch(path, options) {
      traffic.requests += 1;
      const answer = await upstream.fetch(path, options);
      return answer.type === 'content' ? { ...answer, body: counted(answer.body, traffic) } : answer;
    },
  };
}

function counted(body: UpstreamBody, traffic: Traffic): UpstreamBody {
  const { read } = body;
  return {
    ...(read === undefined
      ? {}
      : {
          async read(into, least) {
            const bytes = await read.call(body, into, least);
            traffic.bytes += bytes;
            return bytes;
          },
        }),
    async *[Symbol.asyncIterator]() {
      for await (const piece of body) {
        traffic.bytes += piece.byteLength;
        yield piece;
      }
    },
    destroy: () => body.destroy(),
  };
}
