/**
 * How replication is put together: a thread beside the server, with its own connections to catalog and store, so that
 * neither hashing nor a long transaction keeps a client waiting.
 */
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import type { AppOptions } from '../app.ts';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { ProcessLock } from '../repo/blobs/process-lock.ts';
import type { Logger } from '../repo/http/logger.ts';
import type { ApiRoute } from '../repo/http/openapi.ts';
import type { HttpUpstream } from '../repo/upstream/http-upstream.ts';
import { type ReplicaStatus, startingStatus } from '../sync/replica/keep-in-step.ts';
import { type CertificateConfig, certificates } from './upstream-sites.ts';

/** What the thread is started with. */
export interface ReplicaTask extends AppOptions {
  /** Of our server: whoever says the same is this very server. */
  readonly instance: string;
}

/** What the thread says. */
export type ReplicaMessage =
  | { readonly type: 'status'; readonly status: ReplicaStatus }
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly facts: object;
      readonly message: string;
    };

/** What it is told: to end, orderly; to read the certificates for the peer again, and to look at it. */
export const STOP = 'stop';
export const RELOAD = 'reload';

export interface RunningReplica {
  readonly routes: readonly ApiRoute[];
  /** Has the certificates for the peer read again; what is wrong with them goes to the log. */
  reload(): Promise<void>;
  /** What was being fetched is kept, and gone on with. */
  close(): Promise<void>;
}

/** @param peer as configured, for the status until the thread has something to say */
export function startReplica(task: ReplicaTask, peer: string, logger: Logger): RunningReplica {
  let status = startingStatus(peer);
  let isStopping = false;
  let worker = start();
  let restart: NodeJS.Timeout | undefined;

  function start(): Worker {
    const thread = new Worker(new URL('replica-thread.ts', import.meta.url), { workerData: task });
    thread.on('message', (message: ReplicaMessage) => {
      if (message.type === 'status') status = message.status;
      else logger[message.level](message.facts, message.message);
    });
    thread.on('error', (error) => logger.error({ error: error.message, stack: error.stack }, 'replication failed'));
    thread.on('exit', () => {
      if (isStopping) return;
      restart = setTimeout(() => {
        worker = start();
      }, limits.replica.restartAfter).unref();
    });
    return thread;
  }

  return {
    routes: [
      {
        path: '/api/v1/peer',
        summary: 'The other conductor of an HA pair: whether this one is in step with it, and what stands in the way.',
        schema: statusSchema,
        answer: async () => status,
      },
    ],
    async reload() {
      worker.postMessage(RELOAD);
    },
    async close() {
      isStopping = true;
      clearTimeout(restart);
      if (worker.threadId < 0) return;
      const ended = new Promise((resolve) => worker.once('exit', resolve));
      worker.postMessage(STOP);
      const cut = setTimeout(() => void worker.terminate(), limits.replica.stopTimeout);
      await ended;
      clearTimeout(cut);
    },
  };
}

const statusSchema = z.object({
  peer: z.string(),
  state: z.enum(['starting', 'replicating', 'in-step', 'behind', 'unreachable']),
  lastAnswer: z.iso.datetime().nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  fetching: z.object({ done: z.number(), total: z.number() }).nullable().describe('Bytes.'),
  conflicts: z
    .array(
      z.object({ repository: z.string(), path: z.string(), here: z.string(), there: z.string(), since: z.number() }),
    )
    .describe('Paths that hold other bytes at the peer. They stay so until one of the two is deleted.'),
  keys: z
    .array(z.object({ repository: z.string(), here: z.string(), there: z.string() }))
    .describe('Repositories whose metadata the two sign with different keys.'),
  failures: z.array(z.object({ repository: z.string(), code: z.string(), message: z.string() })),
});

/**
 * The peer, to be read. The caller closes it.
 * @throws config.invalid
 */
export async function openPeer(
  dataDir: string,
  { peer, ...shown }: CertificateConfig & { readonly peer: string },
  timeouts: { readonly connectTimeout?: number; readonly answerTimeout?: number; readonly idleTimeout?: number } = {},
): Promise<HttpUpstream> {
  const { HttpUpstream } = await import('../repo/upstream/http-upstream.ts');
  return new HttpUpstream({ url: peer, ...(await certificates(dataDir, shown)), limits: timeouts });
}

/**
 * Whoever replicates into a data directory holds this.
 * @throws data.locked
 */
export function lockReplica(dataDir: string): ProcessLock {
  const lock = ProcessLock.tryAcquire(path.join(dataDir, 'replica.lock'));
  if (lock !== undefined) return lock;
  throw new AirlockError(
    'data.locked',
    'Replication runs here already: the server does it while it has a "peer" in its configuration. Ask it how far it is: /api/v1/peer.',
  );
}
