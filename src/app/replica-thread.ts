/** The thread of `startReplica`: replicates until it is told to stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { openApp } from '../app.ts';
import { isAirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { ProcessLock } from '../repo/blobs/process-lock.ts';
import type { Logger } from '../repo/http/logger.ts';
import { revokedHere } from '../sync/bundle/revoked.ts';
import { keepInStep } from '../sync/replica/keep-in-step.ts';
import { Peer } from '../sync/replica/peer.ts';
import { Replicator } from '../sync/replica/replicator.ts';
import { type Reload, startReload } from './reload.ts';
import { lockReplica, openPeer, RELOAD, type ReplicaMessage, type ReplicaTask, STOP } from './replica.ts';
import { certificates, logCertificateWarnings } from './upstream-sites.ts';

if (parentPort !== null) await replicate(parentPort, workerData as ReplicaTask);

async function replicate(port: MessagePort, task: ReplicaTask): Promise<void> {
  const stop = new AbortController();
  const say = (message: ReplicaMessage) => port.postMessage(message);
  let reload: Reload | undefined;
  port.on('message', (message) => {
    if (message === STOP) stop.abort();
    if (message === RELOAD) void reload?.now();
  });
  const app = await openApp(task);
  const lock = await waitForLock(app.dataDir, stop.signal);
  const { peer: url = '', ca, clientCertificate, clientKey } = app.config;
  const shown = { ca, clientCertificate, clientKey };
  const logger = loggerTo(say);
  await logCertificateWarnings(logger, app.dataDir, shown);
  const upstream = await openPeer(app.dataDir, { peer: url, ...shown });
  let current = await certificates(app.dataDir, shown);
  let napping = new AbortController();
  reload = startReload(logger, async () => {
    await logCertificateWarnings(logger, app.dataDir, shown);
    const fresh = await certificates(app.dataDir, shown);
    if (isDeepStrictEqual(fresh, current)) return;
    current = fresh;
    upstream.renew(fresh);
    logger.info({ part: 'tls', peer: url }, 'certificates for the peer were read anew');
    napping.abort(); // it may let us in now
  });
  try {
    const peer = new Peer(upstream);
    const replicator = new Replicator({
      context: () => app.ingest(),
      peer,
      revoked: () => revokedHere(app.dataDir),
      instance: task.instance,
    });
    await keepInStep(replicator, {
      peer: url,
      signal: stop.signal,
      logger,
      nap: async (time) => {
        napping = new AbortController();
        const signal = AbortSignal.any([napping.signal, stop.signal]);
        await sleep(time, undefined, { signal }).catch(() => undefined);
      },
      onStatus: (status) => say({ type: 'status', status }),
    });
  } finally {
    reload.stop();
    upstream.close();
    lock?.release();
    await app.close();
    port.close();
  }
}

/** Somebody may just run `repo replicate`. @returns undefined if it is time to stop */
async function waitForLock(dataDir: string, signal: AbortSignal): Promise<ProcessLock | undefined> {
  while (!signal.aborted) {
    try {
      return lockReplica(dataDir);
    } catch (error) {
      if (!isAirlockError(error, 'data.locked')) throw error;
      await sleep(limits.replica.pollEvery, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

function loggerTo(say: (message: ReplicaMessage) => void): Logger {
  const at = (level: keyof Logger) => (facts: object, message: string) => say({ type: 'log', level, facts, message });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
