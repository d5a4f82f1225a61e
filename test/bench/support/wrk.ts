import path from 'node:path';
import { asOptions } from './answer.ts';
import type { Bench } from './bench.ts';
import { ON_CLIENT_CORE, run } from './processes.ts';

export interface Load {
  readonly url: string;
  readonly headers: readonly string[];
  readonly connections: number;
  /** Bytes of the body that every answer must have. */
  readonly body: number;
}

export interface Throughput {
  readonly bytesPerSecond: number;
  readonly requestsPerSecond: number;
}

/** wrk's counts, as wrk-report.lua prints them. `bytes` has those of unfinished answers, too. */
interface Report {
  readonly microseconds: number;
  readonly requests: number;
  readonly bytes: number;
  readonly failures: number;
}

/** Header fields of an answer are no larger. Bytes. */
const HEAD = 1024;

/**
 * Asks for the same thing again and again, on one thread of the client's core.
 * @throws Error if a request failed, or if there are not as many bytes as the answers must have
 */
export async function measure(bench: Bench, load: Load, seconds: number): Promise<Throughput> {
  const { url, headers, connections, body } = load;
  const script = path.join(import.meta.dirname, 'wrk-report.lua');
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '120s', '-s', script];
  const output = await run(bench, [...ON_CLIENT_CORE, 'wrk', ...options, ...asOptions(headers), url]);
  const report = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as Report;
  const { requests, bytes, failures, microseconds } = report;
  const isPlausible = bytes >= requests * body && bytes <= (requests + connections) * (body + HEAD);
  if (failures > 0 || !isPlausible) {
    throw new Error(`Wrong answers. ${url}, each of ${body} bytes: ${JSON.stringify(report)}`);
  }
  return { bytesPerSecond: (bytes * 1e6) / microseconds, requestsPerSecond: (requests * 1e6) / microseconds };
}
