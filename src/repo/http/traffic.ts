import { Counter, type Registry } from 'prom-client';
import { Durations } from './durations.ts';
import type { RequestClass } from './exchange.ts';

/** Counts requests. Plain numbers where every request touches them; Prometheus gets them when it asks. */
export class Traffic {
  readonly #requests = new Map<string, Map<number, number>>();
  readonly durations = new Durations(
    'airlock_http_request_duration_seconds',
    'Time from the head of a request to the end of its answer.',
  );
  #bytes = 0;
  /** Requests being answered. */
  inFlight = 0;

  /** Makes the counters' metrics. */
  register(registry: Registry): void {
    const requests = this.#requests;
    const bytes = () => this.#bytes;
    new Counter({
      name: 'airlock_http_requests_total',
      help: 'Requests answered, by what they asked for and status.',
      labelNames: ['class', 'status'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [kind, byStatus] of requests) {
          for (const [status, count] of byStatus) this.inc({ class: kind, status }, count);
        }
      },
    });
    new Counter({
      name: 'airlock_http_sent_bytes_total',
      help: 'Bytes of bodies sent.',
      registers: [registry],
      collect() {
        this.reset();
        this.inc(bytes());
      },
    });
  }

  /** A request was answered. */
  count(kind: RequestClass, status: number, bytes: number, milliseconds: number): void {
    this.#bytes += bytes;
    let byStatus = this.#requests.get(kind);
    if (byStatus === undefined) {
      byStatus = new Map();
      this.#requests.set(kind, byStatus);
    }
    byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
    this.durations.observe(milliseconds / 1000);
  }
}
