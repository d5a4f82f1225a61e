/** What a server was asked for, by its own account. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** For `airlock.yaml`: the access log goes to a file of the data directory. */
export const LOG_TO_FILE = 'log: { file: server.log }\n';

/** A line of the access log. */
export interface Logged {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** Of the body. */
  readonly bytes: number;
  readonly range?: string;
  readonly cache?: string;
  /** The connection ended before the answer did. */
  readonly aborted?: boolean;
}

/** All requests so far of a server with `LOG_TO_FILE`; it writes them down after a moment at the latest. */
export async function accessLogOf(data: string): Promise<Logged[]> {
  const text = await readFile(path.join(data, 'server.log'), 'utf8').catch(() => '');
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as Logged).filter(({ method }) => method !== undefined);
}
