import { LRUCache } from 'lru-cache';
import { limits } from '../limits.ts';
import type { OpenArtifact } from '../repo/artifact-source.ts';
import { Bandwidth } from '../repo/upstream/bandwidth.ts';

/** Bytes of one read are at most what may be sent in this part of a second, so that requests take turns. */
const TURN = 0.1;
const LEAST = 4096;

/** Gives each client address its share: requests of one address have it together. */
export class ClientBandwidth {
  readonly #rate: number;
  readonly #clients = new LRUCache<string, Bandwidth>({ max: limits.proxy.clients });

  /** @param rate bytes per second; Infinity: no limit */
  constructor(rate: number) {
    this.#rate = rate;
  }

  get isLimited(): boolean {
    return this.#rate !== Number.POSITIVE_INFINITY;
  }

  /** @returns the artifact as this client may read it; never from memory, for that would come at once */
  limit(artifact: OpenArtifact, client: string | undefined): OpenArtifact {
    if (!this.isLimited || client === undefined) return artifact;
    const bandwidth = this.#clients.get(client) ?? new Bandwidth(this.#rate);
    this.#clients.set(client, bandwidth);
    const most = Math.max(LEAST, Math.floor(this.#rate * TURN));
    const { facts, headers } = artifact;
    return {
      facts,
      ...(headers === undefined ? {} : { headers }),
      readAt: async (into, position) => {
        const length = await artifact.readAt(into.subarray(0, most), position);
        await bandwidth.take(length);
        return length;
      },
      close: () => artifact.close(),
    };
  }
}
