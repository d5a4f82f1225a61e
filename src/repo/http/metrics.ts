import { Counter, Gauge, Registry } from 'prom-client';
import type { Catalog } from '../catalog/catalog.ts';
import type { TrustedBlobs } from '../trusted-blobs.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { MemoryCache } from './memory-cache.ts';
import type { Traffic } from './traffic.ts';

export interface MetricSources {
  readonly traffic: Traffic;
  readonly memory: MemoryCache;
  readonly pool: BufferPool;
  readonly trusted: TrustedBlobs;
  readonly catalog: Pick<Catalog, 'version' | 'totals'>;
}

/** @returns what writes the server's metrics for Prometheus, read from where they are counted */
export function createMetrics(
  sources: MetricSources,
  more?: { registerMetrics(registry: Registry): void },
): () => Promise<string> {
  const registry = new Registry();
  const { traffic, memory, pool, trusted, catalog } = sources;
  const gauge = (name: string, help: string, read: () => number | Promise<number>) =>
    new Gauge({ name, help, registers: [registry], collect: setTo(read) });
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({ name, help, registers: [registry], collect: countTo(read) });

  gauge('airlock_http_in_flight', 'Requests being answered.', () => traffic.inFlight);
  gauge('airlock_http_buffer_bytes', 'Read buffers in use by responses.', () => pool.inUse);
  counter('airlock_memory_cache_hits_total', 'Bodies found in memory.', () => memory.hits);
  counter('airlock_memory_cache_misses_total', 'Bodies that had to be loaded.', () => memory.misses);
  gauge('airlock_memory_cache_bytes', 'Bytes of bodies kept in memory.', () => memory.bytes);
  gauge(
    'airlock_memory_cache_stranded_bytes',
    'Bytes that left the cache and are still being sent.',
    () => memory.stranded,
  );
  gauge('airlock_open_blobs', 'Blobs kept open between requests.', () => trusted.openBlobs);
  counter('airlock_quarantined_blobs_total', 'Blobs found damaged while serving.', () => trusted.quarantined);
  gauge('airlock_catalog_version', 'Changes whenever anybody changes the catalog.', () => catalog.version());
  const totals = remembered(catalog);
  gauge('airlock_blobs', 'Stored blobs.', async () => (await totals()).blobs);
  gauge('airlock_blob_bytes', 'Bytes of all stored blobs.', async () => (await totals()).bytes);
  traffic.register(registry);
  more?.registerMetrics(registry);
  return async () => `${await registry.metrics()}\n${traffic.durations}`;
}

/** Counting goes through all blobs, so it is done once for each state of the catalog. */
function remembered(catalog: MetricSources['catalog']): Catalog['totals'] {
  let asked: { readonly version: number; readonly answer: ReturnType<Catalog['totals']> } | undefined;
  return () => {
    const version = catalog.version();
    if (asked?.version === version) return asked.answer;
    const answer = catalog.totals();
    asked = { version, answer };
    answer.catch(() => {
      asked = undefined;
    });
    return answer;
  };
}

function setTo(read: () => number | Promise<number>): (this: Gauge) => Promise<void> {
  return async function collect() {
    this.set(await read());
  };
}

function countTo(read: () => number): (this: Counter) => void {
  return function collect() {
    this.reset();
    this.inc(read());
  };
}
